package backchannel_test

import (
	"crypto/hmac"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"maps"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse/core/authn/jwt"
	"gatehouse/core/coretest"
	"gatehouse/core/revocation/backchannel"
	"gatehouse/core/revocation/receive"
	"gatehouse/core/revocation/receive/receivetest"
)

const logout = "http://schemas.openid.net/event/backchannel-logout"

type bench struct {
	*receivetest.Rig
	t             *testing.T
	clock         *coretest.Clock
	issuer, other *coretest.Issuer
	protocol      *backchannel.Protocol
}

func setup(t *testing.T, bySubject bool) *bench {
	t.Helper()
	clock := coretest.NewClock()
	b := &bench{t: t, clock: clock, issuer: coretest.NewIssuer(t, clock), other: coretest.NewIssuer(t, clock)}
	b.other.Key = coretest.NewKey(t, "two", "RS256")
	b.other.Publish(b.other.Key)
	issuer := func(i *coretest.Issuer) jwt.Issuer {
		return jwt.Issuer{Issuer: i.URL, Audiences: []string{"web"}, Types: backchannel.Types()}
	}
	v, err := jwt.New(jwt.Options{Issuers: []jwt.Issuer{issuer(b.issuer), issuer(b.other)}, Client: coretest.Client(t), Now: clock.Now})
	if err != nil {
		t.Fatal(err)
	}
	b.protocol = backchannel.New(backchannel.Options{Verifier: v, BySubject: map[string]bool{b.issuer.URL: bySubject}, MaxAge: 5 * time.Minute, Now: clock.Now})
	b.Rig = receivetest.New(t, receive.Options{Protocol: b.protocol, MaxBody: backchannel.MaxBody, Now: clock.Now})
	return b
}

// claims are those of a good logout token, with changes.
func (b *bench) claims(changes map[string]any) string {
	now := b.clock.Now()
	return coretest.JSON(b.t, coretest.Merged(map[string]any{
		"iss": b.issuer.URL, "aud": []string{"web"}, "iat": now.Unix(), "exp": now.Add(2 * time.Minute).Unix(), "jti": "logout-1",
		"sub": "user-1", "sid": "session-1", "events": map[string]any{logout: map[string]any{}},
	}, changes))
}

func (b *bench) token(header, changes map[string]any) string {
	return b.issuer.Key.Sign(b.t, coretest.Merged(map[string]any{"typ": "logout+jwt"}, header), b.claims(changes))
}

func (b *bench) send(token string) string {
	return receivetest.Answer(b.Post("logout_token="+url.QueryEscape(token), "Content-Type", "application/x-www-form-urlencoded"))
}

const (
	accepted  = "200 "
	noRequest = `400 application/json {"error":"invalid_request","error_description":"The request is not a logout request."}`
	noToken   = `400 application/json {"error":"invalid_request","error_description":"The logout token does not hold."}`
)

func TestLogoutEndsTheSessionThatTheTokenNames(t *testing.T) {
	b := setup(t, false)
	at := " at " + b.clock.Now().UTC().Format(time.RFC3339)
	for name, c := range map[string]struct {
		changes map[string]any
		want    string
	}{
		"a session and its subject": {nil, `refuse session "session-1"`},
		"a session":                 {map[string]any{"sub": nil}, `refuse session "session-1"`},
		"a subject":                 {map[string]any{"sid": nil}, `refuse subject "user-1"`},
		"without exp, as of Hydra":  {map[string]any{"exp": nil}, `refuse session "session-1"`},
	} {
		changes := map[string]any{"jti": name}
		maps.Copy(changes, c.changes)
		if got := b.send(b.token(nil, changes)); got != accepted {
			t.Errorf("%s: %s\n%s", name, got, b.Log())
		}
		if got, want := b.Take(), []string{c.want + ` of "` + b.issuer.URL + `"` + at}; !slices.Equal(got, want) {
			t.Errorf("%s: published %q, want %q", name, got, want)
		}
	}
	for _, typ := range []any{"JWT", nil, "application/logout+jwt"} {
		if got := b.send(b.token(map[string]any{"typ": typ}, map[string]any{"jti": coretest.JSON(t, typ)})); got != accepted {
			t.Errorf("typ %v: %s", typ, got)
		}
	}
}

func TestLogoutOfASubjectWhereAccessTokensNameNoSession(t *testing.T) {
	b := setup(t, true)
	if got := b.send(b.token(nil, nil)); got != accepted {
		t.Fatal(got)
	}
	if got := b.Take(); len(got) != 1 || !strings.HasPrefix(got[0], `refuse subject "user-1"`) {
		t.Errorf("published %q", got)
	}
}

func TestForgedOrForeignLogoutTokenIsRefused(t *testing.T) {
	b := setup(t, false)
	hs256 := func(secret []byte) string {
		signed := coretest.Encode(`{"alg":"HS256","kid":"one","typ":"logout+jwt"}`) + "." + coretest.Encode(b.claims(nil))
		mac := hmac.New(sha256.New, secret)
		mac.Write([]byte(signed))
		return signed + "." + coretest.Encode(string(mac.Sum(nil)))
	}
	der, err := x509.MarshalPKIXPublicKey(b.issuer.Key.Private.Public().(*rsa.PublicKey))
	if err != nil {
		t.Fatal(err)
	}
	now := b.clock.Now()
	change := func(name string, value any) string { return b.token(nil, map[string]any{name: value}) }
	for name, token := range map[string]string{
		"alg none":                         coretest.Encode(`{"alg":"none","typ":"logout+jwt"}`) + "." + coretest.Encode(b.claims(nil)) + ".AA",
		"alg none without a signature":     coretest.Encode(`{"alg":"none","typ":"logout+jwt"}`) + "." + coretest.Encode(b.claims(nil)) + ".",
		"HS256 with the public key":        hs256(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})),
		"HS256 with the public key as DER": hs256(der),
		"key of another issuer":            b.other.Key.Sign(t, map[string]any{"typ": "logout+jwt"}, b.claims(nil)),
		"key of another issuer by its kid": b.other.Key.Sign(t, map[string]any{"typ": "logout+jwt", "kid": "one"}, b.claims(nil)),
		"issuer that is not configured":    change("iss", "https://evil.example.test"),
		"issuer without":                   change("iss", nil),
		"audience of another client":       change("aud", []string{"app"}),
		"audience without":                 change("aud", nil),
		"audience empty":                   change("aud", []string{}),
		"ID token":                         b.issuer.Token(map[string]any{"aud": "web", "nonce": "n", "sid": "session-1"}),
		"ID token without a nonce":         b.issuer.Token(map[string]any{"aud": "web", "sid": "session-1"}),
		"access token":                     b.issuer.Key.Sign(t, map[string]any{"typ": "at+jwt"}, b.claims(nil)),
		"security event token":             b.issuer.Key.Sign(t, map[string]any{"typ": "secevent+jwt"}, b.claims(nil)),
		"nonce":                            change("nonce", "n"),
		"nonce null":                       b.issuer.Key.Sign(t, nil, strings.TrimSuffix(b.claims(nil), "}")+`,"nonce":null}`),
		"no event":                         change("events", nil),
		"another event":                    change("events", map[string]any{"https://example.test/event": map[string]any{}}),
		"event that is a text":             change("events", map[string]any{logout: ""}),
		"event that is null":               b.issuer.Key.Sign(t, nil, strings.Replace(b.claims(nil), `":{}}`, `":null}`, 1)),
		"events as a list":                 change("events", []string{logout}),
		"names nobody":                     b.token(nil, map[string]any{"sub": nil, "sid": nil}),
		"empty sub":                        b.token(nil, map[string]any{"sub": "", "sid": nil}),
		"empty sid":                        b.token(nil, map[string]any{"sid": ""}),
		"empty sid without sub":            b.token(nil, map[string]any{"sid": "", "sub": nil}),
		"null sub":                         b.issuer.Key.Sign(t, nil, strings.Replace(b.claims(nil), `"sub":"user-1"`, `"sub":null`, 1)),
		"sub that is a number":             change("sub", 7),
		"sub that is a list":               change("sub", []string{"user-1"}),
		"sid that is a wildcard object":    change("sid", map[string]any{"*": true}),
		"no jti":                           change("jti", nil),
		"empty jti":                        change("jti", ""),
		"jti that is a number":             change("jti", 1),
		"no iat":                           change("iat", nil),
		"stale":                            b.token(nil, map[string]any{"iat": now.Add(-5*time.Minute - time.Second).Unix(), "exp": nil}),
		"stale with a long exp":            b.token(nil, map[string]any{"iat": now.Add(-time.Hour).Unix(), "exp": now.Add(time.Hour).Unix()}),
		"expired":                          change("exp", now.Unix()),
		"issued in the future":             change("iat", now.Add(time.Hour).Unix()),
		"iat that is a text":               change("iat", "now"),
		"a member twice":                   b.issuer.Key.Sign(t, nil, strings.Replace(b.claims(nil), `"sid":"session-1"`, `"sid":"session-1","sid":"session-2"`, 1)),
		"a header member twice":            b.issuer.Key.SignRaw(t, `{"alg":"RS256","kid":"one","alg":"none"}`, b.claims(nil)),
		"crit":                             b.token(map[string]any{"crit": []string{"x"}, "x": 1}, nil),
		"no token":                         "x",
		"oversize token":                   strings.Repeat("a", 17<<10),
	} {
		if got := b.send(token); got != noToken {
			t.Errorf("%s: %s", name, got)
		}
	}
	if got := b.Take(); len(got) > 0 {
		t.Errorf("published %q", got)
	}
	if log := b.Log(); strings.Contains(log, coretest.Encode(b.claims(nil))) {
		t.Errorf("the log holds a token: %s", log)
	}
	if got := b.send(b.token(nil, nil)); got != accepted {
		t.Errorf("a good token after all that: %s", got)
	}
}

func TestLogoutRequestThatIsNoForm(t *testing.T) {
	b := setup(t, false)
	good := b.token(nil, nil)
	form := []string{"Content-Type", "application/x-www-form-urlencoded"}
	for name, c := range map[string]struct {
		target, body string
		header       []string
	}{
		"JSON":                  {receivetest.Path, `{"logout_token":"` + good + `"}`, []string{"Content-Type", "application/json"}},
		"no Content-Type":       {receivetest.Path, "logout_token=" + good, nil},
		"two Content-Types":     {receivetest.Path, "logout_token=" + good, append(form, form...)},
		"multipart":             {receivetest.Path, "logout_token=" + good, []string{"Content-Type", "multipart/form-data; boundary=x"}},
		"compressed":            {receivetest.Path, "logout_token=" + good, append(form, "Content-Encoding", "gzip")},
		"token in the query":    {receivetest.Path + "?logout_token=" + good, "", form},
		"two tokens":            {receivetest.Path, "logout_token=" + good + "&logout_token=" + good, form},
		"a token and an escape": {receivetest.Path, "logout_token=" + good + "&a=%zz", form},
		"no token":              {receivetest.Path, "token=" + good, form},
		"nothing":               {receivetest.Path, "", form},
	} {
		if got := receivetest.Answer(b.Send("POST", c.target, c.body, c.header...)); got != noRequest {
			t.Errorf("%s: %s", name, got)
		}
	}
	for _, method := range []string{"GET", "HEAD", "PUT", "DELETE", "OPTIONS", "post"} {
		if d := b.Send(method, receivetest.Path+"?logout_token="+good, "logout_token="+good, form...); d.Status != 405 {
			t.Errorf("%s: %s", method, receivetest.Answer(d))
		}
	}
	if d := b.Post("logout_token="+strings.Repeat("a", backchannel.MaxBody), form...); d.Status != 413 {
		t.Errorf("oversize: %s", receivetest.Answer(d))
	}
	if got := b.Take(); len(got) > 0 {
		t.Errorf("published %q", got)
	}
	if got := receivetest.Answer(b.Post("a=b&logout_token="+good+"&logout_hint=c", "content-type", "application/x-www-form-urlencoded; charset=utf-8")); got != accepted {
		t.Errorf("further parameters, which are ignored: %s", got)
	}
}

// A captured token that is sent again must not end the sessions that began since.
func TestReplayedLogoutTokenHasNoFurtherEffect(t *testing.T) {
	b := setup(t, false)
	token := b.token(nil, map[string]any{"sid": nil})
	b.send(token)
	first := b.IDs()
	want := b.Take()
	b.clock.Advance(time.Minute)
	for range 3 {
		if got := b.send(token); got != accepted {
			t.Errorf("a sender that did not get the response: %s", got)
		}
	}
	if got := b.Take(); len(got) > 0 {
		t.Errorf("published again: %q", got)
	}
	// A node that has not seen the token makes the very same event.
	other := receivetest.New(t, receive.Options{Protocol: b.protocol, MaxBody: backchannel.MaxBody, Now: b.clock.Now})
	other.Post("logout_token="+token, "Content-Type", "application/x-www-form-urlencoded")
	if got := other.IDs(); !slices.Equal(got, first) {
		t.Errorf("the event has the id %q on one node and %q on another", first, got)
	}
	if got := other.Take(); !slices.Equal(got, want) {
		t.Errorf("published %q on one node and %q on another", want, got)
	}
	b.clock.Advance(4*time.Minute + time.Second)
	if got := b.send(token); got != noToken {
		t.Errorf("once it is stale: %s", got)
	}
}

// One jti of two issuers, or of another token, is not a replay.
func TestJTIOfAnotherIssuerIsNoReplay(t *testing.T) {
	b := setup(t, false)
	b.send(b.token(nil, nil))
	b.Take()
	foreign := b.other.Key.Sign(t, map[string]any{"typ": "logout+jwt"}, b.claims(map[string]any{"iss": b.other.URL}))
	if got := b.send(foreign); got != accepted {
		t.Fatal(got)
	}
	if got := b.Take(); len(got) != 1 || !strings.Contains(got[0], b.other.URL) {
		t.Errorf("published %q, want the session of the other issuer alone", got)
	}
}

func TestLogoutThatIsNotKeptIsSentAgain(t *testing.T) {
	b := setup(t, false)
	b.Down(true)
	token := b.token(nil, nil)
	if got := b.send(token); got != "503" {
		t.Errorf("while nothing can be kept: %s", got)
	}
	b.Down(false)
	if got := b.send(token); got != accepted || len(b.Take()) != 1 {
		t.Errorf("again: %s", got)
	}
}

func TestLogoutWhileTheKeysCannotBeHadIsSentAgain(t *testing.T) {
	b := setup(t, false)
	b.issuer.Fail(503, "{}")
	token := b.token(nil, nil)
	if got := b.send(token); got != "503" {
		t.Errorf("while the provider is down: %s", got)
	}
	b.issuer.Heal()
	b.clock.Advance(2 * time.Second)
	if got := b.send(token); got != accepted {
		t.Errorf("afterwards: %s", got)
	}
}
