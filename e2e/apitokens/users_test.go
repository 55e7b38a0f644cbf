package apitokens

import (
	"fmt"
	"net"
	"testing"
	"time"

	"gatehouse/core"
	"gatehouse/core/authn/apitoken"
	"gatehouse/core/authn/apitoken/manage"
	"gatehouse/core/config"
	"gatehouse/core/fleet/subjects"
)

func TestUserWhoLosesARoleInTheDatabaseTakesItFromACachedToken(t *testing.T) {
	r := newRig(t)
	host, port, _ := net.SplitHostPort(r.server.Addr)
	gate, err := config.NewBuilder(config.BuilderOptions{}).Gate([]byte(fmt.Sprintf(`
api_token: {token_store: postgres, cache_ttl: 300}
subject_roles: {}
postgres: {host: %q, port: %s, user: tester, database: postgres}
permission_table: "{roles: {clerk: [orders:read]}, permissions: {orders:read: {activities: [GET /orders]}}, authenticated: [GET /me]}"
`, host, port)))
	if err != nil {
		t.Fatal(err)
	}
	grant := func(roles ...string) {
		t.Helper()
		if _, err := subjects.Set(t.Context(), r.client(""), subjects.Identity{Issuer: issuer, Name: "ada"}, subjects.Grants{Roles: roles}, subjects.Change{Author: "test", Reason: "test"}); err != nil {
			t.Fatal(err)
		}
	}
	everything := apitoken.Grants{Roles: []string{"clerk", "admin"}, Permissions: []string{"orders:read"}}
	manager := manage.New(manage.Options{Keeper: r.keeper, MaxLifetime: 24 * time.Hour, Now: time.Now})
	make := func(subject string) string {
		token, _, err := manager.Create(t.Context(), manage.Request{Owner: apitoken.Owner{Subject: subject, Issuer: issuer}, Grants: everything, Lifetime: time.Hour, By: "test"})
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	check := func(token, target string) core.Decision {
		return gate.Check(t.Context(), &core.Request{Method: "GET", Target: target, Header: []core.Header{{Name: "Authorization", Value: "Bearer " + token}}})
	}
	grant("clerk")
	ada, eve := make("ada"), make("eve")
	await(t, "the owner's role opens it", func() bool { return check(ada, "/orders").Outcome == core.Allow })
	if d := check(eve, "/me"); d.Status != 401 {
		t.Errorf("a token of a user to whom nothing is granted: %d, %v", d.Status, d.Cause)
	}
	begun := time.Now()
	grant("other")
	await(t, "the role is gone", func() bool { return check(ada, "/orders").Status == 403 })
	t.Logf("a lost role is lost to a cached token after %s", time.Since(begun).Round(time.Millisecond))
	grant()
	await(t, "the owner is gone", func() bool { return check(ada, "/me").Status == 401 })
}
