package certheader

import (
	"encoding/base64"
	"encoding/pem"
	"errors"
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"gatehouse/core"
	"gatehouse/core/coretest"
)

func TestCertificateOfALoadBalancersHeader(t *testing.T) {
	der, issuer := coretest.Certificate(t, "client").Certificate[0], coretest.Certificate(t, "issuer").Certificate[0]
	b64 := base64.StdEncoding.EncodeToString(der)
	escaped := strings.ReplaceAll(url.PathEscape(string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))), "+", "%2B")
	item := func(der []byte) string { return ":" + base64.StdEncoding.EncodeToString(der) + ":" }
	own := &core.ClientTLS{Verified: true}
	line := func(name, value string) core.Header { return core.Header{Name: name, Value: value} }
	rfc := Header{Name: "Client-Cert", Format: "rfc9440", TrustedIPs: []string{"10.0.0.0/8", "::1"}}
	const bad, host = -1, -2 // refused; what the host knows of the connection
	for what, c := range map[string]struct {
		settings Header
		peer     string
		lines    []core.Header
		want     int
	}{
		"a load balancer":                   {rfc, "10.1.2.3", []core.Header{line("client-cert", item(der))}, 1},
		"by IPv6":                           {rfc, "::1", []core.Header{line("Client-Cert", item(der))}, 1},
		"by IPv4 in IPv6":                   {rfc, "::ffff:10.1.2.3", []core.Header{line("Client-Cert", item(der))}, 1},
		"with a chain":                      {rfc, "10.1.2.3", []core.Header{line("Client-Cert", item(der)), line("Client-Cert-Chain", item(issuer))}, 2},
		"none":                              {rfc, "10.1.2.3", nil, 0},
		"an empty one":                      {rfc, "10.1.2.3", []core.Header{line("Client-Cert", "")}, 0},
		"a stranger":                        {rfc, "192.0.2.1", []core.Header{line("Client-Cert", item(der))}, host},
		"a peer that is not known":          {rfc, "", []core.Header{line("Client-Cert", item(der))}, host},
		"twice":                             {rfc, "10.1.2.3", []core.Header{line("Client-Cert", item(der)), line("client-cert", item(der))}, bad},
		"twice, one with _":                 {rfc, "10.1.2.3", []core.Header{line("Client-Cert", item(der)), line("Client_Cert", item(der))}, bad},
		"with _ alone":                      {rfc, "10.1.2.3", []core.Header{line("Client_Cert", item(der))}, bad},
		"a chain twice":                     {rfc, "10.1.2.3", []core.Header{line("Client-Cert", item(der)), line("Client-Cert-Chain", item(issuer)), line("Client-Cert-Chain", item(issuer))}, bad},
		"a chain alone":                     {rfc, "10.1.2.3", []core.Header{line("Client-Cert-Chain", item(issuer))}, bad},
		"cut short":                         {rfc, "10.1.2.3", []core.Header{line("Client-Cert", item(der)[:80])}, bad},
		"of another form":                   {rfc, "10.1.2.3", []core.Header{line("Client-Cert", b64)}, bad},
		"too long":                          {rfc, "10.1.2.3", []core.Header{line("Client-Cert", ":"+strings.Repeat("A", 1<<20)+":")}, bad},
		"escaped PEM":                       {Header{"X-Amzn-Mtls-Clientcert", "url_encoded", []string{"10.1.2.3"}}, "10.1.2.3", []core.Header{line("X-Amzn-Mtls-Clientcert", escaped)}, 1},
		"base64":                            {Header{"X-Cert", "base64_encoded", []string{"10.1.2.3"}}, "10.1.2.3", []core.Header{line("X-Cert", b64)}, 1},
		"Envoy's":                           {Header{"X-Forwarded-Client-Cert", "xfcc", []string{"10.1.2.3"}}, "10.1.2.3", []core.Header{line("X-Forwarded-Client-Cert", `Cert="`+escaped+`"`)}, 1},
		"Envoy's, and one of a client":      {Header{"X-Forwarded-Client-Cert", "xfcc", []string{"10.1.2.3"}}, "10.1.2.3", []core.Header{line("X-Forwarded-Client-Cert", `Cert="`+escaped+`",Cert="`+escaped+`"`)}, bad},
		"another header counts for nothing": {Header{"X-Cert", "rfc9440", []string{"10.1.2.3"}}, "10.1.2.3", []core.Header{line("Client-Cert", item(der)), line("Client-Cert-Chain", "x")}, 0},
	} {
		for _, hostKnows := range []bool{true, false} {
			asked := 0
			r := &core.Request{Header: c.lines, AskPeer: func() netip.Addr { asked++; addr, _ := netip.ParseAddr(c.peer); return addr }}
			if hostKnows {
				r.AskTLS = func() (*core.ClientTLS, error) { return own, nil }
			}
			c.settings.Reader().Tell(r)
			if asked != 0 {
				t.Errorf("%s: a request that needs no certificate asks for the peer", what)
			}
			got, err := r.ClientTLS()
			switch {
			case c.want == bad:
				if !errors.Is(err, core.ErrBadRequest) {
					t.Errorf("%s: %+v, %v", what, got, err)
				}
			case err != nil:
				t.Errorf("%s: %v", what, err)
			case c.want == host && hostKnows:
				if got != own {
					t.Errorf("%s: %+v", what, got)
				}
			case len(got.Chain) != max(c.want, 0) || got.Verified || c.want > 0 && got.Chain[0].Subject.CommonName != "client":
				t.Errorf("%s, host knows %v: %+v", what, hostKnows, got)
			}
		}
	}
}
