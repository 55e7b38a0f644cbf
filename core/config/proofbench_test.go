package config

import (
	"crypto/x509"
	"encoding/pem"
	"os"
	"testing"
	"time"

	"gatehouse/core"
	"gatehouse/core/coretest"
)

// BenchmarkProofBesideJWT is a whole decision on a JWT that is remembered: a bearer token,
// one with a DPoP proof, which is new each time, and one that is bound to a certificate,
// which is read each time, as nginx passes it on.
func BenchmarkProofBesideJWT(b *testing.B) {
	b.Run("bearer token", func(b *testing.B) {
		g := newBound(b, "dpop: {max_entries: 10000000}")
		r := requestWith("Bearer", g.token(map[string]any{"cnf": nil}))
		decide(b, g.gate, func(int) *core.Request { return r })
	})
	for _, alg := range []string{"ES256", "EdDSA", "RS256"} {
		b.Run("DPoP "+alg, func(b *testing.B) {
			g := newBound(b, "dpop: {max_entries: 10000000, use_nonce: true}")
			g.holder = coretest.NewHolder(b, alg, g.clock.Now)
			token := g.token(nil)
			nonce := headerOf(g.ask(g.gate, "DPoP", token, g.holder.Proof("GET", privateURL, token, nil)), "DPoP-Nonce")
			proofs := make([]*core.Request, b.N+1)
			for i := range proofs {
				proofs[i] = requestWith("DPoP", token, core.Header{Name: "DPoP", Value: g.holder.Proof("GET", privateURL, token, map[string]any{"nonce": nonce})})
			}
			decide(b, g.gate, func(i int) *core.Request { return proofs[i] })
		})
	}
	b.Run("mTLS", func(b *testing.B) {
		g := newBound(b, "")
		der := coretest.Certificate(b, "client").Certificate[0]
		text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
		r := requestWith("Bearer", g.token(map[string]any{"cnf": map[string]any{"x5t#S256": thumbprint(der)}}))
		r.AskTLS = func() (*core.ClientTLS, error) {
			block, _ := pem.Decode(text)
			own, err := x509.ParseCertificate(block.Bytes)
			return &core.ClientTLS{Chain: []*x509.Certificate{own}}, err
		}
		decide(b, g.gate, func(int) *core.Request { anew := *r; return &anew })
	})
}

func requestWith(scheme, token string, more ...core.Header) *core.Request {
	lines := []core.Header{{Name: "user-agent", Value: "Mozilla/5.0"}, {Name: "accept", Value: "application/json"}, {Name: "authorization", Value: scheme + " " + token}}
	return &core.Request{Method: "GET", Target: "/private?a=b", Host: "api.example.test", Header: append(lines, more...)}
}

// decide measures decisions, of which the one before the first has the token remembered.
// The CPU time is that of this process: others may be busy beside it.
func decide(b *testing.B, gate *core.Gate, request func(i int) *core.Request) {
	b.Helper()
	var before time.Duration
	for i := range b.N + 1 {
		if i == 1 {
			before = coretest.CPUTime(b, os.Getpid())
			b.ReportAllocs()
			b.ResetTimer()
		}
		if d := gate.Check(b.Context(), request(i)); d.Outcome != core.Allow {
			b.Fatal(d.Status, d.Cause)
		}
	}
	b.ReportMetric(float64((coretest.CPUTime(b, os.Getpid())-before).Nanoseconds())/float64(b.N), "cpu-ns/op")
}
