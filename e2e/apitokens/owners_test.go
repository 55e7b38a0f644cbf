package apitokens

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"gatehouse/core"
	"gatehouse/core/authn/apitoken"
	"gatehouse/core/authn/apitoken/manage"
	"gatehouse/core/authn/apitoken/tokenfile"
	"gatehouse/core/config"
	"gatehouse/core/fleet/subjects"
)

const issuer = "https://id.test"

// place keeps tokens and says what their owners may do.
type place struct {
	keeper   manage.Keeper
	sections string
	// set says what an owner may do, and suspends it where the place can.
	set func(t *testing.T, o apitoken.Owner, g apitoken.Grants, suspended bool)
}

func inADatabase(t *testing.T) place {
	r := newRig(t)
	host, port, _ := net.SplitHostPort(r.server.Addr)
	return place{r.keeper, fmt.Sprintf("api_token: {token_store: postgres, cache_ttl: 300, negative_cache_ttl: 0}\nsubject_roles: {}\npostgres: {host: %q, port: %s, user: tester, database: postgres}", host, port),
		func(t *testing.T, o apitoken.Owner, g apitoken.Grants, suspended bool) {
			if o.ServiceAccount != "" {
				r.account(o.ServiceAccount, g, suspended)
				return
			}
			if suspended {
				g = apitoken.Grants{} // as near as a user there comes to it
			}
			if _, err := subjects.Set(t.Context(), r.client(""), subjects.Identity{Issuer: o.Issuer, Name: o.Subject}, subjects.Grants{Roles: g.Roles, Permissions: g.Permissions}, subjects.Change{Author: "test", Reason: "test"}); err != nil {
				t.Fatal(err)
			}
		}}
}

func inAFile(t *testing.T) place {
	path := filepath.Join(t.TempDir(), "tokens.yaml")
	keeper := tokenfile.NewKeeper(path)
	return place{keeper, fmt.Sprintf("api_token: {token_file: %q, cache_ttl: 300, negative_cache_ttl: 0}", path),
		func(t *testing.T, o apitoken.Owner, g apitoken.Grants, suspended bool) {
			if o.ServiceAccount != "" {
				if err := keeper.SetAccount(t.Context(), o.ServiceAccount, manage.Account{Grants: g, Suspended: suspended}, "test"); err != nil {
					t.Fatal(err)
				}
				return
			}
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			file := map[string]any{}
			if err := yaml.Unmarshal(text, &file); err != nil {
				t.Fatal(err)
			}
			user := map[string]any{"subject": o.Subject, "issuer": o.Issuer, "suspended": suspended}
			for name, list := range map[string][]string{"roles": g.Roles, "permissions": g.Permissions} {
				if len(list) > 0 {
					user[name] = list
				}
			}
			file["users"] = []any{user} // by hand, as an operator does
			if text, err = yaml.Marshal(file); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path+".new", text, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(path+".new", path); err != nil {
				t.Fatal(err)
			}
		}}
}

// A token that is cached for minutes follows what becomes of its owner, and is never worth
// more: names are compared as they are, without wildcards, case and look-alikes.
func TestTokenFollowsWhatBecomesOfItsOwner(t *testing.T) {
	roles := func(names ...string) apitoken.Grants { return apitoken.Grants{Roles: names} }
	permissions := func(names ...string) apitoken.Grants { return apitoken.Grants{Permissions: names} }
	for where, open := range map[string]func(*testing.T) place{"in a database": inADatabase, "in a file": inAFile} {
		for what, owner := range map[string]apitoken.Owner{"service account": nightly, "user": {Subject: "ada", Issuer: issuer}} {
			t.Run(what+" "+where, func(t *testing.T) {
				at := open(t)
				at.set(t, nightly, apitoken.Grants{}, false) // a token refers to it
				m := manage.New(manage.Options{Keeper: at.keeper, MaxLifetime: 24 * time.Hour, Now: time.Now})
				token, _, err := m.Create(t.Context(), manage.Request{
					Owner: owner, By: "test", Lifetime: time.Hour,
					Grants: apitoken.Grants{Roles: []string{"clerk", "admin", "cl\u00e9rk"}, Permissions: []string{"orders:read", "orders:write"}, Scopes: []string{"orders:*"}},
				})
				if err != nil {
					t.Fatal(err)
				}
				at.set(t, owner, roles("clerk"), false)
				gate, err := config.NewBuilder(config.BuilderOptions{}).Gate([]byte(at.sections + `
permission_table: "{roles: {clerk: [orders:read], admin: [orders:write], 'cl\u00e9rk': [orders:write]}, permissions: {orders:read: {activities: [GET /orders]}, orders:write: {activities: [GET /write]}}, authenticated: [GET /me]}"
`))
				if err != nil {
					t.Fatal(err)
				}
				statuses := func() (got [3]int) {
					for i, target := range []string{"/orders", "/write", "/me"} {
						got[i] = 200
						d := gate.Check(t.Context(), &core.Request{Method: "GET", Target: target, Header: []core.Header{{Name: "Authorization", Value: "Bearer " + token}}})
						if d.Outcome != core.Allow {
							got[i] = d.Status
						}
					}
					return got
				}
				none := [3]int{403, 403, 200}
				gone := [3]int{401, 401, 401}
				nothing := none
				if where == "in a database" && what == "user" {
					nothing = gone // a user to whom nothing is granted is none
				}
				for _, step := range []struct {
					name      string
					grants    apitoken.Grants
					suspended bool
					want      [3]int
				}{
					{"a role", roles("clerk"), false, [3]int{200, 403, 200}},
					{"a role in another case", roles("Clerk"), false, none},
					{"both roles", roles("clerk", "admin"), false, [3]int{200, 200, 200}},
					{"a role of Cyrillic letters", roles("\u0441lerk"), false, none},
					{"a role with an accent", roles("cl\u00e9rk"), false, [3]int{403, 200, 200}},
					{"the same of another spelling in Unicode", roles("cle\u0301rk"), false, none},
					{"a permission", permissions("orders:read"), false, [3]int{200, 403, 200}},
					{"what looks like a wildcard", permissions("orders:*"), false, none},
					{"the other permission", permissions("orders:write"), false, [3]int{403, 200, 200}},
					{"nothing", apitoken.Grants{}, false, nothing},
					{"a role again", roles("clerk"), false, [3]int{200, 403, 200}},
					{"suspended", roles("clerk"), true, gone},
					{"not suspended any more", roles("clerk"), false, [3]int{200, 403, 200}},
				} {
					at.set(t, owner, step.grants, step.suspended)
					var got [3]int
					awaitOr(t, func() string { return fmt.Sprintf("%s: %v, want %v", step.name, got, step.want) }, func() bool { got = statuses(); return got == step.want })
				}
			})
		}
	}
}

func TestTokenIsOfNoOwnerWithAnotherIssuer(t *testing.T) {
	for where, open := range map[string]func(*testing.T) place{"in a database": inADatabase, "in a file": inAFile} {
		t.Run(where, func(t *testing.T) {
			at := open(t)
			at.set(t, nightly, apitoken.Grants{}, false) // a token refers to it
			m := manage.New(manage.Options{Keeper: at.keeper, MaxLifetime: 24 * time.Hour, Now: time.Now})
			gate, err := config.NewBuilder(config.BuilderOptions{}).Gate([]byte(at.sections + "\npermission_table: \"authenticated: [GET /me]\"\n"))
			if err != nil {
				t.Fatal(err)
			}
			token := func(o apitoken.Owner) string {
				token, _, err := m.Create(t.Context(), manage.Request{Owner: o, By: "test", Lifetime: time.Hour})
				if err != nil {
					t.Fatal(err)
				}
				return token
			}
			is := func(token string, want int) func() bool {
				return func() bool {
					d := gate.Check(t.Context(), &core.Request{Method: "GET", Target: "/me", Header: []core.Header{{Name: "Authorization", Value: "Bearer " + token}}})
					return d.Status == want || want == 200 && d.Outcome == core.Allow
				}
			}
			own := token(apitoken.Owner{Subject: "ada", Issuer: issuer})
			for _, other := range []string{"*", issuer + "/", "HTTPS://ID.TEST", "https://id.tes", "https://%"} {
				at.set(t, apitoken.Owner{Subject: "ada", Issuer: other}, apitoken.Grants{Roles: []string{"clerk"}}, false)
				of := token(apitoken.Owner{Subject: "ada", Issuer: other})
				await(t, "the owner of the other issuer "+other, is(of, 200))
				if !is(own, 401)() {
					t.Errorf("the owner of %s is taken for that of %s", other, issuer)
				}
			}
			for _, o := range []apitoken.Owner{{Subject: "*", Issuer: issuer}, {Subject: "%", Issuer: issuer}, {Subject: "Ada", Issuer: issuer}, {Subject: "nightly", Issuer: issuer}} {
				if !is(token(o), 401)() {
					t.Errorf("%s is an owner", o)
				}
			}
			at.set(t, apitoken.Owner{Subject: "ada", Issuer: issuer}, apitoken.Grants{Roles: []string{"clerk"}}, false)
			await(t, "the owner", is(own, 200))
		})
	}
}
