package config

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"gatehouse/core"
	"gatehouse/core/coretest"
)

// The header of a load balancer never goes on to the upstream: from a stranger it is a
// forgery, and services that know RFC 9440 would believe it.
func TestCertificateHeaderOfAStrangerDoesNotReachTheUpstream(t *testing.T) {
	idp := coretest.NewFakeIntrospection(t)
	own := coretest.Certificate(t, "client")
	sum := sha256.Sum256(own.Certificate[0])
	idp.Know("bound", map[string]any{"active": true, "sub": "ada", "exp": 4102444800, "cnf": map[string]any{"x5t#S256": base64.RawURLEncoding.EncodeToString(sum[:])}})
	b := NewBuilder(BuilderOptions{})
	followed, err := b.Follow([]byte(`
introspection: {introspection_endpoint: "`+idp.URL+`", insecure_any_audience: true}
resource_metadata: [{resource: "https://a.test/me", authorization_servers: ["https://op.test"], tls_client_certificate_bound_access_tokens: true}]
client_certificate_header: {trusted_ips: [10.0.0.0/8]}
permission_table: "authenticated: [GET /me]\npublic: [GET /open]"
`), Terms{})
	if err != nil {
		t.Fatal(err)
	}
	now, err := followed.Current()
	if err != nil {
		t.Fatal(err)
	}
	if needs := now.Config.Demands().ClientCertificate; needs != "" {
		t.Errorf("%s asks the host for a certificate, which is in the header", needs)
	}
	for what, c := range map[string]struct {
		peer, path string
		shows      []*core.ClientTLS // of the connection
		want       core.Outcome
	}{
		"from a load balancer":                     {"10.1.2.3", "/me", nil, core.Allow},
		"from a stranger":                          {"192.0.2.1", "/me", nil, core.Deny},
		"from a stranger, whom the host knows":     {"192.0.2.1", "/me", []*core.ClientTLS{{}}, core.Deny},
		"from a stranger, to a public page":        {"192.0.2.1", "/open", nil, core.Allow},
		"from a load balancer, to a public page":   {"10.1.2.3", "/open", nil, core.Allow},
		"from a load balancer that proves himself": {"10.1.2.3", "/me", []*core.ClientTLS{{Verified: true}}, core.Allow},
	} {
		r := &core.Request{Method: "GET", Target: c.path, Host: "a.test", Peer: netip.MustParseAddr(c.peer), Header: []core.Header{
			{Name: "Authorization", Value: "Bearer bound"}, {Name: "client-cert", Value: ":" + base64.StdEncoding.EncodeToString(own.Certificate[0]) + ":"},
		}}
		for _, facts := range c.shows {
			r.AskTLS = func() (*core.ClientTLS, error) { return facts, nil }
		}
		d := now.Decide(context.Background(), r, nil)
		if d.Outcome != c.want || d.Outcome == core.Deny && d.Status != 401 {
			t.Errorf("%s: %v, status %d", what, d.Outcome, d.Status)
		}
		if d.Outcome == core.Allow && !slices.ContainsFunc(d.Strip, func(name string) bool { return strings.EqualFold(name, "Client-Cert") }) {
			t.Errorf("%s: the upstream gets the header; stripped are %q", what, d.Strip)
		}
	}
	names, err := now.Config.HeaderNames()
	if err != nil || !slices.Contains(names.Stripped, "Client-Cert") || !slices.Contains(names.Credentials, "Client-Cert") || !slices.Contains(names.Credentials, "Client-Cert-Chain") {
		t.Errorf("proxies are told of %q and %q, %v", names.Stripped, names.Credentials, err)
	}
}

func TestCertificateHeaderThatAnybodyMayWriteIsRefused(t *testing.T) {
	for settings, want := range map[string]string{
		"{trusted_ips: [0.0.0.0/0]}":        "client_certificate_header.trusted_ips[0]: is every address",
		"{trusted_ips: [10.0.0.1, '::/0']}": "client_certificate_header.trusted_ips[1]: is every address",
		"{trusted_ips: [lb.internal]}":      "client_certificate_header.trusted_ips[0]: is neither an address nor a network",
		"{trusted_ips: []}":                 "client_certificate_header.trusted_ips",
		"{}":                                "client_certificate_header.trusted_ips",
		"{trusted_ips: [10.0.0.1], certificate_header_name: 'a b'}": "client_certificate_header.certificate_header_name",
		"{trusted_ips: [10.0.0.1], certificate_header_format: pem}": "client_certificate_header.certificate_header_format",
	} {
		_, err := Load([]byte("session: {kratos_url: 'http://127.0.0.1:1'}\npermission_table: 'public: [GET /]'\nclient_certificate_header: " + settings))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", settings, err)
		}
	}
}
