package config

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse/core"
	"gatehouse/core/coretest"
)

// bound is a gate that takes tokens by DPoP, and a client with a key.
type bound struct {
	t      testing.TB
	clock  *coretest.Clock
	issuer *coretest.Issuer
	holder *coretest.Holder
	gates  *Builder
	gate   *core.Gate
}

func newBound(t testing.TB, settings string) *bound {
	t.Helper()
	clock := coretest.NewClock()
	b := &bound{t: t, clock: clock, issuer: coretest.NewIssuer(t, clock), holder: coretest.NewHolder(t, "ES256", clock.Now), gates: NewBuilder(BuilderOptions{Now: clock.Now})}
	b.gate = b.build(settings)
	return b
}

func (b *bound) build(settings string) *core.Gate {
	b.t.Helper()
	if !strings.Contains(settings, "jwt:") {
		settings += fmt.Sprintf("\njwt: {issuers: [{issuer: %q, insecure_any_audience: true}], cache_ttl: 3600}", b.issuer.URL)
	}
	gate, err := b.gates.Gate([]byte(settings + "\nrealm: api\npermission_table: \"authenticated: [GET /private]\"\n"))
	if err != nil {
		b.t.Fatal(err)
	}
	return gate
}

const privateURL = "https://api.example.test/private"

func (b *bound) token(changes map[string]any) string {
	return b.issuer.Token(coretest.Merged(map[string]any{"cnf": b.holder.Confirmation()}, changes))
}

// ask sends a token by a scheme, with proofs.
func (b *bound) ask(gate *core.Gate, scheme, token string, proofs ...string) core.Decision {
	r := &core.Request{Method: "GET", Target: "/private?a=b", Host: "api.example.test", Header: []core.Header{{Name: "Authorization", Value: scheme + " " + token}}}
	for _, p := range proofs {
		r.Header = append(r.Header, core.Header{Name: "DPoP", Value: p})
	}
	return gate.Check(b.t.Context(), r)
}

func (b *bound) admits(what string, d core.Decision) {
	b.t.Helper()
	if d.Outcome != core.Allow || d.Principal == nil || d.Principal.Subject != "user-1" {
		b.t.Errorf("%s: %d, %v", what, d.Status, d.Cause)
	}
}

// refuses wants 401 with a challenge that has these parts.
func (b *bound) refuses(attack string, d core.Decision, challenge ...string) {
	b.t.Helper()
	got := headerOf(d, "WWW-Authenticate")
	missing := slices.DeleteFunc(challenge, func(part string) bool { return strings.Contains(got, part) })
	if d.Outcome != core.Deny || d.Status != http.StatusUnauthorized || len(missing) > 0 {
		b.t.Errorf("%s: %d, %v, challenge %s, lacks %q", attack, d.Status, d.Cause, got, missing)
	}
}

const withDPoP = "dpop: {algorithms: [ES256, PS256]}"

func TestTokenOfDPoPNeedsAProofOnEveryCall(t *testing.T) {
	b := newBound(t, withDPoP)
	token := b.token(nil)
	proof := b.holder.Proof("GET", privateURL, token, nil)
	b.admits("first call", b.ask(b.gate, "DPoP", token, proof))
	b.admits("token that is remembered", b.ask(b.gate, "dpop", token, b.holder.Proof("GET", privateURL, token, nil)))
	const wrong = `DPoP realm="api", algs="ES256 PS256", error="invalid_dpop_proof"`
	b.refuses("remembered token without a proof", b.ask(b.gate, "DPoP", token), wrong)
	b.refuses("replay", b.ask(b.gate, "DPoP", token, proof), wrong)
	b.refuses("two proofs", b.ask(b.gate, "DPoP", token, b.holder.Proof("GET", privateURL, token, nil), b.holder.Proof("GET", privateURL, token, nil)), wrong)
	b.refuses("proof for another method", b.ask(b.gate, "DPoP", token, b.holder.Proof("POST", privateURL, token, nil)), wrong)
	b.refuses("proof for another host", b.ask(b.gate, "DPoP", token, b.holder.Proof("GET", "https://evil.example.test/private", token, nil)), wrong)
	thief := coretest.NewHolder(t, "ES256", b.clock.Now)
	b.refuses("stolen token with the thief's key", b.ask(b.gate, "DPoP", token, thief.Proof("GET", privateURL, token, nil)), `DPoP realm="api", algs="ES256 PS256", error="invalid_token"`)
	b.refuses("proof of another token of the same client", b.ask(b.gate, "DPoP", token, b.holder.Proof("GET", privateURL, b.token(map[string]any{"jti": "2"}), nil)), wrong)
}

func TestStolenBoundTokenIsWorthNothingAsABearerToken(t *testing.T) {
	b := newBound(t, withDPoP+"\ntoken_cookie: t\ntoken_headers: [{name: X-Token}]\nhide_credentials: true")
	token := b.token(nil)
	b.admits("by DPoP", b.ask(b.gate, "DPoP", token, b.holder.Proof("GET", privateURL, token, nil)))
	b.refuses("as Bearer", b.ask(b.gate, "Bearer", token), `Bearer realm="api", error="invalid_token"`, `, DPoP realm="api", algs="ES256 PS256"`)
	b.refuses("as Bearer with a good proof", b.ask(b.gate, "Bearer", token, b.holder.Proof("GET", privateURL, token, nil)), `error="invalid_token"`)
	for _, line := range []core.Header{{Name: "Cookie", Value: "t=" + token}, {Name: "X-Token", Value: token}} {
		d := b.gate.Check(t.Context(), &core.Request{Method: "GET", Target: "/private", Host: "api.example.test", Header: []core.Header{line, {Name: "DPoP", Value: b.holder.Proof("GET", privateURL, token, nil)}}})
		b.refuses(line.Name, d, `error="invalid_token"`)
	}
}

// Something in front of the gateway takes a part of the path away and has a host of its own.
func TestProofIsForTheURLByWhichClientsCall(t *testing.T) {
	b := newBound(t, "dpop: {base_urls: ['https://Example.com:443/api/', 'http://localhost:8000']}")
	token := b.token(nil)
	for htu, want := range map[string]core.Outcome{
		"https://example.com/api/private": core.Allow, "HTTPS://EXAMPLE.com:443/api/./private?x#y": core.Allow, "http://localhost:8000/private": core.Allow,
		privateURL: core.Deny, "https://example.com/private": core.Deny, "https://example.com/api/private/": core.Deny, "https://example.com/api//private": core.Deny,
		"http://example.com/api/private": core.Deny, "https://localhost:8000/private": core.Deny, "http://localhost/private": core.Deny, "https://example.com/api/other/private": core.Deny,
		"https://example.com/api/../private": core.Deny, "https://example.com/api%2Fprivate": core.Deny, "https://example.com.evil.test/api/private": core.Deny,
	} {
		if d := b.ask(b.gate, "DPoP", token, b.holder.Proof("GET", htu, token, nil)); d.Outcome != want {
			t.Errorf("%s: %d, %v", htu, d.Status, d.Cause)
		}
	}
	for _, bad := range []string{"api.example.com", "ftp://a.test", "https://a.test?x=1", "https://a.test/#x", "https://u@a.test", "https://", "https://a.test/%zz", ""} {
		_, err := Load(fmt.Appendf(nil, "jwt: {issuers: [{issuer: 'https://op.test', insecure_any_audience: true}]}\npermission_table: 'authenticated: [GET /]'\ndpop: {base_urls: [%q]}", bad))
		if err == nil || !strings.Contains(err.Error(), "dpop.base_urls[0]") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestBearerTokenIsRefusedByDPoP(t *testing.T) {
	b := newBound(t, withDPoP)
	token := b.token(map[string]any{"cnf": nil})
	b.admits("as Bearer", b.ask(b.gate, "Bearer", token))
	b.admits("as Bearer beside a proof that nobody asks for", b.ask(b.gate, "Bearer", token, "nonsense"))
	b.refuses("by DPoP", b.ask(b.gate, "DPoP", token, b.holder.Proof("GET", privateURL, token, nil)), `DPoP realm="api", algs="ES256 PS256", error="invalid_token"`, `, Bearer realm="api"`)
	b.refuses("session token by DPoP", b.ask(b.gate, "DPoP", "ory_st_x", b.holder.Proof("GET", privateURL, "ory_st_x", nil)), `error="invalid_token"`)
}

func TestTokenThatIsBoundInAnotherWayIsRefused(t *testing.T) {
	b := newBound(t, withDPoP)
	for name, cnf := range map[string]map[string]any{
		"certificate": {"x5t#S256": b.holder.Thumbprint()}, "certificate and key": {"x5t#S256": "x", "jkt": b.holder.Thumbprint()}, "key itself": {"jwk": b.holder.PublicJWK()}, "nothing": {},
	} {
		token := b.token(map[string]any{"cnf": cnf})
		b.refuses(name+" by DPoP", b.ask(b.gate, "DPoP", token, b.holder.Proof("GET", privateURL, token, nil)), `error="invalid_token"`)
		if d := b.ask(b.gate, "Bearer", token); d.Outcome != core.Deny {
			t.Errorf("%s as Bearer is admitted", name)
		}
	}
}

func TestBoundTokenIsRefusedWhereNothingChecksProofs(t *testing.T) {
	b := newBound(t, "")
	token := b.token(nil)
	d := b.ask(b.gate, "DPoP", token, b.holder.Proof("GET", privateURL, token, nil))
	b.refuses("by DPoP", d, `Bearer realm="api"`)
	if got := headerOf(d, "WWW-Authenticate"); strings.Contains(got, "DPoP") {
		t.Errorf("the challenge is %s", got)
	}
	b.refuses("as Bearer", b.ask(b.gate, "Bearer", token), `error="invalid_token"`)
}

// What is required of an issuer is required of its tokens alone.
func TestIssuerWhoseTokensMustBeBound(t *testing.T) {
	clock := coretest.NewClock()
	other := coretest.NewIssuer(t, clock)
	b := newBound(t, "")
	b.gate = b.build(withDPoP + fmt.Sprintf("\njwt: {issuers: [{issuer: %q, insecure_any_audience: true, dpop_bound_access_tokens_required: true}, {issuer: %q, insecure_any_audience: true}]}", b.issuer.URL, other.URL))
	unbound, token := b.token(map[string]any{"cnf": nil}), b.token(nil)
	b.refuses("bearer token", b.ask(b.gate, "Bearer", unbound), `error="invalid_token"`)
	b.refuses("bearer token by DPoP", b.ask(b.gate, "DPoP", unbound, b.holder.Proof("GET", privateURL, unbound, nil)), `error="invalid_token"`)
	b.admits("bound token", b.ask(b.gate, "DPoP", token, b.holder.Proof("GET", privateURL, token, nil)))
	b.admits("bearer token of another issuer", b.ask(b.gate, "Bearer", other.Token(nil)))
}

func TestIntrospectedTokenOfDPoPNeedsAProofOnEveryCall(t *testing.T) {
	b := newBound(t, "")
	server := coretest.NewFakeIntrospection(t)
	b.gate = b.build(withDPoP + fmt.Sprintf("\nintrospection: {introspection_endpoint: %q, insecure_any_audience: true}\n#jwt:", server.URL))
	active := map[string]any{"active": true, "sub": "user-1", "client_id": "web", "scope": "a", "exp": b.clock.Now().Add(time.Hour).Unix(), "cnf": b.holder.Confirmation()}
	for name, kind := range map[string]any{"DPoP": "DPoP", "other case": "dpop", "Bearer": "Bearer", "none": nil} {
		token := "opaque-" + strings.ReplaceAll(name, " ", "")
		server.Know(token, coretest.Merged(coretest.Merged(map[string]any{}, active), map[string]any{"token_type": kind}))
		b.admits(name, b.ask(b.gate, "DPoP", token, b.holder.Proof("GET", privateURL, token, nil)))
		b.refuses(name+", remembered, without a proof", b.ask(b.gate, "DPoP", token), `error="invalid_dpop_proof"`)
		b.refuses(name+" as Bearer", b.ask(b.gate, "Bearer", token), `error="invalid_token"`)
	}
	server.Know("unbound", coretest.Merged(coretest.Merged(map[string]any{}, active), map[string]any{"cnf": nil, "token_type": "DPoP"}))
	b.refuses("DPoP that is bound to nothing", b.ask(b.gate, "DPoP", "unbound", b.holder.Proof("GET", privateURL, "unbound", nil)), `error="invalid_token"`)
	b.refuses("the same as Bearer", b.ask(b.gate, "Bearer", "unbound"), `error="invalid_token"`)
}

// Hydra puts claims below ext, and its introspection responses have no cnf at all. The
// token is bound all the same.
func TestBindingThatAServerLeavesOutOfItsResponseCounts(t *testing.T) {
	b := newBound(t, "")
	server := coretest.NewFakeIntrospection(t)
	introspecting := fmt.Sprintf("\nintrospection: {introspection_endpoint: %q, insecure_any_audience: true}\n#jwt:", server.URL)
	b.gate = b.build(withDPoP + introspecting)
	verifying, without := b.build(withDPoP), b.build(introspecting)
	certificate := map[string]any{"x5t#S256": b.holder.Thumbprint()}
	response := func(token string, changes map[string]any) string {
		active := b.issuer.Claims(map[string]any{"active": true, "client_id": "web", "scope": "a", "cnf": nil})
		server.Know(token, coretest.Merged(active, changes))
		return token
	}
	below := func(cnf any) map[string]any {
		return map[string]any{"ext": map[string]any{"cnf": cnf, "tenant": "acme"}}
	}
	for name, c := range map[string]struct {
		gate  *core.Gate
		token string
		byKey bool
	}{
		"JWT with cnf, introspected, response without":         {b.gate, response(b.token(nil), nil), true},
		"JWT with ext.cnf, introspected, response without":     {b.gate, response(b.token(coretest.Merged(map[string]any{"cnf": nil}, below(b.holder.Confirmation()))), nil), true},
		"opaque token, response with ext.cnf":                  {b.gate, response("opaque-1", below(b.holder.Confirmation())), true},
		"JWT with ext.cnf":                                     {verifying, b.token(coretest.Merged(map[string]any{"cnf": nil}, below(b.holder.Confirmation()))), true},
		"JWT with ext.cnf of a certificate":                    {verifying, b.token(coretest.Merged(map[string]any{"cnf": nil}, below(certificate))), false},
		"JWT with cnf of a certificate, response without":      {b.gate, response(b.token(map[string]any{"cnf": certificate, "jti": "2"}), nil), false},
		"opaque token, response with ext.cnf of a certificate": {b.gate, response("opaque-2", below(certificate)), false},
		"JWT with a cnf that is no object, response without":   {b.gate, response(b.token(map[string]any{"cnf": "x", "jti": "3"}), nil), false},
	} {
		for range 2 { // the second time it is remembered
			d := b.ask(c.gate, "DPoP", c.token, b.holder.Proof("GET", privateURL, c.token, nil))
			if (d.Outcome == core.Allow) != c.byKey {
				t.Errorf("%s, with a proof: %d, %v", name, d.Status, d.Cause)
			}
			b.refuses(name+" as a bearer token", b.ask(c.gate, "Bearer", c.token), `error="invalid_token"`)
		}
		b.refuses(name+" where nothing checks proofs", b.ask(without, "Bearer", c.token), `error="invalid_token"`)
	}
	b.admits("unbound JWT", b.ask(b.gate, "Bearer", response(b.token(map[string]any{"cnf": nil}), map[string]any{"ext": map[string]any{"tenant": "acme"}, "cnf": nil})))
}

func TestClientGetsANonceAndTriesAgain(t *testing.T) {
	b := newBound(t, "dpop: {use_nonce: true, nonce_lifetime: 100}")
	token := b.token(nil)
	d := b.ask(b.gate, "DPoP", token, b.holder.Proof("GET", privateURL, token, nil))
	b.refuses("no nonce", d, `error="use_dpop_nonce"`)
	nonce := headerOf(d, "DPoP-Nonce")
	if nonce == "" || headerOf(d, "Cache-Control") != "no-store" {
		t.Fatalf("the refusal has the headers %v", d.Header)
	}
	with := map[string]any{"nonce": nonce}
	b.admits("with the nonce", b.ask(b.gate, "DPoP", token, b.holder.Proof("GET", privateURL, token, with)))
	b.gate = b.build("dpop: {use_nonce: true, nonce_lifetime: 100}\nhide_credentials: true")
	b.admits("at another gate of the process", b.ask(b.gate, "DPoP", token, b.holder.Proof("GET", privateURL, token, with)))
	b.clock.Advance(101 * time.Second)
	b.refuses("old nonce", b.ask(b.gate, "DPoP", token, b.holder.Proof("GET", privateURL, token, with)), `error="use_dpop_nonce"`)
	if names := b.gate.ResponseHeaders(); slices.Contains(names, "DPoP-Nonce") {
		t.Error("the host is asked for headers of responses that nobody set")
	}
	if names := b.build("dpop: {use_nonce: true, nonce_on_success: true}").ResponseHeaders(); !slices.Contains(names, "DPoP-Nonce") {
		t.Errorf("the host is asked for %v alone", names)
	}
}

// A gateway hands the configuration over for each route: a proof counts once for all.
func TestProofCountsOnceForAllGatesOfAProcess(t *testing.T) {
	b := newBound(t, withDPoP)
	other := b.build(withDPoP + "\nhide_credentials: true")
	token := b.token(nil)
	proof := b.holder.Proof("GET", privateURL, token, nil)
	b.admits("first", b.ask(b.gate, "DPoP", token, proof))
	b.refuses("at the gate of another route", b.ask(other, "DPoP", token, proof), `error="invalid_dpop_proof"`)
}

func TestUpstreamGetsNeitherTokenNorProofWhereCredentialsAreHidden(t *testing.T) {
	b := newBound(t, withDPoP+"\nhide_credentials: true")
	token := b.token(nil)
	d := b.ask(b.gate, "DPoP", token, b.holder.Proof("GET", privateURL, token, nil))
	for _, name := range []string{"Authorization", "DPoP"} {
		if !slices.ContainsFunc(d.Upstream.Strip, func(s string) bool { return strings.EqualFold(s, name) }) {
			t.Errorf("%s is not stripped: %v", name, d.Upstream.Strip)
		}
	}
}

func TestSettingsOfDPoPThatContradictEachOther(t *testing.T) {
	const jwt, redis = "jwt: {issuers: [{issuer: 'https://id.test', audience: [x]%s}]}\n", "redis: {host: localhost, secret: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa}\n"
	plain := fmt.Sprintf(jwt, "")
	for settings, want := range map[string]string{
		plain + "dpop: {policy: redis}":                               "dpop.policy: is redis, but there is no section redis: add it, or write local",
		plain + "dpop: {fault_tolerant: true}":                        "dpop.fault_tolerant: is about Redis, in which no used proof is remembered",
		plain + redis + "dpop: {fault_tolerant: true, policy: local}": "dpop.fault_tolerant: is about Redis, in which no used proof is remembered",
		plain + "dpop: {nonce_on_success: true}":                      "dpop.use_nonce: is false, but there are settings of nonces",
		plain + "dpop: {algorithms: [HS256]}":                         "dpop.algorithms[0]",
		plain + "dpop: {algorithms: [none]}":                          "dpop.algorithms[0]",
		plain + "dpop: {algorithms: []}":                              "dpop.algorithms",
		plain + "dpop: {proof_lifetime: 0}":                           "dpop.proof_lifetime",
		"session: {kratos_url: 'http://kratos.test'}\ndpop: {}":       "dpop: is about access tokens; add a section jwt or introspection",
		fmt.Sprintf(jwt, ", dpop_bound_access_tokens_required: true"): "jwt.issuers[0].dpop_bound_access_tokens_required: needs the section dpop, which checks the proofs",
		"introspection: {introspection_endpoint: 'https://id.test', insecure_any_audience: true, dpop_bound_access_tokens_required: true}": "introspection.dpop_bound_access_tokens_required: needs the section dpop, which checks the proofs",
		plain + "dpop: {}\ntoken_headers: [{name: Authorization, prefix: DPoP}]":                                                           "the header Authorization already holds another credential",
		plain + "dpop: {use_nonce: true, nonce_secret: short}":                                                                             "dpop.nonce_secret",
	} {
		_, err := NewBuilder(BuilderOptions{}).Gate([]byte(settings + "\npermission_table: 'public: [GET /]'\n"))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", settings, err, want)
		}
	}
}
