package revocation_test

import (
	"fmt"
	"testing"
	"time"

	"gatehouse/core"
	"gatehouse/core/cache"
	"gatehouse/core/revocation"
)

// BenchmarkCachedCaller is a caller from the cache, without a list and with lists of
// several lengths, none of whose events is about the caller. A token of 700 bytes is
// also hashed where some events name tokens by their digests.
func BenchmarkCachedCaller(b *testing.B) {
	now := time.Now()
	p := &core.Principal{
		Kind: core.KindJWT, Subject: "user-1", Issuer: issuerA, ClientID: "shop", ID: "jti-1", SessionID: "sid-1",
		IssuedAt: now.Add(-time.Minute), Expiry: now.Add(time.Hour),
	}
	c := core.Credential{Place: core.BearerToken, Value: fmt.Sprintf("%0350d.%0300d.%048d", 1, 2, 3)}
	run := func(name string, list *revocation.List) {
		b.Run(name, func(b *testing.B) {
			memory := func() cache.Store {
				m, err := cache.NewMemory(cache.Limits{Entries: 10}, nil)
				if err != nil {
					b.Fatal(err)
				}
				return m
			}
			o := cache.Options{Next: &issuer{principal: p}, Positive: memory(), Negative: memory(), Digest: "bench", TTL: time.Hour}
			if list != nil {
				o.Floor = list.Floor
			}
			memo, err := cache.New(o)
			if err != nil {
				b.Fatal(err)
			}
			g := revocation.NewGuard(revocation.GuardOptions{Next: memo, List: list, Local: true})
			if _, err := g.AuthenticateToken(b.Context(), c); err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				if _, err, known := g.Recall(b.Context(), c); err != nil || !known {
					b.Fatal(err)
				}
			}
		})
	}
	run("no-list", nil)
	for _, n := range []int{0, 1_000, 100_000} {
		list := revocation.New(revocation.Options{})
		for i := range n {
			kind := []revocation.Kind{revocation.Session, revocation.Subject, revocation.Client, revocation.Token}[i%4]
			e := revocation.Event{ID: fmt.Sprint(i), Kind: kind, Value: fmt.Sprint("someone-else-", i), At: now, Until: now.Add(time.Hour)}
			if err := list.Add(e); err != nil {
				b.Fatal(err)
			}
		}
		run(fmt.Sprintf("%d-events", n), list)
		if n == 100_000 {
			if err := list.Add(revocation.Event{ID: "digest", Kind: revocation.Token, Value: revocation.TokenDigest("x"), At: now, Until: now.Add(time.Hour)}); err != nil {
				b.Fatal(err)
			}
			run(fmt.Sprintf("%d-events-digests", n), list)
		}
	}
}
