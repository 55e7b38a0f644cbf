package main

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"

	"gatehouse/core"
)

// Envoy sends a part where allow_partial_message is set: what is behind it would pass unread.
func TestPartOfABodyIsNoBody(t *testing.T) {
	r, _ := http.NewRequest("POST", "/auth/envoy/mcp", strings.NewReader("{}"))
	if body, err := wholeBody(r, 10); err != nil || string(body) != "{}" {
		t.Errorf("%s %v", body, err)
	}
	r.Header.Set(partialBody, "true")
	if _, err := wholeBody(r, 10); !errors.Is(err, core.ErrBodyTooLarge) {
		t.Error(err)
	}
	check := &authv3.AttributeContext_HttpRequest{RawBody: []byte("{}"), Headers: map[string]string{"x-envoy-auth-partial-body": "false"}}
	if body, err := rawBody(check); err != nil || string(body) != "{}" {
		t.Errorf("%s %v", body, err)
	}
	check.Headers["x-envoy-auth-partial-body"] = "true"
	if _, err := rawBody(check); !errors.Is(err, core.ErrBodyTooLarge) {
		t.Error(err)
	}
	// As text, bytes that are no UTF-8 are others than the client's.
	if _, err := rawBody(&authv3.AttributeContext_HttpRequest{Body: "{}"}); err == nil {
		t.Error("a body as text")
	}
}

func TestBodyThatIsTooLongIsNotReadWhole(t *testing.T) {
	r, _ := http.NewRequest("POST", "/auth/envoy/mcp", strings.NewReader(strings.Repeat("x", 100)))
	if body, err := wholeBody(r, 10); err != nil || len(body) != 11 {
		t.Errorf("%d bytes, %v", len(body), err)
	}
}
