package signin

import (
	"net/http"
	"testing"
	"time"

	"gatehouse/core"
	"gatehouse/dev/redistest"
)

// BenchmarkSessionInRedisBesideJWT compares warm decisions in one run: where a section
// revocation lets a node cache a session, and where each request looks into Redis.
func BenchmarkSessionInRedisBesideJWT(b *testing.B) {
	f := newFleet(b, at(redistest.Start(b)))
	cached, uncached := f.node(nil, map[string]any{"revocation": map[string]any{}}), f.node(nil, nil)
	session := core.Header{Name: "Cookie", Value: cookieName + "=" + f.signIn(uncached)[cookieName]}
	jwt := core.Header{Name: "Authorization", Value: "Bearer " + f.tokens.Token(nil)}
	eventually(b, "the list of revocations", func() bool { return f.send(cached, cookies{}, "/orders", jwt).Outcome == core.Allow })
	for _, c := range []struct {
		name   string
		gate   *core.Gate
		header core.Header
	}{
		{"JWT", cached, jwt},
		{"session, cached beside revocation", cached, session},
		{"session, looked up in Redis", uncached, session},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				f.clock.Advance(time.Microsecond) // what is not cached is not by this clock either
				r := core.Request{Method: http.MethodGet, Target: "/orders", Host: "app.example.test", Header: []core.Header{c.header}}
				if d := c.gate.Check(b.Context(), &r); d.Outcome != core.Allow {
					b.Fatal(d.Cause)
				}
			}
		})
	}
}
