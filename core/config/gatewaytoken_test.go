package config

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/lestrrat-go/jwx/v2/jwk"

	"gatehouse/core"
	"gatehouse/core/coretest"
	"gatehouse/core/gatewaytoken"
	"gatehouse/core/revocation"
)

const gateAudience = "https://gate.test"

func gatewayToken(path, more string) string {
	return fmt.Sprintf("\ngateway_token: {issuer: 'https://gate.test/gatehouse', audience: ['%s'], keys: ['$file://%s']%s}\n", gateAudience, path, more)
}

// itsTokens is a gate with the tokens that it issues.
func itsTokens(t *testing.T, b *Builder, text string) (*core.Gate, *gatewaytoken.Tokens) {
	t.Helper()
	c, err := Load([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	now, err := b.assemble(c)
	if err != nil {
		t.Fatal(err)
	}
	return now.Gate, tokensOf(now.parts)
}

func signedInPerson(clock *coretest.Clock) *core.Principal {
	now := clock.Now()
	return &core.Principal{
		Kind: core.KindOIDC, Subject: "user-1", Issuer: "https://op.test", ClientID: "app", SessionID: "session-1",
		IssuedAt: now.Add(-time.Minute), Expiry: now.Add(8 * time.Hour), Claims: map[string]any{"sid": "session-at-op"},
	}
}

func bearerOf(t *testing.T, tokens *gatewaytoken.Tokens, p *core.Principal) core.Header {
	t.Helper()
	issued, err := tokens.Issue(p, p.Expiry)
	if err != nil {
		t.Fatal(err)
	}
	return core.Header{Name: "Authorization", Value: "Bearer " + issued.Token}
}

// No issuer is called: there is none.
func TestGateAcceptsItsOwnTokensWithoutAnIssuer(t *testing.T) {
	path, clock := filepath.Join(t.TempDir(), "keys.json"), coretest.NewClock()
	keyFile(t, path, "ES256")
	gate, tokens := itsTokens(t, NewBuilder(BuilderOptions{Now: clock.Now}), "permission_table: 'authenticated: [GET /orders]'\ntoken_cookie: jwt-token\n"+gatewayToken(path, ""))
	header := bearerOf(t, tokens, signedInPerson(clock))
	cookie := core.Header{Name: "Cookie", Value: "jwt-token=" + strings.TrimPrefix(header.Value, "Bearer ")}
	for range 2 { // verified, then cached
		for _, h := range []core.Header{header, cookie} {
			d := gate.Check(t.Context(), &core.Request{Method: "GET", Target: "/orders", Header: []core.Header{h}})
			if d.Outcome != core.Allow || d.Principal.Kind != core.KindJWT || d.Principal.SessionID != "session-1" {
				t.Errorf("%s: %v, %v", h.Name, d.Outcome, d.Cause)
			}
		}
	}
	clock.Advance(time.Hour)
	if d := gate.Check(t.Context(), &core.Request{Method: "GET", Target: "/orders", Header: []core.Header{header}}); d.Status != 401 {
		t.Errorf("after its end: %d", d.Status)
	}
}

// A page of another site could otherwise have the browser write with the cookie.
func TestOtherSitesDoNotWriteWithACookieThatHoldsATokenOfTheGate(t *testing.T) {
	path, clock := filepath.Join(t.TempDir(), "keys.json"), coretest.NewClock()
	keyFile(t, path, "EdDSA")
	gate, tokens := itsTokens(t, NewBuilder(BuilderOptions{Now: clock.Now}), "permission_table: 'authenticated: [POST /orders]'\ntoken_cookie: jwt-token\n"+gatewayToken(path, ""))
	header := bearerOf(t, tokens, signedInPerson(clock))
	cookie := core.Header{Name: "Cookie", Value: "jwt-token=" + strings.TrimPrefix(header.Value, "Bearer ")}
	evil := core.Header{Name: "Origin", Value: "https://evil.test"}
	site := core.Header{Name: "Sec-Fetch-Site", Value: "cross-site"}
	if d := gate.Check(t.Context(), &core.Request{Method: "POST", Target: "/orders", Host: "gate.test", Header: []core.Header{cookie, evil, site}}); d.Status != 403 {
		t.Errorf("by cookie: %d", d.Status)
	}
	if d := gate.Check(t.Context(), &core.Request{Method: "POST", Target: "/orders", Host: "gate.test", Header: []core.Header{header, evil, site}}); d.Outcome != core.Allow {
		t.Errorf("by header: %d, %v", d.Status, d.Cause)
	}
}

const everythingTable = `
permissions:
  orders.read: {activities: ['GET /orders']}
  orders.write: {activities: [{methods: [POST], path: /orders, require: {aal: aal2}}]}
  orders.fresh: {activities: [{methods: [PUT], path: /orders, require: {max_age: 5m}}]}
  mail: {activities: [{methods: [GET], path: /mail, require: {when: "claims.email == 'a@example.com'"}}]}
  scoped: {activities: [{methods: [GET], path: /scoped, require: {all_scopes: ['x']}}]}
  of.op: {activities: [{methods: [GET], path: /of-op, require: {when: "claims.iss == 'https://op.test' && claims.sub.startsWith('user')"}}]}
  by.agent: {activities: [{methods: [GET], path: /by-agent, require: {when: "has(claims.act) && claims.act.sub == 'agent'"}}]}
  of.app: {activities: [{methods: [GET], path: /of-app, require: {when: "claims.client_id == 'app' && claims.roles.size() > 1"}}]}
roles:
  clerk: [orders.read, mail, of.app]
  Billing Admin: [orders.write, orders.fresh, scoped, of.op, by.agent]
actors:
  https://op.test#agent: ['role:clerk', 'role:Billing Admin']
  https://op.test#other: [orders.read]
`

// same returns a principal as itself, whatever the credential is.
type same struct{ p *core.Principal }

func (s same) Authenticate(_ context.Context, _ *core.Call, _ core.Credential) (core.Authentication, error) {
	return core.Authentication{Principal: s.p}, nil
}

func TestDecisionWithATokenOfTheGateIsThatOfTheCredentialItStandsFor(t *testing.T) {
	path, clock := filepath.Join(t.TempDir(), "keys.json"), coretest.NewClock()
	keyFile(t, path, "EdDSA")
	table := filepath.Join(t.TempDir(), "table.yaml")
	if err := os.WriteFile(table, []byte(everythingTable), 0o600); err != nil {
		t.Fatal(err)
	}
	b := NewBuilder(BuilderOptions{Now: clock.Now})
	text := "permission_table_files: [" + table + "]\n" + gatewayToken(path, ", copy_claims: true")
	gate, tokens := itsTokens(t, b, text)
	c, err := Load([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(1, 2))
	pick := func(of ...string) (some []string) {
		for _, s := range of {
			if random.IntN(2) == 0 {
				some = append(some, s)
			}
		}
		return some
	}
	admitted, refused := 0, 0
	for range 400 {
		p := signedInPerson(clock)
		p.Roles, p.Scopes = pick("clerk", "Billing Admin", "unknown"), pick("x", "openid")
		p.Permissions = pick("orders.read", "orders.write", "mail", "nothing", "of.op")
		p.AAL = []string{"", "aal1", "aal2", "urn:some:acr"}[random.IntN(4)]
		if random.IntN(3) > 0 {
			p.AuthenticatedAt = clock.Now().Add(-time.Duration(random.IntN(600)) * time.Second)
		}
		if random.IntN(2) == 0 {
			act := map[string]any{"iss": "https://op.test", "sub": []string{"agent", "other"}[random.IntN(2)]}
			p.Actor, p.Claims["act"] = &core.Actor{Issuer: "https://op.test", Subject: act["sub"].(string)}, act
		}
		if random.IntN(2) == 0 {
			p.Claims["email"] = []string{"a@example.com", "b@example.com"}[random.IntN(2)]
		}
		p.Issuer = []string{"https://op.test", "https://other.test"}[random.IntN(2)]
		p.ClientID = []string{"app", "another"}[random.IntN(2)]
		original, err := b.GateWith(c, same{p}, nil)
		if err != nil {
			t.Fatal(err)
		}
		header := bearerOf(t, tokens, p)
		for _, call := range []string{"GET /orders", "POST /orders", "PUT /orders", "GET /mail", "GET /scoped", "GET /of-op", "GET /by-agent", "GET /of-app", "DELETE /orders"} {
			method, target, _ := strings.Cut(call, " ")
			request := func() *core.Request {
				return &core.Request{Method: method, Target: target, Header: []core.Header{header}}
			}
			want, got := original.Check(t.Context(), request()), gate.Check(t.Context(), request())
			if want.Outcome != got.Outcome || want.Status != got.Status || fmt.Sprint(want.Upstream.Set) != fmt.Sprint(got.Upstream.Set) {
				t.Fatalf("%s of %+v: %d %v, and with its token %d %v", call, p, want.Status, want.Cause, got.Status, got.Cause)
			}
			if got.Outcome == core.Allow {
				admitted++
			} else {
				refused++
			}
		}
	}
	if admitted < 500 || refused < 500 {
		t.Errorf("%d admitted, %d refused: the test shows little", admitted, refused)
	}
}

func TestRevocationOfWhatATokenStandsForEndsTheToken(t *testing.T) {
	for name, e := range map[string]revocation.Event{
		"the session":                         {Kind: revocation.Session, Value: "session-1"},
		"the session, of the provider":        {Kind: revocation.Session, Value: "session-1", Issuer: "https://op.test"},
		"the session at the provider":         {Kind: revocation.Session, Value: "session-at-op", Issuer: "https://op.test"},
		"the subject":                         {Kind: revocation.Subject, Value: "user-1"},
		"the subject of the provider":         {Kind: revocation.Subject, Value: "user-1", Issuer: "https://op.test"},
		"the subject of the gate":             {Kind: revocation.Subject, Value: "user-1", Issuer: "https://gate.test/gatehouse"},
		"the client":                          {Kind: revocation.Client, Value: "app"},
		"the client at the provider":          {Kind: revocation.Client, Value: "app", Issuer: "https://op.test"},
		"all of the provider":                 {Kind: revocation.Issuer, Issuer: "https://op.test"},
		"all of the gate":                     {Kind: revocation.Issuer, Issuer: "https://gate.test/gatehouse"},
		"asking the provider is not possible": {Kind: revocation.Subject, Value: "user-1", Issuer: "https://op.test", Verify: true},
	} {
		path, clock := filepath.Join(t.TempDir(), "keys.json"), coretest.NewClock()
		keyFile(t, path, "EdDSA")
		b := NewBuilder(BuilderOptions{Now: clock.Now})
		gate, tokens := itsTokens(t, b, "revocation: {}\nstate_dir: "+filepath.Join(t.TempDir(), "state")+"\npermission_table: 'authenticated: [GET /orders]'\n"+gatewayToken(path, ""))
		ask := func(p *core.Principal) core.Decision {
			return gate.Check(t.Context(), &core.Request{Method: "GET", Target: "/orders", Header: []core.Header{bearerOf(t, tokens, p)}})
		}
		held := bearerOf(t, tokens, signedInPerson(clock))
		askHeld := func() core.Decision {
			return gate.Check(t.Context(), &core.Request{Method: "GET", Target: "/orders", Header: []core.Header{held}})
		}
		if d := askHeld(); d.Outcome != core.Allow {
			t.Fatalf("%s: before: %v", name, d.Cause)
		}
		if err := b.Revoke(t.Context(), e); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if d := askHeld(); d.Status != 401 {
				t.Errorf("%s is revoked: %d, %v", name, d.Status, d.Cause)
			}
		}
		// Issued by a node that has not heard of it yet, for the same sign-in.
		clock.Advance(time.Minute)
		if d := ask(signedInPersonAt(clock, -2*time.Minute)); d.Status != 401 {
			t.Errorf("%s is revoked, and a token that was issued later for an earlier sign-in passes: %d", name, d.Status)
		}
		later := signedInPersonAt(clock, 0)
		later.SessionID, later.Claims = "session-2", map[string]any{"sid": "another-at-op"}
		clock.Advance(time.Minute)
		if d := ask(later); d.Outcome != core.Allow && !e.Verify {
			t.Errorf("%s is revoked, and a later sign-in does not pass: %v", name, d.Cause)
		}
		other := signedInPersonAt(clock, -5*time.Minute)
		other.Subject, other.SessionID, other.ClientID, other.Issuer, other.Claims = "user-2", "session-3", "another", "https://other.test", map[string]any{"sid": "session-at-op"}
		if d := ask(other); d.Outcome != core.Allow && name != "all of the gate" {
			t.Errorf("%s is revoked, and somebody else does not pass: %v", name, d.Cause)
		}
	}
}

func signedInPersonAt(clock *coretest.Clock, ago time.Duration) *core.Principal {
	p := signedInPerson(clock)
	p.IssuedAt = clock.Now().Add(ago)
	return p
}

// Introspection of every JWT would hand the token to a server that does not know it.
func TestTokenOfTheGateIsIntrospectedNowhere(t *testing.T) {
	path, clock := filepath.Join(t.TempDir(), "keys.json"), coretest.NewClock()
	keyFile(t, path, "EdDSA")
	server, issuer := coretest.NewFakeIntrospection(t), coretest.NewIssuer(t, clock)
	gate, tokens := itsTokens(t, NewBuilder(BuilderOptions{Now: clock.Now}), fmt.Sprintf(`permission_table: 'authenticated: [GET /orders]'
introspection: {introspection_endpoint: %q, audience: [%q], jwt_tokens: always}
jwt: {issuers: [{issuer: %q, audience: [%q]}]}
`, server.URL, coretest.Audience, issuer.URL, coretest.Audience)+gatewayToken(path, ""))
	for range 2 {
		d := gate.Check(t.Context(), &core.Request{Method: "GET", Target: "/orders", Header: []core.Header{bearerOf(t, tokens, signedInPerson(clock))}})
		if d.Outcome != core.Allow {
			t.Errorf("%d, %v", d.Status, d.Cause)
		}
	}
	known := issuer.Token(nil)
	server.Know(known, coretest.Merged(issuer.Claims(nil), map[string]any{"active": true}))
	d := gate.Check(t.Context(), &core.Request{Method: "GET", Target: "/orders", Header: []core.Header{{Name: "Authorization", Value: "Bearer " + known}}})
	if d.Outcome != core.Allow || d.Principal.Kind != core.KindIntrospection {
		t.Errorf("a JWT of another issuer: %v", d.Cause)
	}
}

func TestTokenForAServiceIsNoBearerTokenOfTheGate(t *testing.T) {
	r := revocableWith(t, "")
	path := filepath.Join(t.TempDir(), "keys.json")
	keyFile(t, path, "EdDSA")
	both := upstreamToken(path, "") + gatewayToken(path, "")
	r.gate = r.build(r.sections + both)
	minted := tokenOf(r.ask(r.credentials[core.KindSession]))
	if minted == "" {
		t.Fatal("no token for the service")
	}
	if d := r.ask(core.Header{Name: "Authorization", Value: minted}); d.Status != 401 {
		t.Errorf("%d, %v", d.Status, d.Cause)
	}
}

func TestOneIssuerPublishesTheKeysOfBothKindsOfTokens(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys.json")
	keyFile(t, path, "EdDSA", "ES256")
	b := NewBuilder(BuilderOptions{})
	text := "permission_table: 'public: [GET /]'\n" + upstreamToken(path, "") + gatewayToken(path, "")
	gate, _ := itsTokens(t, b, text)
	for target, want := range map[string]int{
		"/.well-known/jwks.json": 200, "/gatehouse/.well-known/openid-configuration": 200, "/.well-known/oauth-authorization-server/gatehouse": 200,
	} {
		d := gate.Check(t.Context(), &core.Request{Method: http.MethodGet, Target: target})
		if d.Status != want || !json.Valid(d.Body) {
			t.Errorf("%s: %d, %s", target, d.Status, d.Body)
		}
		if set, err := jwk.Parse(d.Body); strings.HasSuffix(target, "jwks.json") && (err != nil || set.Len() != 2) {
			t.Errorf("%s: %v, %s", target, err, d.Body)
		}
	}
	c, err := Load([]byte(text))
	if err != nil || len(c.OwnPaths()) != 3 {
		t.Errorf("%v, %v", c.OwnPaths(), err)
	}
	if p := b.PublishedKeys()["https://gate.test/gatehouse"]; !strings.Contains(string(p.Metadata), "jwks.json") {
		t.Errorf("the admin listener has %s", p.Metadata)
	}
	runtime.KeepAlive(gate)
}

func TestGatewayTokensThatCannotBeToldFromOthersDoNotLoad(t *testing.T) {
	const own = "gateway_token: {issuer: 'https://g.test', audience: [a, b], keys: [k]"
	for settings, want := range map[string]string{
		"gateway_token: {}": "gateway_token.issuer: is required",
		own + "}\nupstream_token: {issuer: 'https://g.test', audience: [b], keys: [k]}":                                            "gateway_token.audience[1]: is an audience of upstream_token",
		own + "}\nupstream_token: {issuer: 'https://g.test', audience: [c], keys: [k], routes: [{paths: [/x], audience: [c, a]}]}": "gateway_token.audience[0]: is an audience of upstream_token",
		own + "}\nupstream_token: {issuer: 'https://g.test', audience: [c], keys: [other]}":                                        "gateway_token.keys: must be those of upstream_token",
		own + "}\nupstream_token: {issuer: 'https://g.test', audience: [c], keys: [k], jwks_path: ''}":                             "gateway_token.jwks_path: must be that of upstream_token",
		own + "}\nupstream_token: {issuer: 'https://other.test', audience: [c], keys: [k]}":                                        "gateway_token.jwks_path: is that of upstream_token, which has another issuer",
		own + "}\njwt: {issuers: [{issuer: 'https://g.test', audience: [x]}]}":                                                     "gateway_token.issuer: is an issuer of jwt, too",
		own + ", permissions_claim: roles}":                                                                                        "gateway_token.permissions_claim: is a claim that the gate sets itself",
		own + ", permissions_claim: orig_iat}":                                                                                     "gateway_token.permissions_claim: is a claim that the gate sets itself",
		own + ", permissions_claim: 'a + b'}":                                                                                      "gateway_token.permissions_claim: is no name of a claim",
		own + ", claims: {roles: r}}":                                                                                              "gateway_token.claims.roles: is a claim that the gate sets itself",
		own + ", claims: {idp_sid: r}}":                                                                                            "gateway_token.claims.idp_sid: is a claim that the gate sets itself",
		own + ", jwks_path: keys}":                                                                                                 "gateway_token.jwks_path: must be a path",
		own + "}\nstate_dir: /tmp/x\nrevocation: {retention: 60}":                                                                  "gateway_token.ttl: is longer than revocation.retention",
		"gateway_token: {issuer: 'https://g.test/?x', audience: [a], keys: [k]}":                                                   "gateway_token.issuer: must not have a query",
		"upstream_token: {issuer: 'https://g.test', audience: [c], keys: [k], claims: {orig_iat: x}}\nintrospection: {introspection_endpoint: 'https://i.test', audience: [x]}": "upstream_token.claims.orig_iat: is a claim that the gate sets itself",
		"token_cookie: jwt-token\napi_token: {token_file: /t}": "token_cookie: needs jwt, introspection or gateway_token",
	} {
		_, err := Load([]byte("permission_table: 'public: [GET /]'\n" + settings))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v\nwant %s", settings, err, want)
		}
	}
	_, err := NewBuilder(BuilderOptions{}).Gate([]byte("permission_table: 'public: [GET /]'\n" + own + "}"))
	if err == nil || !strings.Contains(err.Error(), "gateway_token.keys: hold neither a key set") {
		t.Errorf("keys that are none: %v", err)
	}
	if _, err := Load([]byte("permission_table: 'public: [GET /]'\n" + own + "}\nupstream_token: {issuer: 'https://g.test', audience: [c], keys: [k]}")); err != nil {
		t.Errorf("one issuer and one key for both: %v", err)
	}
}
