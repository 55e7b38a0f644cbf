package apitoken

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse/core"
)

var now = time.Date(2030, 5, 1, 12, 0, 0, 0, time.UTC)

// memory is a store of one record and its owner.
type memory struct {
	record      *Record
	owner       Grants
	find, grant error
	finds       int
}

func (m *memory) Find(context.Context, Digest) (*Record, error) {
	m.finds++
	return m.record, m.find
}
func (m *memory) Grants(context.Context, Owner) (Grants, error) { return m.owner, m.grant }

// fixture has a good token of a user who holds more than it does.
func fixture(t *testing.T) (*memory, string, func(change ...func(*Options)) (*core.Principal, error)) {
	t.Helper()
	token := Generate()
	m := &memory{
		record: &Record{
			ID: "t1", Digest: DigestOf(token), Name: "laptop", Owner: Owner{Subject: "ada", Issuer: "https://id.test"},
			Grants:  Grants{Roles: []string{"clerk"}, Permissions: []string{"orders:read"}, Scopes: []string{"users:read"}},
			Created: now.Add(-time.Hour), Expires: now.Add(time.Hour),
		},
		owner: Grants{Roles: []string{"clerk", "admin"}, Permissions: []string{"orders:read", "users:read"}},
	}
	return m, token, func(change ...func(*Options)) (*core.Principal, error) {
		o := Options{Store: m, Owners: m, MaxLifetime: 365 * 24 * time.Hour, Now: func() time.Time { return now }}
		for _, c := range change {
			c(&o)
		}
		a, err := New(o)
		if err != nil {
			t.Fatal(err)
		}
		return a.AuthenticateToken(t.Context(), core.Credential{Place: core.BearerToken, Value: token})
	}
}

func TestTokenSpeaksForItsOwnerWithWhatBothHave(t *testing.T) {
	m, _, ask := fixture(t)
	m.record.Networks, m.record.Hosts = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, []string{"api.test"}
	p, err := ask()
	if err != nil {
		t.Fatal(err)
	}
	if p.Kind != core.KindAPIToken || p.Subject != "ada" || p.Issuer != "https://id.test" || p.ID != "t1" || !p.Expiry.Equal(m.record.Expires) || !p.IssuedAt.Equal(m.record.Created) {
		t.Errorf("%+v", p)
	}
	if p.Limit == nil || !slices.Equal(p.Limit.Roles, m.owner.Roles) || !slices.Equal(p.Limit.Permissions, m.owner.Permissions) {
		t.Errorf("limit %+v", p.Limit)
	}
	if len(p.Networks) != 1 || len(p.Hosts) != 1 || !slices.Equal(p.Roles, []string{"clerk"}) || !slices.Equal(p.Scopes, []string{"users:read"}) {
		t.Errorf("%+v", p)
	}
}

func TestOwnerWhoLostARoleTakesItFromTheToken(t *testing.T) {
	m, _, ask := fixture(t)
	m.owner = Grants{}
	p, err := ask()
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Roles)+len(p.Scopes) > 0 || len(p.Limit.Roles)+len(p.Limit.Permissions)+len(p.Limit.Scopes) > 0 {
		t.Errorf("the token kept %+v", p)
	}
}

func TestScopesAndRolesBeyondTheOwnerDoNotCount(t *testing.T) {
	m, _, ask := fixture(t)
	m.record.Scopes, m.record.Roles = []string{"users:read", "admin:all", "clerk"}, []string{"root", "clerk", "Admin"}
	p, err := ask()
	if err != nil || !slices.Equal(p.Scopes, []string{"users:read"}) || !slices.Equal(p.Roles, []string{"clerk"}) {
		t.Errorf("%+v, %v", p, err)
	}
}

func TestTokenWithoutGrantsMayNothing(t *testing.T) {
	for name, none := range map[string]Grants{"nil": {}, "empty": {Roles: []string{}, Permissions: []string{}, Scopes: []string{}}} {
		m, _, ask := fixture(t)
		m.record.Grants = none
		if p, err := ask(); err != nil || len(p.Roles)+len(p.Permissions)+len(p.Scopes) > 0 || p.Limit == nil {
			t.Errorf("%s: %+v, %v", name, p, err)
		}
	}
}

func TestTokenThatDoesNotCountIsRefused(t *testing.T) {
	for name, change := range map[string]func(*memory){
		"unknown":                        func(m *memory) { m.record, m.find = nil, ErrUnknown },
		"damaged":                        func(m *memory) { m.record, m.find = nil, ErrDamaged },
		"owner gone":                     func(m *memory) { m.grant = ErrGone },
		"expired":                        func(m *memory) { m.record.Expires = now },
		"expired by a second":            func(m *memory) { m.record.Expires = now.Add(-time.Second) },
		"expired by a nanosecond":        func(m *memory) { m.record.Expires = now.Add(-1) },
		"revoked":                        func(m *memory) { m.record.Revoked = now.Add(-time.Second) },
		"revoked by a clock ahead":       func(m *memory) { m.record.Revoked = now.Add(time.Hour) },
		"no expiry":                      func(m *memory) { m.record.Expires = time.Time{} },
		"too long a life":                func(m *memory) { m.record.Expires = now.AddDate(2, 0, 0) },
		"created in the future":          func(m *memory) { m.record.Created, m.record.Expires = now.Add(10*time.Minute), now.Add(time.Hour) },
		"a long life by a later birth":   func(m *memory) { m.record.Created, m.record.Expires = now.Add(4*time.Minute), now.AddDate(1, 0, 1) },
		"no creation":                    func(m *memory) { m.record.Created = time.Time{} },
		"another digest":                 func(m *memory) { m.record.Digest[31] ^= 1 },
		"no owner":                       func(m *memory) { m.record.Owner = Owner{} },
		"two owners":                     func(m *memory) { m.record.Owner.ServiceAccount = "x" },
		"networks empty":                 func(m *memory) { m.record.Networks = []netip.Prefix{} },
		"networks with every address":    func(m *memory) { m.record.Networks = []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")} },
		"networks with the zero network": func(m *memory) { m.record.Networks = []netip.Prefix{{}} },
		"hosts empty":                    func(m *memory) { m.record.Hosts = []string{} },
		"hosts with a wildcard alone":    func(m *memory) { m.record.Hosts = []string{"*"} },
		"role that is a wildcard":        func(m *memory) { m.record.Roles = []string{"*"} },
		"permission that is empty":       func(m *memory) { m.record.Permissions = []string{""} },
	} {
		m, token, ask := fixture(t)
		change(m)
		p, err := ask()
		if !errors.Is(err, core.ErrInvalid) || p != nil {
			t.Errorf("%s: %+v, %v", name, p, err)
		}
		if err != nil && strings.Contains(err.Error(), token[4:20]) {
			t.Errorf("%s: the error holds the token: %v", name, err)
		}
	}
}

// Clocks differ, so that a token can come before it was made.
func TestTokenOfAClockThatIsALittleAheadCounts(t *testing.T) {
	m, _, ask := fixture(t)
	m.record.Created = now.Add(time.Minute)
	if _, err := ask(); err != nil {
		t.Error(err)
	}
}

func TestStoreThatIsAwayIsNoRefusal(t *testing.T) {
	for name, change := range map[string]func(*memory){
		"tokens": func(m *memory) { m.record, m.find = nil, errors.New("connection refused") },
		"owners": func(m *memory) { m.grant = errors.New("connection refused") },
	} {
		m, _, ask := fixture(t)
		change(m)
		if p, err := ask(); err == nil || errors.Is(err, core.ErrInvalid) || p != nil {
			t.Errorf("%s: %+v, %v", name, p, err)
		}
	}
}

func TestMalformedTokenIsRefusedBeforeAnyLookUp(t *testing.T) {
	m, token, _ := fixture(t)
	a, err := New(Options{Store: m, Owners: m, MaxLifetime: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []core.Credential{
		{Place: core.BearerToken, Value: token[:Length-1] + "-"},
		{Place: core.BearerToken, Value: "GTH_" + token[4:]},
		{Place: core.BearerToken, Value: DigestOf(token).String()},
		{Place: core.BearerToken, Value: Prefix + DigestOf(token).String()[7:56]},
		{Place: core.TokenCookie, Value: token},
		{Place: core.SessionCookie, Value: token},
		{Place: core.SessionToken, Value: token},
		{Place: core.TokenParameter, Value: token},
	} {
		if p, err := a.AuthenticateToken(t.Context(), c); !errors.Is(err, core.ErrInvalid) || p != nil {
			t.Errorf("%s: %+v, %v", c.Place, p, err)
		}
	}
	if m.finds > 0 {
		t.Errorf("%d look-ups", m.finds)
	}
}

func TestTokenThatNeverExpiresCountsOnlyWhereThatIsAllowed(t *testing.T) {
	m, _, ask := fixture(t)
	m.record.Expires = time.Time{}
	p, err := ask(func(o *Options) { o.InsecureNoExpiry = true })
	if err != nil || !p.Expiry.After(now) || p.Expiry.After(now.Add(2*time.Hour)) {
		t.Errorf("%+v, %v", p, err)
	}
}

func TestServiceAccountHasASubjectOfItsOwn(t *testing.T) {
	m, _, ask := fixture(t)
	m.record.Owner = Owner{ServiceAccount: "nightly"}
	if p, err := ask(); err != nil || p.Subject != "service-account:nightly" || p.ClientID != "nightly" || p.Issuer != "" {
		t.Errorf("%+v, %v", p, err)
	}
}

func TestNetworksThatMeanMoreThanTheySay(t *testing.T) {
	for _, list := range [][]string{{}, {"*"}, {"0.0.0.0/0"}, {"::/0"}, {"10.0.0.1/8"}, {"::ffff:10.0.0.0/104"}, {"10.0.0"}, {"10.0.0.0/33"}, {""}, {"fe80::1%eth0"}, {"10.0.0.0/8", "any"}} {
		if n, err := ParseNetworks(list); err == nil {
			t.Errorf("%q is %v", list, n)
		}
	}
	n, err := ParseNetworks([]string{"192.0.2.7", "2001:db8::/32"})
	if err != nil || n[0].String() != "192.0.2.7/32" {
		t.Errorf("%v, %v", n, err)
	}
}
