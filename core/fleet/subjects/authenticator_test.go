package subjects

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse/core"
)

// grantsOfNames is a Granter in memory.
type grantsOfNames map[Identity]Grants

func (g grantsOfNames) Grants(_ context.Context, id Identity) (Grants, error) { return g[id], nil }

// whoever returns a principal for every credential, always the same one, as a cache does.
type whoever struct {
	principal *core.Principal
	err       error
}

func (w whoever) Authenticate(context.Context, *core.Call, core.Credential) (core.Authentication, error) {
	return core.Authentication{Principal: w.principal}, w.err
}

func (w whoever) Refresh(ctx context.Context, call *core.Call, c core.Credential) (core.Authentication, error) {
	return w.Authenticate(ctx, call, c)
}

func (whoever) JudgesOthers() {}

var allKinds = []core.Kind{core.KindSession, core.KindJWT, core.KindIntrospection, core.KindAPIToken}

const issuerA, issuerB = "https://a.test", "https://b.test"

var table = grantsOfNames{
	{issuerA, false, "ada"}:      {Roles: []string{"admin"}, Permissions: []string{"users:write"}},
	{issuerA, true, "batch"}:     {Roles: []string{"machine"}},
	{"kratos", false, "ada"}:     {Roles: []string{"member"}},
	{issuerA, false, "batch"}:    {Roles: []string{"human"}},
	{issuerA + "x", true, "ada"}: {Roles: []string{"wrong"}},
}

func rolesOf(t *testing.T, p core.Principal, o Options) string {
	t.Helper()
	if o.Granter == nil {
		o.Granter = table
	}
	if o.Kinds == nil {
		o.Kinds = allKinds
	}
	if o.SessionIssuer == "" {
		o.SessionIssuer = "kratos"
	}
	a := Around(whoever{principal: &p}, o)
	for _, authenticate := range []func(context.Context, *core.Call, core.Credential) (core.Authentication, error){a.Authenticate, a.Refresh} {
		r, err := authenticate(t.Context(), nil, core.Credential{})
		if err != nil {
			return "error: " + err.Error()
		}
		p = *r.Principal
	}
	return strings.Join(append(slices.Clone(p.Roles), p.Permissions...), " ")
}

func TestSubjectOfAnotherIssuerGetsNoRolesOfItsNamesake(t *testing.T) {
	for _, c := range []struct {
		what string
		p    core.Principal
		want string
	}{
		{"a subject", core.Principal{Kind: core.KindJWT, Issuer: issuerA, Subject: "ada"}, "admin users:write"},
		{"through a client", core.Principal{Kind: core.KindJWT, Issuer: issuerA, Subject: "ada", ClientID: "web"}, "admin users:write"},
		{"introspected", core.Principal{Kind: core.KindIntrospection, Issuer: issuerA, Subject: "ada"}, "admin users:write"},
		{"of another issuer", core.Principal{Kind: core.KindJWT, Issuer: issuerB, Subject: "ada"}, ""},
		{"of an issuer with a slash more", core.Principal{Kind: core.KindJWT, Issuer: issuerA + "/", Subject: "ada"}, ""},
		{"of an issuer in other case", core.Principal{Kind: core.KindJWT, Issuer: "https://A.test", Subject: "ada"}, ""},
		{"in other case", core.Principal{Kind: core.KindJWT, Issuer: issuerA, Subject: "Ada"}, ""},
		{"with a space", core.Principal{Kind: core.KindJWT, Issuer: issuerA, Subject: "ada "}, ""},
		{"a session", core.Principal{Kind: core.KindSession, Subject: "ada"}, "member"},
		{"a session that names an issuer", core.Principal{Kind: core.KindSession, Issuer: issuerA, Subject: "ada"}, "member"},
		{"a subject named as a client", core.Principal{Kind: core.KindJWT, Issuer: issuerA, Subject: "batch", ClientID: "web"}, "human"},
		{"a client for itself", core.Principal{Kind: core.KindJWT, Issuer: issuerA, Subject: "batch", ClientID: "batch"}, "machine"},
		{"a client without a subject", core.Principal{Kind: core.KindJWT, Issuer: issuerA, ClientID: "batch"}, "machine"},
		{"a client named as a subject", core.Principal{Kind: core.KindJWT, Issuer: issuerA, ClientID: "ada"}, ""},
		{"an actor named as a subject", core.Principal{Kind: core.KindJWT, Issuer: issuerA, Subject: "eve", Actor: &core.Actor{Subject: "ada", Issuer: issuerA}}, ""},
		{"without an issuer", core.Principal{Kind: core.KindIntrospection, Subject: "ada"}, "error: what the caller may do cannot be found out (subject_roles): the credential names no issuer, and a name is unique within one issuer only"},
		{"an API token of the subject", core.Principal{Kind: core.KindAPIToken, Issuer: issuerA, Subject: "ada", Roles: []string{"reader"}, Limit: &core.Principal{}}, "reader"},
	} {
		if got := rolesOf(t, c.p, Options{}); got != c.want {
			t.Errorf("%s: %q, want %q", c.what, got, c.want)
		}
	}
	p := core.Principal{Kind: core.KindSession, Subject: "ada"}
	if got := rolesOf(t, p, Options{SessionIssuer: issuerA}); got != "admin users:write" {
		t.Errorf("sessions of a named issuer: %q", got)
	}
	if got := rolesOf(t, p, Options{Kinds: []core.Kind{core.KindJWT}}); got != "" {
		t.Errorf("sessions are completed, although only JWTs are to be: %q", got)
	}
}

func TestRolesOfTheCredentialAreAddedToOrReplaced(t *testing.T) {
	p := core.Principal{Kind: core.KindJWT, Issuer: issuerA, Subject: "ada", Roles: []string{"clerk", "admin"}, Permissions: []string{"a"}, Scopes: []string{"s"}}
	if got := rolesOf(t, p, Options{}); got != "clerk admin a users:write" {
		t.Errorf("added: %q", got)
	}
	if got := rolesOf(t, p, Options{Replace: true}); got != "admin users:write" {
		t.Errorf("replaced: %q", got)
	}
	p.Subject = "nobody"
	if got := rolesOf(t, p, Options{Replace: true}); got != "" {
		t.Errorf("replaced by nothing: %q", got)
	}
}

// What is in a cache is that of everybody.
func TestPrincipalOfACacheIsNotChanged(t *testing.T) {
	cached := &core.Principal{Kind: core.KindJWT, Issuer: issuerA, Subject: "ada", Roles: make([]string, 1, 8), Expiry: time.Now().Add(time.Hour)}
	cached.Roles[0] = "clerk"
	for _, replace := range []bool{false, true} {
		a := Around(whoever{principal: cached}, Options{Granter: table, Kinds: allKinds, Replace: replace})
		r, err := a.Authenticate(t.Context(), nil, core.Credential{})
		if err != nil || r.Principal == cached {
			t.Fatal(err)
		}
		r.Principal.Roles[0] = "changed"
		if len(cached.Roles) != 1 || cached.Roles[0] != "clerk" || cached.Roles[:2][1] != "" || len(cached.Permissions) != 0 {
			t.Errorf("replace %v: the cached principal is %+v", replace, cached)
		}
		if g := table[Identity{issuerA, false, "ada"}]; g.Roles[0] != "admin" {
			t.Errorf("replace %v: what is granted to all is %v", replace, g)
		}
	}
}

type failing struct{}

func (failing) Grants(context.Context, Identity) (Grants, error) {
	return Grants{}, errors.New("the database is away")
}

func TestCallerThatCannotBeCompletedIsNobody(t *testing.T) {
	p := &core.Principal{Kind: core.KindJWT, Issuer: issuerA, Subject: "ada", Roles: []string{"clerk"}}
	r, err := Around(whoever{principal: p}, Options{Granter: failing{}, Kinds: allKinds}).Authenticate(t.Context(), nil, core.Credential{})
	if err == nil || errors.Is(err, core.ErrInvalid) || r.Principal != nil {
		t.Errorf("%+v, %v", r.Principal, err)
	}
	refused := whoever{err: core.ErrInvalid}
	if _, err := Around(refused, Options{Granter: failing{}, Kinds: allKinds}).Authenticate(t.Context(), nil, core.Credential{}); !errors.Is(err, core.ErrInvalid) {
		t.Errorf("a refusal became %v", err)
	}
}

func TestNamesThatNoCredentialCouldStateGrantNothing(t *testing.T) {
	for _, name := range []string{"", "a b", "a,b", "a\nb", "a\x00", `a"b`, strings.Repeat("x", 1001)} {
		if CheckName(name) == nil {
			t.Errorf("%.20q is accepted", name)
		}
	}
	for _, name := range []string{"admin", "users:read", "Größe", "a/b.c-d"} {
		if err := CheckName(name); err != nil {
			t.Error(err)
		}
	}
	if (Grants{Roles: make([]string, 1001)}).check() == nil {
		t.Error("1001 roles are accepted")
	}
}
