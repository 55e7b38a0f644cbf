package main

import (
	"encoding/json"
	"net/http"
	"os"
	"strings"
	"testing"
)

// readmeForAPISIX is the configuration of forward-auth that the README shows.
func readmeForAPISIX(t *testing.T) (extra map[string]string) {
	t.Helper()
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, block, _ := strings.Cut(string(text), "```json\n")
	block, _, _ = strings.Cut(block, "```")
	var plugins map[string]struct {
		Extra map[string]string `json:"extra_headers"`
	}
	if err := json.Unmarshal([]byte(block), &plugins); err != nil {
		t.Fatal(err)
	}
	return plugins["forward-auth"].Extra
}

// asAPISIXSends are the lines of the question about a request: nginx joins the
// lines of a header, and a variable without a value is an empty header.
func asAPISIXSends(extra map[string]string, target string, client http.Header) []string {
	lines := []string{"X-Forwarded-Method: GET", "X-Forwarded-Proto: http", "X-Forwarded-For: 192.0.2.1"}
	known := map[string]string{"$real_request_uri": target, "$http_host": "app.test", "$request_id": "id-1"}
	for name, variable := range extra {
		value, ok := known[variable]
		if header, is := strings.CutPrefix(variable, "$http_"); is && !ok {
			value = strings.Join(client.Values(strings.ReplaceAll(header, "_", "-")), ", ")
		}
		lines = append(lines, name+": "+value)
	}
	return lines
}

// TestSecondLineThatAPISIXPassesOn: the list request_headers of APISIX's plugin
// shows the first line of a header, the upstream gets all.
func TestSecondLineThatAPISIXPassesOn(t *testing.T) {
	r := newRig(t, onLoopback+everyDialect)
	extra := readmeForAPISIX(t)
	for _, c := range []struct {
		name   string
		target string
		client http.Header
		status int
	}{
		{"nothing", "/public", nil, 200},
		{"nobody", "/private", nil, 401},
		{"caller", "/private", http.Header{"Authorization": {strings.TrimPrefix(r.bearer(), "Authorization: ")}}, 200},
		{"override", "/public", http.Header{"X-Http-Method-Override": {"GET", "DELETE"}}, 400},
		{"empty override first", "/public", http.Header{"X-Http-Method-Override": {"", "DELETE"}}, 400},
		{"path", "/public", http.Header{"X-Original-Url": {"/public", "/private"}}, 400},
		{"upgrade", "/public", http.Header{"Upgrade": {"websocket", "h2c"}}, 400},
		{"connection", "/public", http.Header{"Connection": {"close", "X-Auth-User"}}, 400},
	} {
		if got := r.ask(t, "GET", "/auth/apisix", asAPISIXSends(extra, c.target, c.client)...); got.StatusCode != c.status {
			t.Errorf("%s: status %d, want %d", c.name, got.StatusCode, c.status)
		}
	}
}

// TestLineBreakInAPathThatAPISIXDecodes: what the plugin would write by itself
// into X-Forwarded-Uri is decoded.
func TestLineBreakInAPathThatAPISIXDecodes(t *testing.T) {
	for name, variable := range readmeForAPISIX(t) {
		if strings.Contains(variable, "request_uri") && variable != "$real_request_uri" {
			t.Errorf("%s: %s is decoded", name, variable)
		}
	}
	if extra := readmeForAPISIX(t); extra["X-Forwarded-Uri"] != "$real_request_uri" || extra["X-Original-URI"] != "$real_request_uri" {
		t.Error("the target is not the one that was received")
	}
}
