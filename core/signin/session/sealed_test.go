package session_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"time"

	"gatehouse/core"
	"gatehouse/core/coretest"
	"gatehouse/core/extract"
	"gatehouse/core/signin/session"
)

const (
	secret = "0123456789abcdef0123456789abcdef"
	older  = "fedcba9876543210fedcba9876543210"
	name   = "__Host-gatehouse"
)

// browser keeps cookies as browsers do.
type browser struct {
	t   *testing.T
	jar *cookiejar.Jar
	url *url.URL
}

func newBrowser(t *testing.T) *browser {
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &browser{t, jar, &url.URL{Scheme: "https", Host: "app.example.com", Path: "/"}}
}

// takes keeps the cookies of a response, each of which every browser takes.
func (b *browser) takes(lines []core.Header) {
	b.t.Helper()
	header := http.Header{}
	for _, l := range lines {
		if l.Name != "Set-Cookie" || len(l.Value) > 4096 || !strings.Contains(l.Value, "; HttpOnly") || !strings.Contains(l.Value, "; Secure") || !strings.Contains(l.Value, "; SameSite=") {
			b.t.Fatalf("a cookie that is not kept, or not safe (%d bytes): %.80s", len(l.Value), l.Value)
		}
		header.Add(l.Name, l.Value)
	}
	b.jar.SetCookies(b.url, (&http.Response{Header: header}).Cookies())
}

func (b *browser) request() *core.Request {
	r := &core.Request{Method: "GET", Target: "/", Host: b.url.Host}
	var pairs []string
	for _, c := range b.jar.Cookies(b.url) {
		pairs = append(pairs, c.Name+"="+c.Value)
	}
	if len(pairs) > 0 {
		r.Header = []core.Header{{Name: "Cookie", Value: strings.Join(pairs, "; ")}}
	}
	return r
}

func (b *browser) cookies() []*http.Cookie { return b.jar.Cookies(b.url) }

// noise does not shrink when it is compressed.
func noise(n int) string {
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	random := rand.New(rand.NewPCG(1, uint64(n)))
	text := make([]byte, n)
	for i := range text {
		text[i] = letters[random.IntN(len(letters))]
	}
	return string(text)
}

func signedIn(clock *coretest.Clock, tokens int) *session.Session {
	return &session.Session{
		Provider: "google", Issuer: "https://op.test", Subject: "alice", ClientID: "gate", ProviderSession: "s-1",
		Claims: map[string]any{"email": "alice@example.com", "roles": []any{"reader"}}, Scopes: []string{"openid"}, ACR: "2", AMR: []string{"otp"}, AAL: "aal2",
		AuthenticatedAt: clock.Now().Add(-time.Minute).UTC(), IDToken: noise(tokens), RefreshToken: "refresh-1", TokenExpires: clock.Now().Add(5 * time.Minute).UTC(),
	}
}

func sealed(t *testing.T, clock *coretest.Clock, change func(*session.Cookie, *session.Life), secrets ...string) *session.InCookie {
	t.Helper()
	cookie, life := session.Cookie{Name: name}, session.Life{Idle: 10 * time.Minute, Absolute: time.Hour, Now: clock.Now}
	if change != nil {
		change(&cookie, &life)
	}
	if secrets == nil {
		secrets = []string{secret}
	}
	store, err := session.NewSealed(cookie, life, secrets...)
	if err != nil {
		t.Fatal(err)
	}
	return store
}

func save(t *testing.T, store session.Store, s *session.Session, b *browser) {
	t.Helper()
	lines, err := store.Save(t.Context(), s, b.request())
	if err != nil {
		t.Fatal(err)
	}
	b.takes(lines)
}

func TestSessionComesBackFromItsCookies(t *testing.T) {
	for _, size := range []int{0, 100, 2500, 3500, 4500} {
		clock := coretest.NewClock()
		store, b := sealed(t, clock, nil), newBrowser(t)
		want := signedIn(clock, size)
		save(t, store, want, b)
		got, err := store.Current(t.Context(), b.request())
		if err != nil {
			t.Fatalf("%d bytes: %v", size, err)
		}
		if len(got.ID) < 40 || got.CreatedAt.IsZero() || got.SeenAt.IsZero() {
			t.Errorf("%+v", got)
		}
		filled := *want
		filled.ID, filled.CreatedAt, filled.SeenAt = got.ID, got.CreatedAt, got.SeenAt
		if !reflect.DeepEqual(*got, filled) {
			t.Errorf("%d bytes: %+v, want %+v", size, got, filled)
		}
		if size > 4000 && len(b.cookies()) < 2 {
			t.Errorf("%d bytes are in %d cookies", size, len(b.cookies()))
		}
		if total := len(b.request().Header[0].Value); total > 8<<10 {
			t.Errorf("%d bytes: a Cookie line of %d bytes, and nginx takes 8 KiB", size, total)
		}
	}
}

func TestLeftoverChunksOfALargerSessionAreDeleted(t *testing.T) {
	clock := coretest.NewClock()
	store, b := sealed(t, clock, nil), newBrowser(t)
	for _, size := range []int{4500, 0, 4500, 100, 2500} {
		save(t, store, signedIn(clock, size), b)
		s, err := store.Current(t.Context(), b.request())
		if err != nil || len(s.IDToken) != size {
			t.Fatalf("%d bytes: %v with %d cookies", size, err, len(b.cookies()))
		}
	}
	save(t, store, signedIn(clock, 4500), b)
	lines, err := store.Delete(t.Context(), nil, b.request())
	if err != nil {
		t.Fatal(err)
	}
	if b.takes(lines); len(b.cookies()) != 0 {
		t.Errorf("left after the deletion: %v", b.cookies())
	}
	if _, err := store.Current(t.Context(), b.request()); !errors.Is(err, core.ErrMissing) {
		t.Errorf("%v", err)
	}
}

// Another host of the domain can have the browser keep any number of cookies. Proxies
// hand on a fixed number of those of a response.
func TestPlantedCookiesDoNotMakeAResponseSetMoreThanProxiesPassOn(t *testing.T) {
	clock := coretest.NewClock()
	for _, size := range []int{0, 4500} {
		store, b := sealed(t, clock, nil), newBrowser(t)
		header := http.Header{}
		for i := range 40 {
			for _, planted := range []string{fmt.Sprintf("%s.%d", name, 39-i), fmt.Sprintf("%s.0%d", name, i)} {
				header.Add("Set-Cookie", planted+"=x; Path=/; HttpOnly; Secure; SameSite=Lax")
			}
		}
		b.jar.SetCookies(b.url, (&http.Response{Header: header}).Cookies())
		lines, err := store.Save(t.Context(), signedIn(clock, size), b.request())
		if err != nil || len(lines) > session.MaxLines {
			t.Fatalf("%d bytes: %d lines, %v", size, len(lines), err)
		}
		b.takes(lines)
		if s, err := store.Current(t.Context(), b.request()); err != nil || len(s.IDToken) != size {
			t.Errorf("%d bytes: %v", size, err)
		}
		lines, err = store.Delete(t.Context(), nil, b.request())
		if err != nil || len(lines) > session.MaxLines {
			t.Fatalf("%d lines, %v", len(lines), err)
		}
		b.takes(lines)
		if _, err := store.Current(t.Context(), b.request()); err == nil {
			t.Error("the session is left after its deletion")
		}
	}
}

// Another host of the domain can have the browser keep a second cookie of the name.
func TestPlantedCookieStopsNoLogout(t *testing.T) {
	clock := coretest.NewClock()
	store, b := sealed(t, clock, nil), newBrowser(t)
	save(t, store, signedIn(clock, 10), b)
	whole := b.cookies()[0].Value
	mine, err := store.Current(t.Context(), b.request())
	if err != nil {
		t.Fatal(err)
	}
	other, foreign := newBrowser(t), newBrowser(t)
	save(t, store, signedIn(clock, 10), other)
	save(t, sealed(t, clock, nil, older), signedIn(clock, 10), foreign)
	for attack, values := range map[string][]string{
		"junk before":                    {"AAAA", whole},
		"junk behind":                    {whole, "AAAA"},
		"junk on both sides":             {"AAAA", whole, "BBBB"},
		"one sealed with another secret": {foreign.cookies()[0].Value, whole},
		"a copy":                         {whole, whole},
		"the session of somebody else":   {whole, other.cookies()[0].Value},
		"no session at all":              {"AAAA", "BBBB"},
		"more than are looked at":        {whole, "A", "B", "C"},
	} {
		r := &core.Request{}
		for _, value := range values {
			r.Header = append(r.Header, core.Header{Name: "Cookie", Value: name + "=" + value})
		}
		s, err := store.Current(t.Context(), r)
		refused := attack == "the session of somebody else" || attack == "no session at all" || attack == "more than are looked at"
		if refused != errors.Is(err, core.ErrInvalid) || refused != (s == nil) || !refused && s.ID != mine.ID {
			t.Errorf("%s: %+v, %v", attack, s, err)
		}
	}
}

// credentials are what a gate reads of a request.
func credential(t *testing.T, r *core.Request) (core.Credential, error) {
	t.Helper()
	e, err := extract.New(session.Cookie{Name: name}.Place())
	if err != nil {
		t.Fatal(err)
	}
	return e.Extract(r)
}

func TestCookieThatIsNotAsItWasSealedIsOneRefusal(t *testing.T) {
	clock := coretest.NewClock()
	store, b := sealed(t, clock, nil), newBrowser(t)
	save(t, store, signedIn(clock, 4500), b)
	parts := b.cookies()
	if len(parts) != 2 || parts[0].Name != name+".0" {
		t.Fatalf("cookies %v", parts)
	}
	first, second := parts[0].Value, parts[1].Value
	whole := first + second
	other := newBrowser(t)
	save(t, store, signedIn(clock, 4000), other)
	foreign := newBrowser(t)
	save(t, sealed(t, clock, nil, older), signedIn(clock, 10), foreign)
	renamed := newBrowser(t)
	save(t, sealed(t, clock, func(c *session.Cookie, _ *session.Life) { c.Name = "__Host-other" }), signedIn(clock, 10), renamed)
	flip := func(text string, at int) string {
		c := byte('A')
		if text[at] == c {
			c = 'B'
		}
		return text[:at] + string(c) + text[at+1:]
	}
	pair := func(name, value string) string { return name + "=" + value }
	var messages []string
	for attack, cookies := range map[string]string{
		"the first byte changed":                pair(name, flip(whole, 0)),
		"a byte in the middle changed":          pair(name, flip(whole, len(whole)/2)),
		"a byte of the tag changed":             pair(name, flip(whole, len(whole)-5)),
		"truncated by a byte":                   pair(name, whole[:len(whole)-1]),
		"truncated to one":                      pair(name, "A"),
		"longer":                                pair(name, whole+"AAAA"),
		"the last chunk missing":                pair(name+".0", first),
		"the first chunk alone under the name":  pair(name, first),
		"chunks in another order":               pair(name+".0", second) + "; " + pair(name+".1", first),
		"a chunk of another session":            pair(name+".0", first) + "; " + pair(name+".1", other.cookies()[1].Value),
		"a further chunk":                       pair(name+".0", first) + "; " + pair(name+".1", second) + "; " + pair(name+".2", "AAAA"),
		"sealed with another secret":            pair(name, foreign.cookies()[0].Value),
		"sealed for another cookie":             pair(name, renamed.cookies()[0].Value),
		"no Base64":                             pair(name, "!!!!"),
		"another alphabet of Base64":            pair(name, "////++++"),
		"with padding":                          pair(name, whole+"="),
		"nothing that is sealed":                pair(name, strings.Repeat("A", 200)),
		"oversized":                             pair(name, strings.Repeat("A", 16<<10)),
		"oversized, in chunks":                  pair(name+".0", strings.Repeat("A", 9000)) + "; " + pair(name+".1", strings.Repeat("A", 9000)),
		"a session of JSON":                     pair(name, "eyJpZCI6IngiLCJpc3MiOiJ4Iiwic3ViIjoiYWxpY2UifQ"),
		"repeated, of another session":          pair(name, whole) + "; " + pair(name, other.cookies()[0].Value+other.cookies()[1].Value),
		"repeated more often than is looked at": pair(name, whole) + "; " + pair(name, "A") + "; " + pair(name, "B") + "; " + pair(name, "C"),
	} {
		r := &core.Request{Header: []core.Header{{Name: "Cookie", Value: cookies}}}
		s, err := store.Current(t.Context(), r)
		if !errors.Is(err, core.ErrInvalid) || s != nil {
			t.Errorf("%s: %+v, %v", attack, s, err)
			continue
		}
		for _, part := range []string{first, second, "alice", secret} {
			if strings.Contains(err.Error(), part) {
				t.Errorf("%s: the error tells %.20q", attack, part)
			}
		}
		// What reaches the store is one refusal, word for word.
		if c, found := credential(t, r); found == nil && c.Others[0] == "" {
			if _, err := store.Load(t.Context(), c); err == nil {
				t.Errorf("%s: loaded", attack)
			} else {
				messages = append(messages, err.Error())
			}
		}
	}
	for _, m := range messages {
		if m != messages[0] {
			t.Errorf("two refusals: %q and %q", m, messages[0])
		}
	}
	if len(messages) < 15 {
		t.Errorf("only %d reached the store", len(messages))
	}
	if _, err := store.Load(t.Context(), core.Credential{Place: core.SessionCookie, Value: whole}); !errors.Is(err, core.ErrInvalid) {
		t.Errorf("a cookie in the place of another kind: %v", err)
	}
}

func TestSecretsOfCookiesAreRotated(t *testing.T) {
	clock := coretest.NewClock()
	b := newBrowser(t)
	save(t, sealed(t, clock, nil, older), signedIn(clock, 10), b)
	both := sealed(t, clock, nil, secret, older)
	s, err := both.Current(t.Context(), b.request())
	if err != nil {
		t.Fatalf("the former secret opens: %v", err)
	}
	save(t, both, s, b)
	if _, err := sealed(t, clock, nil, secret).Current(t.Context(), b.request()); err != nil {
		t.Errorf("the first secret seals: %v", err)
	}
	if _, err := sealed(t, clock, nil, older).Current(t.Context(), b.request()); !errors.Is(err, core.ErrInvalid) {
		t.Errorf("a secret that was taken out: %v", err)
	}
	for _, secrets := range [][]string{{}, {"short"}, {secret, "short"}} {
		if _, err := session.NewSealed(session.Cookie{Name: name}, session.Life{Absolute: time.Hour}, secrets...); err == nil {
			t.Errorf("secrets %q are accepted", secrets)
		}
	}
}

func TestSessionEndsByItsIdleAndItsAbsoluteLife(t *testing.T) {
	clock := coretest.NewClock()
	store, b := sealed(t, clock, nil), newBrowser(t)
	save(t, store, signedIn(clock, 10), b)
	ends := func() string {
		_, err := store.Current(t.Context(), b.request())
		if err != nil && !errors.Is(err, core.ErrInvalid) {
			t.Fatal(err)
		}
		return fmt.Sprint(err)
	}
	clock.Advance(10*time.Minute - time.Second)
	if got := ends(); got != "<nil>" {
		t.Errorf("before the idle time is over: %s", got)
	}
	clock.Advance(time.Second)
	if got := ends(); !strings.Contains(got, "was not used since") {
		t.Errorf("after the idle time: %s", got)
	}
	b = newBrowser(t)
	save(t, store, signedIn(clock, 10), b)
	for range 7 { // it is used all the time
		clock.Advance(8 * time.Minute)
		s, err := store.Current(t.Context(), b.request())
		if err != nil {
			t.Fatal(err)
		}
		save(t, store, s.Seen(clock.Now()), b)
	}
	clock.Advance(4 * time.Minute)
	if got := ends(); !strings.Contains(got, "and is over") || strings.Contains(got, "not used") {
		t.Errorf("after the absolute time: %s", got)
	}
	early := signedIn(clock, 10)
	early.Expires = clock.Now().Add(time.Minute)
	save(t, store, early, b)
	clock.Advance(time.Minute)
	if got := ends(); got == "<nil>" {
		t.Error("a session is good after the end that its provider has set")
	}
}

func TestSessionThatIsTooLargeNamesWhatToLeaveOut(t *testing.T) {
	clock := coretest.NewClock()
	store, b := sealed(t, clock, nil), newBrowser(t)
	large := signedIn(clock, 3000)
	large.AccessToken, large.Claims = noise(4000), map[string]any{"groups": noise(500)}
	lines, err := store.Save(t.Context(), large, b.request())
	var tooLarge *session.TooLargeError
	if !errors.As(err, &tooLarge) || lines != nil {
		t.Fatalf("%v", err)
	}
	for _, part := range []string{"the access token", "4000 bytes", "the ID token", "3000 bytes", "storage: redis", fmt.Sprint(tooLarge.Limit)} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%v: does not say %q", err, part)
		}
	}
	if strings.Contains(err.Error(), large.AccessToken[:20]) {
		t.Error("the error holds a token")
	}
	wide := sealed(t, clock, func(c *session.Cookie, _ *session.Life) { c.MaxSize = session.MaxSize })
	save(t, wide, large, b)
	if _, err := wide.Current(t.Context(), b.request()); err != nil {
		t.Errorf("with a greater limit: %v", err)
	}
}

func TestCookieThatBrowsersDropIsRefused(t *testing.T) {
	life := session.Life{Absolute: time.Hour}
	for fault, c := range map[string]session.Cookie{
		"__Host- with a domain":     {Name: "__Host-a", Domain: "example.com"},
		"__Host- over plain HTTP":   {Name: "__Host-a", Insecure: true},
		"__Secure- over plain HTTP": {Name: "__Secure-a", Insecure: true},
		"SameSite=None over HTTP":   {Name: "a", Insecure: true, SameSite: "None"},
		"a name with a space":       {Name: "a b"},
		"no name":                   {},
		"more than is read":         {Name: "a", MaxSize: session.MaxSize + 1},
	} {
		if _, err := session.NewSealed(c, life, secret); err == nil {
			t.Errorf("%s: accepted", fault)
		}
	}
}

func TestCookieOfAParentDomainGoesToEverySubdomain(t *testing.T) {
	clock := coretest.NewClock()
	store := sealed(t, clock, func(c *session.Cookie, _ *session.Life) { c.Name, c.Domain = "__Secure-sso", "example.com" })
	b := newBrowser(t)
	save(t, store, signedIn(clock, 4500), b)
	b.url = &url.URL{Scheme: "https", Host: "other.example.com", Path: "/deep/page"}
	if _, err := store.Current(t.Context(), b.request()); err != nil {
		t.Errorf("another subdomain: %v", err)
	}
	b.url.Scheme = "http"
	if _, err := store.Current(t.Context(), b.request()); !errors.Is(err, core.ErrMissing) {
		t.Errorf("plain HTTP gets the cookie: %v", err)
	}
}

// Whatever a cookie holds, a session comes out of it only if it is the one that was
// sealed, and every other cookie is the same refusal.
func FuzzCookieHoldsTheSealedSessionOrNone(f *testing.F) {
	clock := coretest.NewClock()
	store, err := session.NewSealed(session.Cookie{Name: name}, session.Life{Idle: time.Hour, Absolute: time.Hour, Now: clock.Now}, secret, older)
	if err != nil {
		f.Fatal(err)
	}
	lines, err := store.Save(f.Context(), signedIn(clock, 100), nil)
	if err != nil {
		f.Fatal(err)
	}
	value, _, _ := strings.Cut(strings.TrimPrefix(lines[0].Value, name+"="), ";")
	want, err := store.Load(f.Context(), core.Credential{Place: core.SignInCookie, Value: value})
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range []string{value, value[1:], value[:len(value)-1], value + "A", value + value, "", "AAAA", strings.Repeat("A", 20000), value + "\n", strings.ToLower(value)} {
		f.Add(seed)
	}
	refusal := ""
	f.Fuzz(func(t *testing.T, cookie string) {
		got, err := store.Load(t.Context(), core.Credential{Place: core.SignInCookie, Value: cookie})
		if err == nil {
			if cookie != value || !reflect.DeepEqual(got, want) {
				t.Fatalf("a session out of %.40q", cookie)
			}
			return
		}
		if !errors.Is(err, core.ErrInvalid) || got != nil || cookie == value {
			t.Fatalf("%.40q: %v", cookie, err)
		}
		if refusal == "" {
			refusal = err.Error()
		}
		if err.Error() != refusal {
			t.Fatalf("two refusals: %q and %q", err, refusal)
		}
	})
}
