package main

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
)

// requestIDIn is what the client reads, in whichever part of the response.
func requestIDIn(t *testing.T, response *http.Response) string {
	t.Helper()
	body := response.Header.Get(bodyHeader)
	if body == "" {
		all, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		body = string(all)
	}
	var problem struct {
		RequestID string `json:"request_id"`
	}
	if err := json.Unmarshal([]byte(body), &problem); err != nil {
		t.Errorf("%q: %v", body, err)
	}
	return problem.RequestID
}

func TestRequestIDOfATrustedPeerNamesTheDenial(t *testing.T) {
	r := newRig(t, onLoopback+everyDialect)
	eachDialect(t, func(t *testing.T, d *dialect) {
		for sent, kept := range map[string]bool{
			"X-Request-Id: of-" + d.name:                   true,
			"X-Request-Id: first\r\nX-Request-Id: second":  false,
			"X-Request-Id: x level=INFO msg=allowed":       false,
			"X-Request-Id: " + strings.Repeat("long", 100): false,
			"": false,
		} {
			id := requestIDIn(t, r.authRequest(t, d, "GET", "/private", sent))
			if kept := kept && d.id != ""; kept != (id == "of-"+d.name) || !kept && len(id) != 32 {
				t.Errorf("%.40q: request id %q", sent, id)
			}
			if log := r.log.String(); strings.Count(log, "request_id="+id+" ") != 1 {
				t.Errorf("%.40q: not one line for %q in the log", sent, id)
			}
		}
	})
}

func TestRequestIDOfAnUntrustedPeer(t *testing.T) {
	r := newRig(t, "listen: [{address: '127.0.0.1:0'}]\ntrusted_proxies: [10.0.0.0/8]\n"+everyDialect)
	response := r.authRequest(t, &dialects[0], "GET", "/public", "X-Request-Id: forged")
	if id := requestIDIn(t, response); response.StatusCode != 403 || len(id) != 32 || !strings.Contains(r.log.String(), "request_id="+id) {
		t.Errorf("status %d, request id %q", response.StatusCode, id)
	}
	if strings.Contains(r.log.String(), "forged") {
		t.Error("a header of an untrusted peer was used")
	}
}
