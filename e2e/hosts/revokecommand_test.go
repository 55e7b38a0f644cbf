package hosts

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse/core"
	"gatehouse/core/authn/apitoken"
	"gatehouse/core/coretest"
	"gatehouse/core/revocation"
	"gatehouse/internal/cli"
	"gatehouse/internal/host"
)

// naming is what a credential says of itself, as far as a revocation can name it.
type naming struct{ session, subject, client, id, issuer string }

// issued is a credential: what it says, itself, and the header line that carries it.
type issued struct {
	naming
	value  string
	header [2]string
}

func bearer(n naming, token string) issued {
	return issued{n, token, [2]string{"Authorization", "Bearer " + token}}
}

// servers are fakes that issue credentials and are asked about them.
type servers struct {
	t              *testing.T
	clock          *coretest.Clock
	usual, another *coretest.Issuer
	doomed         *coretest.Issuer // all of whose credentials are revoked
	opaque         *coretest.FakeIntrospection
	kratos         *coretest.FakeKratos
	tokens         tokenDocument
}

// tokenDocument is a token file.
type tokenDocument struct {
	Version  int              `json:"version"`
	Users    []map[string]any `json:"users"`
	Accounts []map[string]any `json:"service_accounts"`
	Tokens   []map[string]any `json:"tokens"`
}

// once adds an owner that is not there yet.
func once(all []map[string]any, one map[string]any) []map[string]any {
	if slices.ContainsFunc(all, func(other map[string]any) bool { return reflect.DeepEqual(one, other) }) {
		return all
	}
	return append(all, one)
}

func startServers(t *testing.T) *servers {
	clock := coretest.NewClock()
	return &servers{
		t: t, clock: clock, tokens: tokenDocument{Version: 1},
		usual: coretest.NewIssuer(t, clock), another: coretest.NewIssuer(t, clock), doomed: coretest.NewIssuer(t, clock),
		opaque: coretest.NewFakeIntrospection(t), kratos: coretest.NewFakeKratos(t),
	}
}

func (s *servers) config(t *testing.T) map[string]any {
	t.Helper()
	var issuers []any
	for _, i := range []*coretest.Issuer{s.usual, s.another, s.doomed} {
		issuers = append(issuers, map[string]any{"issuer": i.URL, "audience": []string{coretest.Audience}})
	}
	file := filepath.Join(t.TempDir(), "tokens.yaml")
	if err := os.WriteFile(file, []byte(asJSON(t, s.tokens)), 0o600); err != nil {
		t.Fatal(err)
	}
	return map[string]any{
		"session":          map[string]any{"kratos_url": s.kratos.URL, "cache_ttl": 600},
		"jwt":              map[string]any{"issuers": issuers},
		"introspection":    map[string]any{"introspection_endpoint": s.opaque.URL, "audience": []string{coretest.Audience}, "cache_ttl": 600},
		"api_token":        map[string]any{"token_file": file, "cache_ttl": 300},
		"revocation":       map[string]any{},
		"state_dir":        t.TempDir(),
		"permission_table": "permissions: {orders:read: {activities: [GET /orders]}}\nauthenticated: [GET /me]",
	}
}

// claims are those of a token.
func (s *servers) claims(n naming) map[string]any {
	return s.usual.Claims(map[string]any{"iss": n.issuer, "sid": n.session, "sub": n.subject, "client_id": n.client, "jti": n.id})
}

func (s *servers) jwt(n naming) issued {
	for _, i := range []*coretest.Issuer{s.usual, s.another, s.doomed} {
		if i.URL == n.issuer {
			return bearer(n, i.Token(s.claims(n)))
		}
	}
	s.t.Fatalf("there is no issuer %s", n.issuer)
	return issued{}
}

func (s *servers) introspected(n naming) issued {
	token := fmt.Sprintf("opaque-%x", revocation.TokenDigest(fmt.Sprint(n)))
	s.opaque.Know(token, coretest.Merged(s.claims(n), map[string]any{"active": true}))
	return bearer(n, token)
}

// session is one of Kratos, or a JWT where another issuer is wanted.
func (s *servers) session(n naming, header func(value string) [2]string) issued {
	if n.issuer != s.kratos.URL {
		return s.jwt(n)
	}
	value := fmt.Sprintf("ory_st_%x", revocation.TokenDigest(fmt.Sprint(n)))
	s.kratos.Know(value, coretest.FakeSession{Document: coretest.SessionDocument(s.clock, map[string]any{
		"id": n.session, "identity": map[string]any{"id": n.subject, "state": "active"},
	})})
	return issued{n, value, header(value)}
}

// apiToken is one of a user, or of a service account, which is then its client. Ids are
// unique: where another issuer is to have the same one, it is a JWT.
func (s *servers) apiToken(n naming, account bool) issued {
	if slices.ContainsFunc(s.tokens.Tokens, func(t map[string]any) bool { return t["id"] == n.id }) {
		n.issuer = s.another.URL
		return s.jwt(n)
	}
	token := apitoken.Generate()
	now := s.clock.Now()
	permissions := []string{"orders:read"}
	record := map[string]any{
		"id": n.id, "digest": apitoken.DigestOf(token).String(), "permissions": permissions,
		"created": now.Format(time.RFC3339), "expires": now.Add(time.Hour).Format(time.RFC3339),
	}
	if account {
		name := n.client + "." + n.subject
		n.client, n.subject = name, apitoken.AccountSubject(name)
		record["service_account"] = name
		s.tokens.Accounts = once(s.tokens.Accounts, map[string]any{"name": name, "permissions": permissions})
	} else {
		record["subject"], record["issuer"] = n.subject, n.issuer
		s.tokens.Users = once(s.tokens.Users, map[string]any{"subject": n.subject, "issuer": n.issuer, "permissions": permissions})
	}
	s.tokens.Tokens = append(s.tokens.Tokens, record)
	return bearer(n, token)
}

// credentialKind is what a host accepts.
type credentialKind struct {
	name  string
	issue func(naming) issued
	// has says what it can be revoked by. Of what has an issuer all can be revoked.
	has            string
	issuer, doomed string
}

func (s *servers) kinds() []credentialKind {
	header := func(value string) [2]string { return [2]string{"X-Session-Token", value} }
	cookie := func(value string) [2]string { return [2]string{"Cookie", "ory_kratos_session=" + value} }
	return []credentialKind{
		{"a JWT", s.jwt, "session subject client token id issuer", s.usual.URL, s.doomed.URL},
		{"an introspected token", s.introspected, "session subject client token id issuer", s.usual.URL, "https://doomed.opaque.test"},
		{"a user's API token", func(n naming) issued { return s.apiToken(n, false) }, "subject token id issuer", s.usual.URL, "https://doomed.people.test"},
		{"a service account's API token", func(n naming) issued { return s.apiToken(n, true) }, "subject client token id", "", ""},
		{"a session cookie", func(n naming) issued { return s.session(n, cookie) }, "session subject token", s.kratos.URL, ""},
		{"a session token", func(n naming) issued { return s.session(n, header) }, "session subject token issuer", s.kratos.URL, s.kratos.URL},
	}
}

// names are the ways to name a credential: what it has to have, the flags and what comes
// on standard input, and in what a neighbour differs that is not named so. The last one
// takes all that an issuer has issued.
var names = []struct {
	name, has string
	flags     func(c issued) (args []string, stdin string)
	differ    func(n *naming, another string)
}{
	{"by its session", "session", func(c issued) ([]string, string) { return []string{"--session", c.session}, "" }, func(n *naming, _ string) { n.session += "-b"; n.id += "-b" }},
	{"by its session of an issuer", "session issuer", func(c issued) ([]string, string) {
		return []string{"--session", c.session, "--issuer-of", c.issuer}, ""
	}, func(n *naming, another string) { n.issuer = another }},
	{"by its subject", "subject", func(c issued) ([]string, string) { return []string{"--subject", c.subject}, "" }, func(n *naming, _ string) { n.subject += "-b"; n.id += "-b" }},
	{"by its subject of an issuer", "subject issuer", func(c issued) ([]string, string) {
		return []string{"--subject", c.subject, "--issuer-of", c.issuer}, ""
	}, func(n *naming, another string) { n.issuer = another; n.id += "-b" }},
	{"by its client", "client", func(c issued) ([]string, string) { return []string{"--client", c.client}, "" }, func(n *naming, _ string) { n.client += "-b"; n.id += "-b" }},
	{"by its client of an issuer", "client issuer", func(c issued) ([]string, string) {
		return []string{"--client", c.client, "--issuer-of", c.issuer}, ""
	}, func(n *naming, another string) { n.issuer = another; n.id += "-b" }},
	{"by itself", "token", func(c issued) ([]string, string) { return []string{"--token", "-"}, c.value + "\n" }, func(n *naming, _ string) { n.id += "-b" }},
	{"by its digest", "token", func(c issued) ([]string, string) {
		return []string{"--token", revocation.TokenDigest(c.value)}, ""
	}, func(n *naming, _ string) { n.id += "-b" }},
	{"by its jti", "id", func(c issued) ([]string, string) { return []string{"--token", "jti:" + c.id}, "" }, func(n *naming, _ string) { n.id += "-b" }},
	{"by its jti of an issuer", "id issuer", func(c issued) ([]string, string) {
		return []string{"--token", "jti:" + c.id, "--issuer-of", c.issuer}, ""
	}, func(n *naming, another string) { n.issuer = another }},
	{"by its issuer", "issuer all", func(c issued) ([]string, string) { return []string{"--issuer", c.issuer}, "" }, func(n *naming, another string) { n.issuer = another; n.id += "-b" }},
}

// revoking is one call of gatehouse revoke: whom it names, and whom it does not.
type revoking struct {
	name             string
	named, neighbour issued
	args             []string
	stdin            string
}

func (s *servers) revokings() (all []revoking) {
	for n, by := range names {
		for k, kind := range s.kinds() {
			wants := strings.Fields(by.has)
			everything := slices.Contains(wants, "all")
			wants = slices.DeleteFunc(wants, func(w string) bool { return w == "all" })
			if slices.ContainsFunc(wants, func(w string) bool { return !strings.Contains(kind.has, w) }) {
				continue
			}
			is := func(what string) string { return fmt.Sprintf("%s-%d-%d", what, n, k) }
			own := naming{is("session"), is("subject"), is("client"), is("id"), kind.issuer}
			another := s.another.URL
			if everything {
				own.issuer, another = kind.doomed, s.usual.URL
			}
			other := own
			by.differ(&other, another)
			r := revoking{name: kind.name + " " + by.name, named: kind.issue(own), neighbour: kind.issue(other)}
			r.args, r.stdin = by.flags(r.named)
			all = append(all, r)
		}
	}
	return all
}

// asked is what a test needs of a host: the response to a credential, and its admin socket.
type asked struct {
	status func(header [2]string) int
	admin  string
}

// revokesWhatIsNamed has everything admitted and cached first: from then on no server
// answers, so that it is the host that refuses.
func (s *servers) revokesWhatIsNamed(t *testing.T, h asked, all []revoking) {
	t.Helper()
	answering := []*coretest.Server{s.usual.Server, s.another.Server, s.doomed.Server, s.opaque.Server, s.kratos.Server}
	want := func(when, name string, want int, c issued) {
		t.Helper()
		if got := h.status(c.header); got != want {
			t.Errorf("%s, %s: %d, want %d", name, when, got, want)
		}
	}
	for _, r := range all {
		want("for the first time", r.name, 200, r.named)
		want("the neighbour, for the first time", r.name, 200, r.neighbour)
	}
	for _, server := range answering {
		server.Fail(503, "{}")
		defer server.Heal()
	}
	await(t, "there is an admin socket", func() bool { _, err := os.Stat(h.admin); return err == nil })
	for _, r := range all {
		want("before it is revoked", r.name, 200, r.named)
		want("the neighbour, before", r.name, 200, r.neighbour)
		var out strings.Builder
		args := append([]string{"revoke", "--admin", "unix:" + h.admin, "--reason", "test"}, r.args...)
		if status := cli.Main(args, strings.NewReader(r.stdin), &out, &out); status != 0 {
			t.Errorf("%s: status %d: %s", r.name, status, &out)
		}
		if strings.Contains(out.String(), r.named.value) {
			t.Errorf("%s: the credential is printed", r.name)
		}
		for range 2 {
			want("revoked", r.name, 401, r.named)
			want("the neighbour", r.name, 200, r.neighbour)
		}
	}
	for _, r := range all {
		want("at the end", r.name, 401, r.named)
	}
}

func TestWhatRevokeNamesPassesOnNoHost(t *testing.T) {
	s := startServers(t)
	all := s.revokings()
	if len(all) < 35 {
		t.Fatalf("%d cases", len(all))
	}
	for name := range starts {
		t.Run(name, func(t *testing.T) {
			onHost(t, name, s.config(t), os.DevNull, func(t *testing.T, h *running) {
				client := &http.Client{}
				s.revokesWhatIsNamed(t, asked{func(header [2]string) int { return h.status(t, client, "/me", header[:]...) }, h.adminSocket()}, all)
			})
		})
	}
	t.Run("core", func(t *testing.T) {
		h := host.New(slog.New(slog.DiscardHandler))
		gate, err := h.Gates.Gate([]byte(asJSON(t, s.config(t))))
		if err != nil {
			t.Fatal(err)
		}
		defer runtime.KeepAlive(gate)
		admin := filepath.Join(t.TempDir(), "admin")
		h.ServeAdmin(t.Context(), "unix:"+admin)
		s.revokesWhatIsNamed(t, asked{func(header [2]string) int {
			d := gate.Check(t.Context(), &core.Request{
				Method: "GET", Target: "/me", Host: "app.test", Peer: netip.MustParseAddr("127.0.0.1"),
				Header: []core.Header{{Name: header[0], Value: header[1]}},
			})
			if d.Outcome == core.Allow {
				return 200
			}
			return d.Status
		}, admin}, all)
	})
}
