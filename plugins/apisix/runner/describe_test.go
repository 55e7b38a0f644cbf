package runner

import (
	"encoding/pem"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"

	pkgHTTP "github.com/apache/apisix-go-plugin-runner/pkg/http"
	"github.com/api7/ext-plugin-proto/go/A6"

	"gatehouse/core"
	"gatehouse/core/coretest"
)

// described runs look on a request as the engine gets it.
func described(t *testing.T, g call, vars map[string]string, body string, look func(*core.Request)) (asked []string) {
	t.Helper()
	p := &probe{name: "look", request: func(_ any, _ http.ResponseWriter, r pkgHTTP.Request) { look(r.(RawRequest).Describe()) }}
	gateway := startRunner(t, options{plugins: []Plugin{p}}).dial(t)
	gateway.vars, gateway.body = vars, body
	g.token = gateway.prepare(t, "route", conf{"look", ""})
	if got := gateway.call(t, g); !got.passed() {
		t.Fatalf("%+v", got)
	}
	return gateway.asked
}

func TestClientCertificateIsRequestedOnlyWhenItIsNeeded(t *testing.T) {
	der := coretest.Certificate(t, "client").Certificate[0]
	text := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	for name, c := range map[string]struct {
		vars            map[string]string
		chain           int
		verified, fails bool
	}{
		"no TLS":     {nil, 0, false, false},
		"none":       {map[string]string{"ssl_client_verify": "NONE"}, 0, false, false},
		"verified":   {map[string]string{"ssl_client_raw_cert": text, "ssl_client_verify": "SUCCESS"}, 1, true, false},
		"unverified": {map[string]string{"ssl_client_raw_cert": text, "ssl_client_verify": "FAILED:expired"}, 1, false, false},
		"cut short":  {map[string]string{"ssl_client_raw_cert": text[:99], "ssl_client_verify": "SUCCESS"}, 0, false, true},
	} {
		var got *core.ClientTLS
		var err error
		asked := described(t, call{}, c.vars, "", func(r *core.Request) { got, err = r.ClientTLS() })
		if (err != nil) != c.fails || err == nil && (len(got.Chain) != c.chain || got.Verified != c.verified) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
		want := []string{"ssl_client_raw_cert", "ssl_client_verify"}
		if c.vars["ssl_client_raw_cert"] == "" {
			want = want[:1]
		}
		if !slices.Equal(asked, want) {
			t.Errorf("%s: requested %v, want %v", name, asked, want)
		}
	}
	if asked := described(t, call{}, nil, "", func(*core.Request) {}); len(asked) > 0 {
		t.Errorf("requested %v for nothing", asked)
	}
}

// No header describes the certificate: each is the client's own.
func TestClientsOwnCertificateHeaderDoesNotCount(t *testing.T) {
	forged := []HeaderLine{{"client-cert", "forged"}, {"x-ssl-client-cert", "forged"}, {"ssl-client-verify", "SUCCESS"}, {"x-forwarded-client-cert", "forged"}}
	described(t, call{headers: forged}, nil, "", func(r *core.Request) {
		if got, err := r.ClientTLS(); err != nil || len(got.Chain) > 0 || got.Verified {
			t.Errorf("%+v, %v", got, err)
		}
	})
}

func TestBodyIsReadWholeOrNotAtAll(t *testing.T) {
	const limit = 16
	length := func(n string) []HeaderLine { return []HeaderLine{{"content-length", n}} }
	for name, c := range map[string]struct {
		method  A6.Method
		headers []HeaderLine
		line    string
		body    string
		want    error
	}{
		"small":                    {A6.MethodPOST, length("3"), "POST / HTTP/1.1", "a=1", nil},
		"none":                     {A6.MethodPOST, length("0"), "POST / HTTP/1.1", "", nil},
		"none announced":           {A6.MethodPOST, nil, "POST / HTTP/1.1", "", nil},
		"GET over HTTP/2":          {A6.MethodGET, nil, "GET / HTTP/2.0", "", nil},
		"announced too long":       {A6.MethodPOST, length("17"), "POST / HTTP/1.1", "a=1", core.ErrBodyTooLarge},
		"longer than announced":    {A6.MethodPOST, length("3"), "POST / HTTP/1.1", strings.Repeat("x", limit+1), core.ErrBodyTooLarge},
		"chunked":                  {A6.MethodPOST, []HeaderLine{{"transfer-encoding", "chunked"}}, "POST / HTTP/1.1", "a=1", core.ErrBadRequest},
		"unannounced over HTTP/2":  {A6.MethodPOST, nil, "POST / HTTP/2.0", "a=1", core.ErrBadRequest},
		"only a part":              {A6.MethodPOST, length("4"), "POST / HTTP/1.1", "a=1", errPart},
		"APISIX could not read it": {A6.MethodPOST, length("4"), "POST / HTTP/1.1", "", errPart},
	} {
		var got []byte
		var err error
		described(t, call{method: c.method, headers: c.headers}, map[string]string{requestLineVar: c.line}, c.body, func(r *core.Request) { got, err = r.Body(limit) })
		switch {
		case c.want == nil && (err != nil || string(got) != c.body):
			t.Errorf("%s: %q, %v", name, got, err)
		case c.want == errPart && (err == nil || !strings.Contains(err.Error(), "of a body of 4")):
			t.Errorf("%s: %q, %v", name, got, err)
		case c.want != nil && c.want != errPart && !errors.Is(err, c.want):
			t.Errorf("%s: %q, %v", name, got, err)
		}
		if c.want == core.ErrBodyTooLarge && name == "announced too long" && got != nil {
			t.Errorf("%s: it was read", name)
		}
	}
}

// errPart stands for the error about a body of which there is only a part.
var errPart = errors.New("part")
