package offline

import (
	"crypto/x509"
	"fmt"
	"net/url"
	"testing"
	"time"

	"gatehouse/core"
	"gatehouse/core/config"
	"gatehouse/core/coretest"
	"gatehouse/core/permission"
	"gatehouse/core/permission/inspect"
	"gatehouse/core/permission/tablefile"
)

// A caller with a certificate, a token or both is to the tools who it is to the gate, by
// every setting of client_certificate.
func TestCertificateIsToTheToolsWhatItIsToTheGate(t *testing.T) {
	clock := coretest.NewClock()
	root, issuer := coretest.NewAuthority(t, clock, "root", nil), coretest.NewIssuer(t, clock)
	robot, human := root.Client("robot-7", nil), root.Client("human", nil)
	stranger := coretest.NewAuthority(t, clock, "root", nil).Client("robot-7", nil)
	claims := issuer.Claims(map[string]any{"sub": "ada"})
	decoded, err := DecodeClaims([]byte(coretest.JSON(t, claims)))
	if err != nil {
		t.Fatal(err)
	}
	file, err := tablefile.Parse("table", []byte("authenticated: [GET /orders]"))
	if err != nil {
		t.Fatal(err)
	}
	table, err := permission.Compile(file)
	if err != nil {
		t.Fatal(err)
	}
	inspector := inspect.New(table, file)
	allowed, refused := 0, 0
	for _, precedence := range []string{"", "{token_alone: false}", "{with_token: certificate}", "{with_token: certificate, token_alone: false}", "{with_token: refuse}", "{alone: false, token_alone: false}", "{alone: false, with_token: certificate}"} {
		text := fmt.Sprintf("mtls: {ca_certificates: [%q], subjects: [{common_name: 'robot-*', roles: [machine]}]}\njwt: {issuers: [{issuer: %q, audience: [%q]}]}\nupstream_headers: {X-User: sub, X-Certificate: certificate.subject, X-Token: certificate.token.sub}\npermission_table: '{authenticated: [GET /orders]}'\n", root.File(), issuer.URL, coretest.Audience)
		if precedence != "" {
			text += "client_certificate: " + precedence + "\n"
		}
		c, err := config.Load([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		builder := config.NewBuilder(config.BuilderOptions{Now: clock.Now})
		gate, err := builder.Build(c)
		if err != nil {
			t.Fatal(err)
		}
		tools, err := New(c, core.PathOptions{}, inspector)
		if err != nil {
			t.Fatal(err)
		}
		for name, chain := range map[string][]*x509.Certificate{"none": nil, "robot": {robot.Certificate}, "human": {human.Certificate}, "stranger": {stranger.Certificate}} {
			for _, token := range []bool{false, true} {
				if chain == nil && !token {
					continue
				}
				r := &core.Request{Method: "GET", Target: "/orders", AskTLS: func() (*core.ClientTLS, error) { return &core.ClientTLS{Chain: chain}, nil }}
				caller := &Caller{Chain: chain, AuthAge: -1}
				if token {
					r.Header = []core.Header{{Name: "Authorization", Value: "Bearer " + issuer.Token(claims)}}
					caller.Claims = decoded
				}
				want := gate.Check(t.Context(), r)
				got, err := tools.Decide(t.Context(), &core.Request{Method: "GET", Target: "/orders"}, caller)
				if err != nil {
					t.Fatalf("%s, %s, token %t: %v", precedence, name, token, err)
				}
				if got.Outcome != want.Outcome || got.Status != want.Status || fmt.Sprint(got.Set) != fmt.Sprint(want.Set) {
					t.Errorf("%s, %s, token %t: the tools say %d %v %v, the gate %d %v %v", precedence, name, token, got.Status, got.Set, got.Cause, want.Status, want.Set, want.Cause)
				}
				if want.Outcome == core.Allow {
					allowed++
				} else {
					refused++
				}
			}
		}
	}
	if allowed < 15 || refused < 15 {
		t.Errorf("%d allowed and %d refused: the test shows little", allowed, refused)
	}
}

// A certificate that is no X509-SVID, or of no trust domain of the gate, is nobody to the
// tools either, although they ask no bundle.
func TestCertificateThatIsNoSVIDIsRefusedByTheTools(t *testing.T) {
	clock := coretest.NewClock()
	root := coretest.NewAuthority(t, clock, "root", nil)
	c, err := config.Load([]byte("spiffe: {jwt_svid: false, trust_domains: [{name: a.test, bundle_file: /nowhere}]}\npermission_table: '{authenticated: [GET /orders]}'\n"))
	if err != nil {
		t.Fatal(err)
	}
	file, err := tablefile.Parse("table", []byte("authenticated: [GET /orders]"))
	if err != nil {
		t.Fatal(err)
	}
	table, err := permission.Compile(file)
	if err != nil {
		t.Fatal(err)
	}
	tools, err := New(c, core.PathOptions{}, inspect.New(table, file))
	if err != nil {
		t.Fatal(err)
	}
	ids := func(texts ...string) func(*x509.Certificate) {
		return func(c *x509.Certificate) {
			for _, text := range texts {
				id, err := url.Parse(text)
				if err != nil {
					t.Fatal(err)
				}
				c.URIs = append(c.URIs, id)
			}
		}
	}
	for name, tt := range map[string]struct {
		change  func(*x509.Certificate)
		allowed bool
	}{
		"an SVID":               {ids("spiffe://a.test/web"), true},
		"two ids":               {ids("spiffe://a.test/web", "spiffe://a.test/other"), false},
		"an id and another URI": {ids("spiffe://a.test/web", "https://a.test/"), false},
		"another trust domain":  {ids("spiffe://b.test/web"), false},
		"no path":               {ids("spiffe://a.test"), false},
		"for servers": {func(c *x509.Certificate) {
			ids("spiffe://a.test/web")(c)
			c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		}, false},
		"ended": {func(c *x509.Certificate) {
			ids("spiffe://a.test/web")(c)
			c.NotBefore, c.NotAfter = time.Now().Add(-2*time.Hour), time.Now().Add(-time.Hour)
		}, false},
	} {
		caller := &Caller{Chain: []*x509.Certificate{root.Client("web", tt.change).Certificate}, AuthAge: -1}
		got, err := tools.Decide(t.Context(), &core.Request{Method: "GET", Target: "/orders"}, caller)
		if err != nil || got.Allowed() != tt.allowed {
			t.Errorf("%s: %v, %d %v; want allowed: %t", name, err, got.Status, got.Cause, tt.allowed)
		}
	}
}
