package revocation_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"gatehouse/core"
	"gatehouse/core/coretest"
	"gatehouse/core/revocation"
)

const (
	issuerA = "https://a.example.test/"
	issuerB = "https://b.example.test/"
	leeway  = 5 * time.Second
)

type bench struct {
	*revocation.List
	t     *testing.T
	clock *coretest.Clock
	n     int
}

func setup(t *testing.T, change func(*revocation.Options)) *bench {
	t.Helper()
	b := &bench{t: t, clock: coretest.NewClock()}
	o := revocation.Options{Leeway: leeway, Now: b.clock.Now}
	if change != nil {
		change(&o)
	}
	list, err := revocation.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	b.List = list
	return b
}

// revoke adds an event of now.
func (b *bench) revoke(kind revocation.Kind, value, issuer string) {
	b.t.Helper()
	if err := b.Add(b.event(kind, value, issuer)); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) event(kind revocation.Kind, value, issuer string) revocation.Event {
	b.n++
	now := b.clock.Now()
	return revocation.Event{ID: fmt.Sprint(b.n), Kind: kind, Value: value, Issuer: issuer, At: now, Until: now.Add(time.Hour), Source: "test"}
}

// alice has a token of issuer A that was issued a minute ago.
func (b *bench) alice(change func(*core.Principal)) *core.Principal {
	p := &core.Principal{
		Kind: core.KindJWT, Subject: "alice", Issuer: issuerA, ClientID: "shop", ID: "jti-1", SessionID: "sid-1",
		IssuedAt: b.clock.Now().Add(-time.Minute), Expiry: b.clock.Now().Add(time.Hour),
	}
	if change != nil {
		change(p)
	}
	return p
}

const jwt = "aGVhZGVy.Y2xhaW1z.c2lnbmF0dXJl"

func (b *bench) check(name string, want bool, p *core.Principal) {
	b.t.Helper()
	if e, got := b.Revoked(p, jwt); got != want {
		b.t.Errorf("%s: revoked %v by %+v, want %v", name, got, e, want)
	}
}

func TestEventRevokesWhatItNames(t *testing.T) {
	for _, c := range []struct {
		name   string
		kind   revocation.Kind
		value  string
		issuer string
		want   bool
	}{
		{"the session", revocation.Session, "sid-1", "", true},
		{"the session of its issuer", revocation.Session, "sid-1", issuerA, true},
		{"a session of another issuer with the same id", revocation.Session, "sid-1", issuerB, false},
		{"another session", revocation.Session, "sid-2", "", false},
		{"the session in another case", revocation.Session, "SID-1", "", false},
		{"the subject", revocation.Subject, "alice", "", true},
		{"the subject of its issuer", revocation.Subject, "alice", issuerA, true},
		{"the subject of another issuer", revocation.Subject, "alice", issuerB, false},
		{"the issuer without its slash", revocation.Subject, "alice", strings.TrimSuffix(issuerA, "/"), false},
		{"the issuer in another case", revocation.Subject, "alice", strings.ToUpper(issuerA), false},
		{"the subject in another case", revocation.Subject, "Alice", "", false},
		{"a subject that is named as the client", revocation.Subject, "shop", "", false},
		{"a client that is named as the subject", revocation.Client, "alice", "", false},
		{"a session that is named as the subject", revocation.Session, "alice", "", false},
		{"the client", revocation.Client, "shop", issuerA, true},
		{"the client of another issuer", revocation.Client, "shop", issuerB, false},
		{"the token by its jti", revocation.Token, "jti-1", issuerA, true},
		{"a token of another issuer with the same jti", revocation.Token, "jti-1", issuerB, false},
		{"the token by its digest", revocation.Token, revocation.TokenDigest(jwt), "", true},
		{"another token by its digest", revocation.Token, revocation.TokenDigest("x" + jwt), "", false},
		{"the issuer", revocation.Issuer, "", issuerA, true},
		{"another issuer", revocation.Issuer, "", issuerB, false},
	} {
		b := setup(t, nil)
		b.revoke(c.kind, c.value, c.issuer)
		b.check(c.name, c.want, b.alice(nil))
	}
}

func TestNothingIsRevokedByWhatACredentialDoesNotSay(t *testing.T) {
	b := setup(t, nil)
	for _, kind := range []revocation.Kind{revocation.Session, revocation.Subject, revocation.Client, revocation.Token} {
		b.revoke(kind, "x", "")
	}
	b.revoke(revocation.Issuer, "", issuerB)
	b.check("a Kratos session", false, &core.Principal{Kind: core.KindSession, Subject: "alice"})
}

// An event tells of a subject that acts for others, too: what it does in their name ends.
func TestRevokedActorActsForNobody(t *testing.T) {
	for name, c := range map[string]struct {
		actor  core.Actor
		kind   revocation.Kind
		value  string
		issuer string
		want   bool
	}{
		"its subject":                    {core.Actor{Subject: "agent"}, revocation.Subject, "agent", issuerA, true},
		"its subject, of another issuer": {core.Actor{Subject: "agent", Issuer: issuerB}, revocation.Subject, "agent", issuerA, false},
		"its client":                     {core.Actor{ClientID: "bot"}, revocation.Client, "bot", "", true},
		"its issuer":                     {core.Actor{Subject: "agent", Issuer: issuerB}, revocation.Issuer, "", issuerB, true},
		"one that acted before it":       {core.Actor{Subject: "web", Before: &core.Actor{Subject: "agent"}}, revocation.Subject, "agent", "", false},
		"its subject, after another":     {core.Actor{Subject: "agent", Before: &core.Actor{Subject: "web"}}, revocation.Subject, "agent", issuerA, true},
		"another subject":                {core.Actor{Subject: "agent"}, revocation.Subject, "other", "", false},
		"whom it acts for":               {core.Actor{Subject: "agent", Issuer: issuerB}, revocation.Subject, "alice", issuerA, true},
		"a client that is named like it": {core.Actor{Subject: "agent"}, revocation.Client, "agent", "", false},
	} {
		b := setup(t, nil)
		b.revoke(c.kind, c.value, c.issuer)
		b.check(name, c.want, b.alice(func(p *core.Principal) { p.Actor = &c.actor }))
	}
}

// A server need not say who issued a token that it has introspected (RFC 7662).
func TestTokenOfAnUnknownIssuerIsRevokedByWhatItNames(t *testing.T) {
	unknown := func(p *core.Principal) { p.Issuer, p.Kind = "", core.KindIntrospection }
	for _, e := range []revocation.Event{
		{Kind: revocation.Subject, Value: "alice", Issuer: issuerA},
		{Kind: revocation.Session, Value: "sid-1", Issuer: issuerB},
		{Kind: revocation.Issuer, Issuer: issuerA},
	} {
		b := setup(t, nil)
		b.revoke(e.Kind, e.Value, e.Issuer)
		b.check(string(e.Kind), true, b.alice(unknown))
		b.check(string(e.Kind)+" of a Kratos session", false, b.alice(func(p *core.Principal) { p.Issuer, p.Kind = "", core.KindSession }))
	}
}

func TestWhoSignsInAfterAnEventPasses(t *testing.T) {
	for name, c := range map[string]struct {
		after time.Duration // from the event to iat
		want  bool
	}{
		"issued before":                              {-time.Hour, true},
		"issued in the same moment":                  {0, true},
		"issued in the same second":                  {900 * time.Millisecond, true},
		"issued by a clock that is ahead":            {leeway, true},
		"issued afterwards":                          {leeway + time.Second, false},
		"issued before, cut to the second it was in": {-time.Millisecond, true},
	} {
		b := setup(t, nil)
		b.revoke(revocation.Subject, "alice", "")
		at := b.clock.Now()
		b.check(name, c.want, b.alice(func(p *core.Principal) { p.IssuedAt = at.Add(c.after) }))
	}
	b := setup(t, nil)
	b.revoke(revocation.Subject, "alice", "")
	b.check("a credential that does not say when it was issued", true, b.alice(func(p *core.Principal) { p.IssuedAt = time.Time{} }))
}

// Neither a session nor a token comes back: a token that is made of a revoked session
// later, or that is signed again, does not count.
func TestRevokedSessionAndTokenDoNotComeBackWithALaterIssueTime(t *testing.T) {
	later := func(p *core.Principal) { p.IssuedAt = p.IssuedAt.Add(time.Hour) }
	for kind, value := range map[revocation.Kind]string{revocation.Session: "sid-1", revocation.Token: "jti-1"} {
		b := setup(t, nil)
		b.revoke(kind, value, "")
		b.check(string(kind), true, b.alice(later))
	}
}

// Whoever holds a JWT can write its signature otherwise: that of ECDSA has two forms,
// and base64url has bits that count for nothing.
func TestRevokedJWTDoesNotPassWithItsSignatureWrittenOtherwise(t *testing.T) {
	b := setup(t, nil)
	b.revoke(revocation.Token, revocation.TokenDigest(jwt), "")
	if _, revoked := b.Revoked(b.alice(nil), "aGVhZGVy.Y2xhaW1z.b3RoZXI"); !revoked {
		t.Error("the same token with another signature passes")
	}
	if _, revoked := b.Revoked(b.alice(nil), "aGVhZGVy.b3RoZXI.c2lnbmF0dXJl"); revoked {
		t.Error("another token does not pass")
	}
}

// An issuer writes jti as it likes; a digest names one token of whichever issuer.
func TestTokenCannotTakeTheDigestOfAnotherForItsName(t *testing.T) {
	b := setup(t, nil)
	d := revocation.TokenDigest("another token")
	b.revoke(revocation.Token, d, "")
	b.check("a token whose jti is the digest of another", false, b.alice(func(p *core.Principal) { p.ID = d }))
}

func TestEventEndsWhenNothingItNamesCanBeValid(t *testing.T) {
	b := setup(t, func(o *revocation.Options) { o.Retention = 2 * time.Hour })
	b.revoke(revocation.Subject, "alice", "")
	b.clock.Advance(59 * time.Minute)
	if len(b.All()) != 1 {
		t.Error("the event ended early")
	}
	b.clock.Advance(time.Minute)
	if all := b.All(); len(all) != 0 {
		t.Errorf("kept beyond its end: %+v", all)
	}
	b.check("afterwards", false, b.alice(nil))
}

func TestEventOfTheFarFutureNeitherKeepsASubjectOutNorStays(t *testing.T) {
	b := setup(t, nil)
	e := b.event(revocation.Subject, "alice", "")
	e.At, e.Until = e.At.AddDate(100, 0, 0), e.Until.AddDate(1000, 0, 0)
	if err := b.Add(e); err != nil {
		t.Fatal(err)
	}
	b.check("now", true, b.alice(nil))
	b.clock.Advance(65 * time.Minute)
	b.check("signed in again", false, b.alice(func(p *core.Principal) { p.IssuedAt = b.clock.Now() }))
	b.check("not signed in again", true, b.alice(func(p *core.Principal) { p.IssuedAt = b.clock.Now().Add(-time.Hour) }))
	b.clock.Advance(401 * 24 * time.Hour)
	if all := b.All(); len(all) != 0 {
		t.Errorf("kept for longer than a year: %+v", all)
	}
}

func TestEventsAboutTheSameAreOneThatRevokesWhatEitherDoes(t *testing.T) {
	b := setup(t, nil)
	long := b.event(revocation.Subject, "alice", issuerA)
	b.clock.Advance(time.Minute)
	late := b.event(revocation.Subject, "alice", issuerA)
	late.Until = b.clock.Now().Add(time.Minute)
	for _, order := range [][]revocation.Event{{long, late}, {late, long}, {late, long, late, long}} {
		b := setup(t, nil)
		b.clock.Advance(time.Minute)
		if err := b.Add(order...); err != nil {
			t.Fatal(err)
		}
		all := b.All()
		if len(all) != 1 || !all[0].At.Equal(late.At) || !all[0].Until.Equal(long.Until) || all[0].ID != late.ID {
			t.Errorf("kept %+v", all)
		}
		b.clock.Advance(2 * time.Minute) // an end that was moved is the one that counts
		if len(b.All()) != 1 {
			t.Error("the event ended with the shorter of the two")
		}
	}
}

func TestFloodOfEventsDropsNoneAndIsSaid(t *testing.T) {
	b := setup(t, func(o *revocation.Options) { o.MaxEvents = 100 })
	b.revoke(revocation.Subject, "alice", "")
	for i := range 99 {
		b.revoke(revocation.Session, fmt.Sprint("s", i), "")
	}
	two := []revocation.Event{b.event(revocation.Subject, "alice", ""), b.event(revocation.Session, "one more", "")}
	if err := b.Add(two...); !errors.Is(err, revocation.ErrFull) || !strings.Contains(err.Error(), "revocation.max_events") {
		t.Errorf("one more: %v", err)
	}
	b.check("the first of them", true, b.alice(nil))
	if len(b.All()) != 100 {
		t.Errorf("%d are kept", len(b.All()))
	}
	if err := b.Add(two[0]); err != nil {
		t.Errorf("one about what is revoked already: %v", err)
	}
	b.clock.Advance(2 * time.Hour)
	if err := b.Add(b.event(revocation.Session, "later", "")); err != nil {
		t.Errorf("when the others have ended: %v", err)
	}
}

func TestEventThatCannotBeKeptIsAnError(t *testing.T) {
	long := strings.Repeat("x", 3000)
	for want, change := range map[string]func(*revocation.Event){
		"names no subject":               func(e *revocation.Event) { e.Value = "" },
		`of the kind "user"`:             func(e *revocation.Event) { e.Kind = "user" },
		`of the kind ""`:                 func(e *revocation.Event) { e.Kind = "" },
		"names the issuer, and no value": func(e *revocation.Event) { e.Kind = revocation.Issuer },
		"an event of an issuer":          func(e *revocation.Event) { e.Kind, e.Value, e.Issuer = revocation.Issuer, "", "" },
		"an id of 0 bytes":               func(e *revocation.Event) { e.ID = "" },
		"an id of 3000 bytes":            func(e *revocation.Event) { e.ID = long },
		"names a subject of more than":   func(e *revocation.Event) { e.Value = long },
		"a subject of more than 2048":    func(e *revocation.Event) { e.Issuer = long },
		"does not say from when":         func(e *revocation.Event) { e.At = time.Time{} },
		"(at) and until when (until)":    func(e *revocation.Event) { e.Until = time.Time{} },
	} {
		b := setup(t, nil)
		e := b.event(revocation.Subject, "alice", issuerA)
		change(&e)
		if err := b.Add(b.event(revocation.Session, "good", ""), e); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
		if len(b.All()) != 0 {
			t.Error("one of two was kept")
		}
	}
}

func TestTextsForLogsAreCut(t *testing.T) {
	b := setup(t, nil)
	e := b.event(revocation.Subject, "alice", "")
	e.Reason, e.Source = strings.Repeat("é", 3000), strings.Repeat("s", 3000)
	if err := b.Add(e); err != nil {
		t.Fatal(err)
	}
	if got := b.All()[0]; len(got.Reason) > 256 || len(got.Source) > 256 {
		t.Errorf("kept %d and %d bytes", len(got.Reason), len(got.Source))
	}
}
