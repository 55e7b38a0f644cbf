package main

import (
	"bytes"
	"context"
	"encoding/pem"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	pb "github.com/Kong/go-pdk/server/kong_plugin_protocol"

	"gatehouse/core"
	"gatehouse/core/coretest"
)

// looking is an authenticator that looks at more of the request than the credential.
type looking struct {
	look func(call *core.Call) error
	sets []core.Header
}

func (l looking) Authenticate(_ context.Context, call *core.Call, _ core.Credential) (core.Authentication, error) {
	a := core.Authentication{Principal: &core.Principal{Subject: "ada", Expiry: time.Now().Add(time.Hour)}, ResponseHeader: l.sets}
	if l.look == nil {
		return a, nil
	}
	return a, l.look(call)
}

func (looking) ResponseHeaders() []string { return []string{"Set-Cookie", "X-Refreshed"} }

func handlerOf(t *testing.T, authenticator core.Authenticator, more string) handler {
	t.Helper()
	return handlerWith(t, nil, authenticator, `
session: {kratos_url: "http://127.0.0.1:1"}
upstream_headers: {X-User-Id: sub}
permission_table: "authenticated: [GET /me, POST /me]"
`+more)
}

func requestOf(line string) *kongSide {
	return &kongSide{line: line, headers: map[string]any{"host": "app.test", "authorization": []any{"Bearer good"}}}
}

func TestEveryResponseHeaderArrives(t *testing.T) {
	cookies := []core.Header{{Name: "Set-Cookie", Value: "a=1; Secure"}, {Name: "Set-Cookie", Value: "b=; Max-Age=0"}, {Name: "X-Refreshed", Value: "yes"}}
	s := requestOf("GET /me HTTP/1.1")
	s.access(t, handlerOf(t, looking{sets: cookies}, ""))
	if !slices.Equal(s.added, cookies) || s.set["X-User-Id"] == nil {
		t.Errorf("added %v, set %v", s.added, s.set)
	}
	s = requestOf("GET /me HTTP/1.1")
	s.access(t, handlerOf(t, looking{}, ""))
	if want := []string{getLine, "kong.request.get_headers", "kong.service.request.set_headers"}; !slices.Equal(s.calls, want) {
		t.Errorf("without any: %v, want %v", s.calls, want)
	}
}

// A cookie that is replaced or deleted must not live on because Kong did not set it.
func TestRequestIsDeniedIfKongDoesNotTakeAResponseHeader(t *testing.T) {
	s := requestOf("GET /me HTTP/1.1")
	s.hangUp = "kong.response.add_header"
	s.access(t, handlerOf(t, looking{sets: []core.Header{{Name: "Set-Cookie", Value: "a=1"}}}, ""))
	if last := s.calls[len(s.calls)-1]; s.set != nil || last != s.hangUp {
		t.Errorf("calls %v, upstream headers %v", s.calls, s.set)
	}
}

func TestResourceMetadataIsServedByKong(t *testing.T) {
	h := handlerOf(t, looking{}, `resource_metadata: [{resource: "https://app.test/mcp", authorization_servers: ["https://id.test"]}]`)
	s := requestOf("GET /.well-known/oauth-protected-resource/mcp HTTP/1.1")
	s.access(t, h)
	if s.exit.Status != 200 || !bytes.Contains(s.exit.Body, []byte(`"resource":"https://app.test/mcp"`)) || s.set != nil {
		t.Errorf("%d %s, passed on with %v", s.exit.Status, s.exit.Body, s.set)
	}
	s = requestOf("DELETE /.well-known/oauth-protected-resource/mcp HTTP/1.1")
	s.access(t, h)
	if s.exit.Status != 405 {
		t.Errorf("DELETE: %d", s.exit.Status)
	}
}

func TestClientCertificateIsRequestedOnlyWhenItIsNeeded(t *testing.T) {
	der := coretest.Certificate(t, "client").Certificate[0]
	text := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	const cert, verify = "kong.nginx.get_var ssl_client_raw_cert", "kong.nginx.get_var ssl_client_verify"
	var got *core.ClientTLS
	h := handlerOf(t, looking{look: func(call *core.Call) (err error) { got, err = call.ClientTLS(); return err }}, "")
	for name, c := range map[string]struct {
		vars     map[string]string
		calls    []string
		chain    int
		verified bool
		denied   int32
	}{
		"none":       {nil, []string{cert}, 0, false, 0},
		"verified":   {map[string]string{"ssl_client_raw_cert": text, "ssl_client_verify": "SUCCESS"}, []string{cert, verify}, 1, true, 0},
		"unverified": {map[string]string{"ssl_client_raw_cert": text, "ssl_client_verify": "FAILED:self-signed"}, []string{cert, verify}, 1, false, 0},
		"cut short":  {map[string]string{"ssl_client_raw_cert": text[:200], "ssl_client_verify": "SUCCESS"}, []string{cert, verify}, 0, false, 503},
	} {
		got = nil
		s := requestOf("GET /me HTTP/1.1")
		s.vars = c.vars
		s.access(t, h)
		if s.exit.Status != c.denied || !slices.Equal(s.calls[2:2+len(c.calls)], c.calls) {
			t.Errorf("%s: status %d, calls %v", name, s.exit.Status, s.calls)
		}
		if c.denied == 0 && (got == nil || len(got.Chain) != c.chain || got.Verified != c.verified) {
			t.Errorf("%s: %+v", name, got)
		}
	}
	for _, fail := range []string{cert, verify} {
		s := requestOf("GET /me HTTP/1.1")
		s.vars, s.fail = map[string]string{"ssl_client_raw_cert": text, "ssl_client_verify": "SUCCESS"}, fail
		s.access(t, h)
		if s.exit.Status != 503 {
			t.Errorf("%s fails: status %d", fail, s.exit.Status)
		}
	}
}

// On Kong no header describes the certificate: each is the client's own.
func TestClientsOwnCertificateHeaderDoesNotCount(t *testing.T) {
	var got *core.ClientTLS
	h := handlerOf(t, looking{look: func(call *core.Call) (err error) { got, err = call.ClientTLS(); return err }}, "")
	s := requestOf("GET /me HTTP/1.1")
	for _, name := range []string{"client-cert", "x-forwarded-tls-client-cert", "x-ssl-client-cert", "x-forwarded-client-cert", "ssl-client-verify"} {
		s.headers[name] = []any{"forged"}
	}
	s.access(t, h)
	if s.exit.Status != 0 || got == nil || len(got.Chain) > 0 || got.Verified {
		t.Errorf("status %d, %+v", s.exit.Status, got)
	}
}

func TestBodyIsReadWholeOrNotAtAll(t *testing.T) {
	file := filepath.Join(t.TempDir(), "body")
	if err := os.WriteFile(file, []byte("from a file"), 0o600); err != nil {
		t.Fatal(err)
	}
	content := func(text string) *pb.RawBodyResult {
		return &pb.RawBodyResult{Kind: &pb.RawBodyResult_Content{Content: []byte(text)}}
	}
	path := func(path string) *pb.RawBodyResult {
		return &pb.RawBodyResult{Kind: &pb.RawBodyResult_BodyFilepath{BodyFilepath: path}}
	}
	const limit = 16
	for name, c := range map[string]struct {
		length string
		body   *pb.RawBodyResult
		want   string
		status int32
	}{
		"small":                  {"3", content("a=1"), "a=1", 0},
		"none":                   {"0", &pb.RawBodyResult{}, "", 0},
		"without a length":       {"", content("a=1"), "a=1", 0},
		"in a file":              {"11", path(file), "from a file", 0},
		"announced too long":     {"17", content("a=1"), "", http.StatusRequestEntityTooLarge},
		"too long":               {"", content(strings.Repeat("x", limit+1)), "", http.StatusRequestEntityTooLarge},
		"only a part":            {"4", content("a=1"), "", 503},
		"nothing of it":          {"4", &pb.RawBodyResult{}, "", 503},
		"file that is not there": {"4", path(file + "x"), "", 503},
		"error":                  {"4", &pb.RawBodyResult{Kind: &pb.RawBodyResult_Error{Error: "no"}}, "", 503},
		"length is no number":    {"x", content("a=1"), "", 400},
	} {
		var got []byte
		h := handlerOf(t, looking{look: func(call *core.Call) (err error) { got, err = call.Body(limit); return err }}, "")
		s := requestOf("POST /me HTTP/1.1")
		s.body = c.body
		if c.length != "" {
			s.headers["content-length"] = []any{c.length}
		}
		s.access(t, h)
		if s.exit.Status != c.status || string(got) != c.want {
			t.Errorf("%s: status %d, body %q", name, s.exit.Status, got)
		}
	}
	s := requestOf("POST /me HTTP/1.1")
	s.fail = "kong.request.get_raw_body"
	s.access(t, handlerOf(t, looking{look: func(call *core.Call) error { _, err := call.Body(limit); return err }}, ""))
	if s.exit.Status != 503 {
		t.Errorf("Kong fails: status %d", s.exit.Status)
	}
}

// A large body in a file is not read beyond the limit.
func TestLargeBodyInAFileIsBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "body")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := file.Truncate(1 << 40); err != nil {
		t.Skip(err)
	}
	file.Close()
	body, err := readFile(path, 1<<10)
	if err != nil || len(body) != 1<<10+1 {
		t.Error(fmt.Sprint(len(body)), err)
	}
}
