package main

import (
	"encoding/json"
	"net/http"
	"os"
	"strings"
	"testing"
)

// readmeForAPISIX is the configuration of forward-auth that the reference shows.
func readmeForAPISIX(t *testing.T) (extra map[string]string) {
	t.Helper()
	text, err := os.ReadFile(referencePath)
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

// asAPISIXSends are the lines of the auth request for a request: nginx joins the
// lines of a header, and a variable without a value is an empty header.
func asAPISIXSends(extra map[string]string, target string, client http.Header) []string {
	lines := []string{"X-Forwarded-Method: GET", "X-Forwarded-Proto: http", "X-Forwarded-For: 192.0.2.1"}
	known := map[string]string{"$real_request_uri": target, "$http_host": "app.test", "$host": "app.test", "$request_id": "id-1"}
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
		{"no credential", "/private", nil, 401},
		{"caller", "/private", http.Header{"Authorization": {strings.TrimPrefix(r.bearer(), "Authorization: ")}}, 200},
		{"override", "/public", http.Header{"X-Http-Method-Override": {"GET", "DELETE"}}, 400},
		{"empty override first", "/public", http.Header{"X-Http-Method-Override": {"", "DELETE"}}, 400},
		{"path", "/public", http.Header{"X-Original-Url": {"/public", "/private"}}, 400},
		{"upgrade", "/public", http.Header{"Upgrade": {"websocket", "h2c"}}, 400},
		{"connection", "/public", http.Header{"Connection": {"close", "X-Auth-User"}}, 400},
	} {
		if got := r.send(t, "GET", "/auth/apisix", asAPISIXSends(extra, c.target, c.client)...); got.StatusCode != c.status {
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

// TestHostOfTheTargetByWhichAPISIXRoutes: "GET http://admin.test/" with another
// Host goes to the route of admin.test, and its upstream gets the Host.
func TestHostOfTheTargetByWhichAPISIXRoutes(t *testing.T) {
	r := newRig(t, onLoopback+everyDialect)
	lines := asAPISIXSends(readmeForAPISIX(t), "/public", nil)
	for _, c := range []struct {
		routed, host string
		status       int
	}{
		{"app.test", "app.test", 200}, {"app.test", "APP.test.:8443", 200}, {"[::1]", "[::1]", 200}, {"[::1]", "[::1]:80", 200},
		{"admin.test", "app.test", 400}, {"app.test", "admin.test", 400}, {"admin.test", "admin.test.app.test", 400},
		{"app.test", "app.test:80@admin.test", 400}, {"", "app.test", 400}, {"app.test\r\nX-Original-Host: app.test", "app.test", 400},
	} {
		sent := append(without(without(lines, "X-Original-Host"), "X-Forwarded-Host"), "X-Original-Host: "+c.routed, "X-Forwarded-Host: "+c.host)
		if len(sent) != len(lines) {
			t.Fatal("the configuration in the README leaves out a host")
		}
		if got := r.send(t, "GET", "/auth/apisix", sent...); got.StatusCode != c.status {
			t.Errorf("%q for %q: status %d, want %d", c.routed, c.host, got.StatusCode, c.status)
		}
	}
	if got := r.send(t, "GET", "/auth/apisix", without(lines, "X-Original-Host")...); got.StatusCode != 400 {
		t.Errorf("without it: status %d", got.StatusCode)
	}
}
