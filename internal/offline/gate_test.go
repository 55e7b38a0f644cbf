package offline

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse/core"
	"gatehouse/core/config"
	"gatehouse/core/config/section"
	"gatehouse/core/coretest"
	"gatehouse/core/permission"
	"gatehouse/core/permission/inspect"
	"gatehouse/core/permission/tablefile"
)

// TestOfflineVerdictIsThatOfTheGate decides thousands of random requests twice:
// by a gate that a host builds, with a real credential that an identity provider
// issued, and offline, with the description of the caller. An offline command
// that says "denied" where the gate lets the request through would hide a hole.
func TestOfflineVerdictIsThatOfTheGate(t *testing.T) {
	w := newWorld(t)
	decided := map[string]int{}
	for range 250 {
		text := w.configuration()
		gates := w.gates(text)
		for range 16 {
			c := w.caller()
			r := w.request()
			o, err := gates.offline.Decide(t.Context(), r, c)
			if err != nil {
				t.Fatalf("%v\n%s", err, text)
			}
			if len(o.Assumed) > 0 {
				t.Fatalf("assumed %q of complete claims\n%s", o.Assumed, text)
			}
			online := gates.online.Check(t.Context(), w.authenticated(r, o, c, gates.config))
			decided[fmt.Sprintf("%d %s", online.Status, online.Reason)]++
			if difference := compare(online, o.Decision); difference != "" {
				t.Fatalf("%s\nonline  %d %s: %v\noffline %d %s: %v\nrequest %s %s %q\ncaller %+v\n%s",
					difference, online.Status, online.Reason, online.Cause, o.Status, o.Reason, o.Cause, r.Method, r.Target, o.Call.Header, *c, text)
			}
			if o.Table != nil && o.Allowed() && !o.Table.Allowed {
				t.Fatalf("the gate allows what the table's explanation denies: %s %s\n%s", r.Method, r.Target, text)
			}
		}
	}
	t.Log(decided)
	for _, reason := range []string{"200 endpoint", "0 allowed", "0 public", "302 no_credential", "400 bad_request", "401 invalid_credential", "401 no_credential", "401 step_up", "403 forbidden", "403 insufficient_scope"} {
		if decided[reason] < 10 {
			t.Errorf("only %d decisions are %q: the test shows little about it", decided[reason], reason)
		}
	}
}

// compare returns what two decisions differ in; the values of credentials and
// ids aside.
func compare(online, offline core.Decision) string {
	switch {
	case online.Outcome != offline.Outcome, online.Status != offline.Status, online.Reason != offline.Reason, online.Rule != offline.Rule:
		return "another decision"
	case !reflect.DeepEqual(online.Header, offline.Header):
		return fmt.Sprintf("other headers for the client: %q, offline %q", online.Header, offline.Header)
	case !reflect.DeepEqual(online.ResponseHeader, offline.ResponseHeader):
		return fmt.Sprintf("other headers for the response: %q, offline %q", online.ResponseHeader, offline.ResponseHeader)
	case !slices.Equal(online.Strip, offline.Strip):
		return fmt.Sprintf("other headers are removed: %q, offline %q", online.Strip, offline.Strip)
	case !reflect.DeepEqual(online.Set, offline.Set):
		return fmt.Sprintf("other headers are set: %q, offline %q", online.Set, offline.Set)
	case !slices.Equal(online.Groups, offline.Groups):
		return fmt.Sprintf("other groups: %q, offline %q", online.Groups, offline.Groups)
	}
	return ""
}

// world makes random configurations, callers and requests, and the credentials
// that prove the callers to a gate.
type world struct {
	t          *testing.T
	random     *rand.Rand
	issuer     *coretest.Issuer
	endpoint   *coretest.FakeIntrospection
	kratos     *coretest.FakeKratos
	clock      *coretest.Clock
	credential int
}

func newWorld(t *testing.T) *world {
	clock := coretest.NewClock()
	w := &world{
		t: t, random: rand.New(rand.NewPCG(1, 2)), clock: clock,
		issuer: coretest.NewIssuer(t, clock), endpoint: coretest.NewFakeIntrospection(t), kratos: coretest.NewFakeKratos(t),
	}
	w.issuer.Key = coretest.NewKey(t, "quick", "ES256")
	w.issuer.Publish(w.issuer.Key)
	return w
}

func (w *world) chance(percent int) bool { return w.random.IntN(100) < percent }

func pick[T any](w *world, of ...T) T { return of[w.random.IntN(len(of))] }

// some picks each with the same chance.
func some[T any](w *world, percent int, of ...T) []T {
	return slices.DeleteFunc(slices.Clone(of), func(T) bool { return !w.chance(percent) })
}

func (w *world) configuration() string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	sections := w.random.IntN(7) + 1 // at least one of the three
	if sections&1 != 0 {
		line("jwt:\n  issuers:\n    - issuer: %s\n      jwks_uri: %s%s\n      roles_claim: %q", w.issuer.URL, w.issuer.URL, coretest.JWKSPath,
			pick(w, "realm_access.roles", "roles", "", "roles,realm_access.roles"))
		line("      scopes_claim: %s\n      permissions_claim: %s", pick(w, "scope", "scp,scope"), pick(w, "permissions", "ext.permissions"))
		line("      %s", pick(w, "insecure_any_audience: true", "audience: ["+coretest.Audience+"]", "audience: [web]\n      audience_claim: azp, client_id"))
		line("      %s", pick(w, "profile: evidence", "profile: rfc9068", "insecure_id_tokens: true"))
		if w.chance(30) {
			line("    - {issuer: %q, jwks_uri: %s%s, insecure_any_audience: true, roles_claim: %q}", otherIssuer, w.issuer.URL, coretest.JWKSPath, pick(w, "realm_access.roles", "roles"))
		}
	}
	if sections&2 != 0 {
		line("introspection:\n  introspection_endpoint: %s/introspect\n  roles_claim: %q", w.endpoint.URL, pick(w, "realm_access.roles", "roles"))
		line("  %s", pick(w, "insecure_any_audience: true", "audience: ["+coretest.Audience+"]"))
		if sections&1 != 0 {
			line("  jwt_tokens: %s", pick(w, "never", "unknown_issuer", "always"))
		}
		if w.chance(20) {
			line("  issuer: %s", w.issuer.URL)
		}
	}
	if sections&4 != 0 {
		line("session:\n  kratos_url: %s\n  required_aal: %s\n  roles_claim: %q", w.kratos.URL, pick(w, "aal1", "aal2"),
			pick(w, "identity.metadata_public.roles", "identity.traits.roles"))
	}
	if scopes := some(w, 10, "a", "b"); len(scopes) > 0 {
		line("scopes_required: [%s]", strings.Join(scopes, ", "))
	}
	line("upstream_headers: {X-User-Id: \"%s\", X-Roles: roles}", pick(w, "sub", "client_id,sub", "identity.traits.email,sub"))
	if w.chance(30) {
		line("strip_headers: [X-HTTP-Method-Override]")
	}
	if w.chance(20) {
		line("authenticated_groups_claim: roles")
	}
	if w.chance(40) {
		line("login: {url: https://login.example.test/}")
	}
	if w.chance(30) {
		line("resource_metadata: [{resource: https://api.example.test, authorization_servers: [%s]}]", w.issuer.URL)
	}
	line("hide_credentials: %t", w.chance(30))
	line("path: {allow_semicolon: %t, allow_double_slash: %t, allow_encoded_slash: %t}", w.chance(30), w.chance(30), w.chance(30))
	line("permission_table: |\n%s", indented(w.table()))
	return b.String()
}

func indented(text string) string { return "  " + strings.ReplaceAll(text, "\n", "\n  ") }

func (w *world) table() string {
	var b strings.Builder
	b.WriteString("permissions:\n")
	for _, name := range []string{"one", "two"} {
		fmt.Fprintf(&b, "  %s:\n    activities:\n", name)
		for range w.random.IntN(2) + 1 {
			fmt.Fprintf(&b, "      - {methods: [%s], path: %q%s}\n", pick(w, "GET", "POST", "GET, DELETE"), pick(w, "/users", "/users/[^/]+", "/.*", "/users/(?P<id>[0-9]+)"), w.requirement())
		}
	}
	b.WriteString("roles:\n  clerk: [one]\n  chief: [\"role:clerk\", two]\n  \"a,b\": [one]\nscopes:\n  s: [two]\n")
	if w.chance(50) {
		fmt.Fprintf(&b, "authenticated:\n  - GET %s\n", pick(w, "/me", "/users", "/.*"))
	}
	if w.chance(70) {
		fmt.Fprintf(&b, "public:\n  - {methods: [GET], path: %q, override: %t}\n", pick(w, "/healthz", "/users/7", "/.*"), w.chance(20))
	}
	return b.String()
}

func (w *world) requirement() string {
	if w.chance(60) {
		return ""
	}
	return ", require: {" + pick(w, "aal: aal2", "max_age: 10m", "credentials: [jwt]", "credentials: [session, introspection]", "all_scopes: [a]",
		`when: "claims.tenant == headers['x-tenant']"`, `when: "claims.sub == 'ada'"`, `when: "peer.startsWith('10.')"`) + "}"
}

type gatePair struct {
	offline *Gate
	online  *core.Gate
	config  *config.Config
}

func (w *world) gates(text string) gatePair {
	w.t.Helper()
	c, err := config.Load([]byte(text))
	if err != nil {
		w.t.Fatalf("%v\n%s", err, text)
	}
	online, err := config.NewBuilder(config.BuilderOptions{}).Build(c)
	if err != nil {
		w.t.Fatalf("%v\n%s", err, text)
	}
	file, err := tablefile.Parse("table", []byte(c.PermissionTable))
	if err != nil {
		w.t.Fatal(err)
	}
	table, err := permission.Compile(file)
	if err != nil {
		w.t.Fatal(err)
	}
	offline, err := New(c, core.PathOptions{}, inspect.New(table, file))
	if err != nil {
		w.t.Fatal(err)
	}
	return gatePair{offline, online, c}
}

// caller has claims that state everything, though not always well.
func (w *world) caller() *Caller {
	if w.chance(20) {
		return &Caller{Anonymous: true, AuthAge: -1}
	}
	c := &Caller{AuthAge: -1}
	if w.chance(35) {
		c.Claims = coretest.SessionDocument(w.clock, map[string]any{
			"authenticator_assurance_level": pick(w, "aal1", "aal2", "aal2"),
			"authenticated_at":              time.Now().Add(-time.Duration(w.random.IntN(20)) * time.Minute).UTC().Format(time.RFC3339Nano),
			"active":                        !w.chance(5),
			"tenant":                        "acme",
		})
		identity := c.Claims["identity"].(map[string]any)
		identity["metadata_public"] = map[string]any{"roles": w.roles()}
		identity["traits"] = map[string]any{"roles": w.roles(), "email": "ada@example.test"}
		return w.decoded(c)
	}
	c.Kind = pick(w, "", core.KindJWT, core.KindIntrospection)
	c.Claims = w.issuer.Claims(map[string]any{
		"sub": pick(w, "ada", "bob"), "scope": strings.Join(some(w, 50, "a", "b", "s", "one"), " "),
		"roles": w.roles(), "realm_access": map[string]any{"roles": w.roles()}, "permissions": some(w, 30, "one", "two"),
		"acr": pick(w, "aal1", "aal2"), "auth_time": time.Now().Add(-time.Duration(w.random.IntN(20)) * time.Minute).Unix(), "tenant": "acme", "active": true,
	})
	for range w.random.IntN(2) {
		w.spoil(c.Claims)
	}
	return w.decoded(c)
}

func (w *world) roles() any {
	if w.chance(5) {
		return pick[any](w, 7, "clerk", []any{1})
	}
	return some(w, 40, "clerk", "chief", "a,b")
}

// otherIssuer signs with the keys of the first one.
const otherIssuer = "https://other.example.test/"

// spoil makes a token one that a gate may refuse.
func (w *world) spoil(claims map[string]any) {
	name := pick(w, "aud", "exp", "iss", "typ", "nonce", "cnf", "sub", "nbf", "token_type", "active", "jti", "client_id")
	claims[name] = map[string]any{
		"aud": "another", "exp": time.Now().Add(-time.Minute).Unix(), "iss": otherIssuer, "typ": "ID", "nonce": "x",
		"cnf": map[string]any{"jkt": "x"}, "sub": "", "nbf": time.Now().Add(time.Hour).Unix(), "token_type": "DPoP", "active": false, "jti": "", "client_id": "other",
	}[name]
}

// decoded passes the claims through JSON, as a gate gets them.
func (w *world) decoded(c *Caller) *Caller {
	w.t.Helper()
	var err error
	if c.Claims, err = DecodeClaims([]byte(coretest.JSON(w.t, c.Claims))); err != nil {
		w.t.Fatal(err)
	}
	return c
}

func (w *world) request() *core.Request {
	r := &core.Request{
		Method: pick(w, "GET", "GET", "POST", "DELETE"), Host: "api.example.test", Peer: netip.MustParseAddr(pick(w, "10.0.0.1", "192.0.2.1")),
		Target: pick(w, "/users", "/users/7", "/users/7?x=1", "/users/a;b", "/users//7", "/users/a%2Fb", "/users/..", "/healthz", "/me", "/nothing", "/.well-known/oauth-protected-resource"),
	}
	for _, h := range []core.Header{
		{Name: "X-Tenant", Value: "acme"}, {Name: "Accept", Value: "text/html"}, {Name: "X-User-Id", Value: "root"}, {Name: "x_roles", Value: "chief"},
		{Name: "Cookie", Value: "other=1"},
	} {
		if w.chance(30) {
			r.Header = append(r.Header, h)
		}
	}
	if w.chance(15) {
		r.Header = append(r.Header, pick(w, core.Header{Name: "X-HTTP-Method-Override", Value: "DELETE"}, core.Header{Name: "X-Original-URL", Value: "/admin"},
			core.Header{Name: "Connection", Value: "close, X-User-Id"}, core.Header{Name: "Authorization", Value: "Basic eDp5"}))
	}
	return r
}

// authenticated is the request of the offline decision with a credential that an
// identity provider vouches for.
func (w *world) authenticated(r *core.Request, o *Outcome, c *Caller, settings *config.Config) *core.Request {
	with := *r
	with.Header = slices.Clone(o.Call.Header)
	for i := range with.Header {
		with.Header[i].Value = strings.ReplaceAll(with.Header[i].Value, placeholder, w.credentialOf(c, settings))
	}
	return &with
}

// header is that of a token which the profile of the first issuer accepts.
func (w *world) header(settings *config.Config) map[string]any {
	if settings.JWT != nil && settings.JWT.Issuers[0].Profile == profileRFC9068 {
		return map[string]any{"typ": "at+jwt"}
	}
	return nil
}

func (w *world) credentialOf(c *Caller, settings *config.Config) string {
	w.credential++
	name := fmt.Sprintf("credential-%d", w.credential)
	if isSession(c.Claims) {
		w.kratos.Know(name, coretest.FakeSession{Document: c.Claims})
		return name
	}
	token := w.issuer.Key.Sign(w.t, w.header(settings), coretest.JSON(w.t, c.Claims))
	introspected := settings.Introspection != nil && (settings.JWT == nil || settings.Introspection.JWT == "always" ||
		!slices.ContainsFunc(settings.JWT.Issuers, func(i section.Issuer) bool { return i.Issuer == c.Claims["iss"] }))
	if c.Kind == core.KindIntrospection || c.Kind == "" && introspected {
		w.endpoint.Know(name, c.Claims)
		return name
	}
	return token
}

func TestOverrideHeaderIsRefusedWithoutAConfiguration(t *testing.T) {
	g := defaultGate(t)
	r := &core.Request{Method: "GET", Target: "/users/7", Header: []core.Header{{Name: "X-HTTP-Method-Override", Value: "DELETE"}}}
	o, err := g.Decide(t.Context(), r, &Caller{Roles: []string{"clerk"}, AuthAge: -1})
	if err != nil {
		t.Fatal(err)
	}
	if o.Status != http.StatusBadRequest || !o.Table.Allowed {
		t.Errorf("status %d, the table allows: %t", o.Status, o.Table.Allowed)
	}
}

func defaultGate(t *testing.T) *Gate {
	t.Helper()
	file, err := tablefile.Parse("table", []byte("permissions: {one: {activities: [\"GET /users/[^/]+\"]}}\nroles: {clerk: [one]}\n"))
	if err != nil {
		t.Fatal(err)
	}
	table, err := permission.Compile(file)
	if err != nil {
		t.Fatal(err)
	}
	g, err := New(nil, core.PathOptions{}, inspect.New(table, file))
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// What flags do not state is what every valid credential of the configuration has;
// otherwise every caller would be denied whom the gate lets through.
func TestFlagsAreEnoughWhateverTheConfigurationDemands(t *testing.T) {
	file, err := tablefile.Parse("table", []byte("authenticated: [GET /me]\n"))
	if err != nil {
		t.Fatal(err)
	}
	table, err := permission.Compile(file)
	if err != nil {
		t.Fatal(err)
	}
	const endpoint, endpointLine = "http://127.0.0.1:1", "introspection: {introspection_endpoint: '%s', audience: [a]%s}"
	for _, settings := range []string{"", "profile: rfc9068", "audience_claim: client_id", "audience_claim: 'client_id, resource.aud'", "insecure_id_tokens: true", "token_types: [none]", "{profile: rfc9068, audience_claim: azp}"} {
		settings = strings.Trim(settings, "{}")
		texts := []string{"jwt: {issuers: [{issuer: 'https://id.test/', audience: [a], " + settings + "}]}"}
		if strings.HasPrefix(settings, "audience_claim") {
			texts = append(texts, fmt.Sprintf(endpointLine, endpoint, ", "+settings))
		}
		for _, text := range texts {
			c, err := config.Load([]byte(text + "\npermission_table: '{}'\n"))
			if err != nil {
				t.Fatalf("%s: %v", text, err)
			}
			g, err := New(c, core.PathOptions{}, inspect.New(table, file))
			if err != nil {
				t.Fatal(err)
			}
			for _, caller := range []*Caller{{AuthAge: -1}, {AuthAge: -1, Claims: map[string]any{"sub": "ada"}}} {
				o, err := g.Decide(t.Context(), &core.Request{Method: "GET", Target: "/me"}, caller)
				if err != nil || !o.Allowed() || len(o.Assumed) == 0 && caller.Claims != nil {
					t.Errorf("%s, claims %v: %v %v, assumed %q", text, caller.Claims, err, o.Cause, o.Assumed)
				}
			}
			other := &Caller{AuthAge: -1, Claims: map[string]any{"sub": "ada", "aud": "other", "client_id": "other", "azp": "other"}}
			if o, err := g.Decide(t.Context(), &core.Request{Method: "GET", Target: "/me"}, other); err != nil || o.Allowed() {
				t.Errorf("%s, another audience: %v, %v", text, err, o.Outcome)
			}
		}
	}
}
