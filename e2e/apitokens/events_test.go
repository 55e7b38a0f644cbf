package apitokens

import (
	"fmt"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse/core"
	"gatehouse/core/authn/apitoken"
	"gatehouse/core/authn/apitoken/manage"
	"gatehouse/core/authn/apitoken/tokenfile"
	"gatehouse/core/config"
	"gatehouse/core/revocation"
)

// A revocation of a subject, a client or an issuer is about API tokens for as long as it is
// kept, and about none that is made later. The store alone ends a token for ever.
func TestRevocationOfAnOwnerEndsWithItsEventAndThatOfATokenNever(t *testing.T) {
	for name, event := range map[string]revocation.Event{
		"subject":                {Kind: revocation.Subject, Value: "ada", Issuer: issuer},
		"subject of any issuer":  {Kind: revocation.Subject, Value: "ada"},
		"issuer":                 {Kind: revocation.Issuer, Issuer: issuer},
		"service account":        {Kind: revocation.Client, Value: "nightly"},
		"subject of the account": {Kind: revocation.Subject, Value: apitoken.AccountSubject("nightly")},
	} {
		t.Run(name, func(t *testing.T) {
			at := inAFile(t)
			k := at.keeper.(tokenfile.Keeper)
			owner, user := nightly, apitoken.Owner{Subject: "ada", Issuer: issuer}
			at.set(t, nightly, apitoken.Grants{}, false)
			if event.Kind != revocation.Client && event.Value != apitoken.AccountSubject("nightly") {
				owner = user
			}
			at.set(t, user, apitoken.Grants{}, false)
			var passed atomic.Int64
			now := func() time.Time { return time.Now().Add(time.Duration(passed.Load())) }
			m := manage.New(manage.Options{Keeper: k, MaxLifetime: 48 * time.Hour, Now: now})
			create := func() (string, *apitoken.Record) {
				token, r, err := m.Create(t.Context(), manage.Request{Owner: owner, By: "test", Lifetime: 24 * time.Hour})
				if err != nil {
					t.Fatal(err)
				}
				return token, r
			}
			old, record := create()
			builder := config.NewBuilder(config.BuilderOptions{Now: now})
			gate, err := builder.Gate([]byte(at.sections + fmt.Sprintf("\nstate_dir: %q\nrevocation: {}\npermission_table: \"authenticated: [GET /me]\"\n", filepath.Join(t.TempDir(), "state"))))
			if err != nil {
				t.Fatal(err)
			}
			is := func(token string, want int) func() bool {
				return func() bool {
					d := gate.Check(t.Context(), &core.Request{Method: "GET", Target: "/me", Header: []core.Header{{Name: "Authorization", Value: "Bearer " + token}}})
					return d.Status == want || want == 200 && d.Outcome == core.Allow
				}
			}
			await(t, "the token is good", is(old, 200))
			event.ID, event.Until = "e1", now().Add(time.Hour)
			if err := builder.Revoke(t.Context(), event); err != nil {
				t.Fatal(err)
			}
			if !is(old, 401)() {
				t.Error("a cached token outlives the revocation of its owner")
			}
			passed.Store(int64(10 * time.Minute))
			later, _ := create()
			await(t, "one that was made later is good", is(later, 200))
			if !is(old, 401)() {
				t.Error("the old one is good again before the event ends")
			}
			passed.Store(int64(2 * time.Hour))
			await(t, "the event has ended, as the documentation says", is(old, 200))
			if err := m.Revoke(t.Context(), record); err != nil {
				t.Fatal(err)
			}
			await(t, "the revoked token is refused", is(old, 401))
			passed.Store(int64(20 * time.Hour))
			if !is(old, 401)() {
				t.Error("a revoked token is good again")
			}
		})
	}
}
