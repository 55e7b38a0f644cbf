package revocation_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"gatehouse/core"
	"gatehouse/core/revocation"
)

// An event has the moment of the clock that all nodes share, and a credential that of its
// issuer's. What the clock of a node says must neither miss one nor make one.
func TestNodeWhoseClockIsWrongByMinutesMissesNoRevocation(t *testing.T) {
	now, leeway := time.Now(), 10*time.Second
	for _, skew := range []time.Duration{-50 * time.Minute, -10 * time.Minute, -3 * time.Minute, 0, 3 * time.Minute, 10 * time.Minute, 50 * time.Minute} {
		l := revocation.New(revocation.Options{Leeway: leeway, Now: func() time.Time { return now.Add(skew) }})
		for i, kind := range []revocation.Kind{revocation.Subject, revocation.Client, revocation.Issuer} {
			e := revocation.Event{ID: fmt.Sprint(i), Kind: kind, Issuer: issuerA, At: now, Until: now.Add(24 * time.Hour)}
			if kind != revocation.Issuer {
				e.Value = string(kind)
			}
			if err := l.Add(e); err != nil {
				t.Fatal(err)
			}
		}
		for name, p := range map[string]core.Principal{"subject": {Subject: "subject"}, "client": {ClientID: "client"}, "issuer": {Subject: "somebody"}} {
			p.Issuer = issuerA
			for _, issued := range []struct {
				after   time.Duration
				revoked bool
			}{{-time.Hour, true}, {-4 * time.Minute, true}, {-time.Second, true}, {leeway, true}, {leeway + time.Second, false}, {5 * time.Minute, false}} {
				p.IssuedAt = now.Add(issued.after)
				if _, revoked := l.Revoked(&p, "token"); revoked != issued.revoked {
					t.Errorf("clock wrong by %v: credential of a %s, issued %v after its revocation: revoked is %v", skew, name, issued.after, revoked)
				}
			}
		}
	}
}

// Sessions of Kratos name no issuer; their gate does.
func TestSessionsAreRevokedByTheAddressOfKratos(t *testing.T) {
	const kratos = "http://kratos.example.test:4433"
	for of, revoked := range map[string]bool{kratos: true, "http://other.example.test:4433": false} {
		b := setup(t, nil)
		session := b.alice(func(p *core.Principal) { p.Kind, p.Issuer = core.KindSession, "" })
		g := revocation.NewGuard(revocation.GuardOptions{Next: b.memo(&issuer{principal: session}), List: b.List, Issuer: kratos})
		if _, err := g.AuthenticateToken(t.Context(), credential); err != nil {
			t.Fatal(err)
		}
		b.revoke(revocation.Issuer, "", of)
		_, err := g.AuthenticateToken(t.Context(), credential)
		_, recalled, _ := g.Recall(t.Context(), credential)
		if errors.Is(err, core.ErrInvalid) != revoked || errors.Is(recalled, core.ErrInvalid) != revoked {
			t.Errorf("%s is revoked: %v, %v", of, err, recalled)
		}
	}
}
