package signals_test

import (
	"crypto/hmac"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse/core/authn/jwt"
	"gatehouse/core/coretest"
	"gatehouse/core/revocation/receive"
	"gatehouse/core/revocation/receive/receivetest"
	"gatehouse/core/revocation/signals"
)

const (
	audience = "https://gateway.example.test/signals"
	login    = "https://id.example.test/"
	secret   = "s3cr3t-s3cr3t-s3cr3t-s3cr3t-s3cr3t"

	caep    = "https://schemas.openid.net/secevent/caep/event-type/"
	risc    = "https://schemas.openid.net/secevent/risc/event-type/"
	revoked = caep + "session-revoked"
)

type bench struct {
	*receivetest.Rig
	t           *testing.T
	clock       *coretest.Clock
	transmitter *coretest.Issuer
}

func setup(t *testing.T, change func(*signals.Options, *signals.Transmitter)) *bench {
	t.Helper()
	clock := coretest.NewClock()
	b := &bench{t: t, clock: clock, transmitter: coretest.NewIssuer(t, clock)}
	v, err := jwt.New(jwt.Options{
		Issuers: []jwt.Issuer{{Issuer: b.transmitter.URL, Audiences: []string{audience}, Types: []string{signals.Type}}},
		Client:  coretest.Client(t), Now: clock.Now,
	})
	if err != nil {
		t.Fatal(err)
	}
	o := signals.Options{Verifier: v, MaxAge: 24 * time.Hour, Now: clock.Now}
	of := signals.Transmitter{Issuer: login, Issuers: []string{login}}
	if change != nil {
		change(&o, &of)
	}
	o.Transmitters = map[string]signals.Transmitter{b.transmitter.URL: of}
	b.Rig = receivetest.New(t, receive.Options{Protocol: signals.New(o), MaxBody: signals.MaxBody, Now: clock.Now})
	return b
}

type object = map[string]any

// claims of a good token that says that a session was revoked, with changes.
func (b *bench) claims(changes object) string {
	return coretest.JSON(b.t, coretest.Merged(object{
		"iss": b.transmitter.URL, "aud": audience, "iat": b.clock.Now().Unix(), "jti": "set-1",
		"sub_id": object{"format": "iss_sub", "iss": login, "sub": "user-1"},
		"events": object{revoked: object{"event_timestamp": b.clock.Now().Unix()}},
	}, changes))
}

func (b *bench) token(changes object) string {
	return b.transmitter.Key.Sign(b.t, object{"typ": "secevent+jwt"}, b.claims(changes))
}

func (b *bench) send(token string) string {
	return receivetest.Answer(b.Post(token, "Content-Type", "application/secevent+jwt", "Accept", "application/json"))
}

// about is what a token with an event about a subject revokes, or the answer where it
// is not accepted.
func (b *bench) about(event string, payload object, subject any) string {
	b.t.Helper()
	if payload == nil {
		payload = object{}
	}
	b.clock.Advance(time.Second) // an ID of its own
	got := b.send(b.token(object{"jti": b.clock.Now().String(), "sub_id": subject, "events": object{event: payload}}))
	if got != accepted {
		return got
	}
	return strings.ReplaceAll(strings.Join(b.Take(), "; "), " at "+b.clock.Now().UTC().Format(time.RFC3339), "")
}

const accepted = "202 "

func TestWhatEventsRevoke(t *testing.T) {
	b := setup(t, nil)
	user := object{"format": "iss_sub", "iss": login, "sub": "user-1"}
	session := object{"format": "opaque", "id": "session-1"}
	subject, ofSession := `subject "user-1" of "`+login+`"`, `refuse session "session-1" of "`+login+`"`
	for _, c := range []struct {
		event   string
		payload object
		subject any
		want    string
	}{
		{revoked, nil, user, "refuse " + subject},
		{revoked, nil, object{"format": "opaque", "id": "user-1"}, "refuse " + subject + `; refuse session "user-1" of "` + login + `"`},
		{revoked, nil, object{"format": "complex", "session": session, "user": user}, ofSession},
		{revoked, nil, object{"format": "complex", "session": session}, ofSession},
		{revoked, nil, object{"format": "complex", "session": object{"format": "iss_sub", "iss": login, "sub": "session-1"}}, ofSession},
		{revoked, nil, object{"format": "complex", "session": object{"format": "jwt_id", "iss": login, "jti": "jti-1"}}, `refuse token "jti-1" of "` + login + `"`},
		{revoked, nil, object{"format": "jwt_id", "iss": login, "jti": "jti-1"}, `refuse token "jti-1" of "` + login + `"`},
		{revoked, nil, object{"format": "complex", "user": user, "device": object{"format": "opaque", "id": "phone"}}, "refuse " + subject},
		{revoked, nil, object{"format": "aliases", "identifiers": []any{object{"format": "email", "email": "a@b.test"}, user}}, "refuse " + subject},
		{risc + "sessions-revoked", nil, user, "refuse " + subject},
		{risc + "account-disabled", object{"reason": "hijacking"}, user, "refuse " + subject},
		{risc + "account-purged", nil, user, "refuse " + subject},
		{risc + "account-purged", nil, object{"format": "complex", "session": session, "user": user}, "refuse " + subject},
		{risc + "account-purged", nil, object{"format": "opaque", "id": "user-1"}, "refuse " + subject},
		{risc + "credential-compromise", object{"credential_type": "password"}, user, "refuse " + subject},
		{caep + "credential-change", object{"credential_type": "password", "change_type": "update"}, user, "verify " + subject},
		{caep + "credential-change", object{"credential_type": "fido2-roaming", "change_type": "revoke"}, user, "verify " + subject},
		{caep + "credential-change", object{"credential_type": "fido2-roaming", "change_type": "create"}, user, ""},
		{caep + "credential-change", object{"credential_type": "fido2-roaming", "change_type": 7}, user, "verify " + subject},
		{caep + "assurance-level-change", nil, user, ""},
		{risc + "account-enabled", nil, user, ""},
		{"https://schemas.openid.net/secevent/ssf/event-type/verification", object{"state": "x"}, object{"format": "opaque", "id": "stream-1"}, ""},
		{"https://schemas.openid.net/secevent/ssf/event-type/stream-updated", object{"status": "paused"}, object{"format": "opaque", "id": "stream-1"}, ""},
		{"urn:of:nobody", nil, nil, ""},
	} {
		if got := b.about(c.event, c.payload, c.subject); got != c.want {
			t.Errorf("%s about %v: %s, want %s", c.event, c.subject, got, c.want)
		}
	}
	// An event without an effect is told in the log.
	if log := b.Log(); !strings.Contains(log, "urn:of:nobody") || !strings.Contains(log, "ssf/event-type/verification") {
		t.Errorf("the log does not name the events without an effect: %s", log)
	}
}

func TestSubjectInsideTheEvent(t *testing.T) {
	b := setup(t, nil)
	for name, subject := range map[string]object{
		"as drafts have it":     {"format": "iss_sub", "iss": login, "sub": "user-1"},
		"as RISC once had it":   {"subject_type": "iss-sub", "iss": login, "sub": "user-1"},
		"opaque, of an account": {"format": "opaque", "id": "user-1"},
	} {
		if got, want := b.about(risc+"account-disabled", object{"subject": subject}, nil), `refuse subject "user-1" of "`+login+`"`; got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
	two := b.token(object{"events": object{
		risc + "account-disabled": object{"subject": object{"format": "opaque", "id": "a"}},
		risc + "account-purged":   object{"subject": object{"format": "opaque", "id": "b"}},
	}, "sub_id": nil})
	if got := b.send(two); got != accepted || len(b.Take()) != 2 {
		t.Errorf("two events: %s", got)
	}
}

// isRefused reports whether an answer is the error of RFC 8935 section 2.3.
func isRefused(answer, code string) bool {
	text, isJSON := strings.CutPrefix(answer, "400 application/json ")
	var document map[string]string
	return isJSON && json.Unmarshal([]byte(text), &document) == nil && document["err"] == code && document["description"] != ""
}

func TestEventThatNamesNobodyOrWhoIsNotTheirs(t *testing.T) {
	b := setup(t, nil)
	for name, subject := range map[string]any{
		"nobody":                        nil,
		"a text":                        "user-1",
		"a list":                        []any{object{"format": "opaque", "id": "user-1"}},
		"an empty object":               object{},
		"no format":                     object{"iss": login, "sub": "user-1"},
		"an empty sub":                  object{"format": "iss_sub", "iss": login, "sub": ""},
		"no sub":                        object{"format": "iss_sub", "iss": login},
		"a null sub":                    object{"format": "iss_sub", "iss": login, "sub": json.RawMessage("null")},
		"a sub that is a list":          object{"format": "iss_sub", "iss": login, "sub": []string{"user-1"}},
		"no iss":                        object{"format": "iss_sub", "sub": "user-1"},
		"another issuer":                object{"format": "iss_sub", "iss": "https://other.example.test/", "sub": "user-1"},
		"the transmitter itself":        object{"format": "iss_sub", "iss": b.transmitter.URL, "sub": "user-1"},
		"an empty id":                   object{"format": "opaque", "id": ""},
		"no id":                         object{"format": "opaque"},
		"email":                         object{"format": "email", "email": "ada@example.test"},
		"phone_number":                  object{"format": "phone_number", "phone_number": "+1"},
		"account":                       object{"format": "account", "uri": "acct:ada@example.test"},
		"did":                           object{"format": "did", "url": "did:example:1"},
		"complex without members":       object{"format": "complex"},
		"complex with a tenant alone":   object{"format": "complex", "tenant": object{"format": "opaque", "id": "acme"}},
		"complex with an empty user":    object{"format": "complex", "user": object{}},
		"complex with a user of others": object{"format": "complex", "user": object{"format": "iss_sub", "iss": "https://other.example.test/", "sub": "user-1"}},
		"session of another issuer":     object{"format": "complex", "session": object{"format": "iss_sub", "iss": "https://other.example.test/", "sub": "session-1"}},
		"session by email":              object{"format": "complex", "session": object{"format": "email", "email": "a@b.test"}},
		"complex in complex":            object{"format": "complex", "user": object{"format": "complex", "user": object{"format": "opaque", "id": "x"}}},
		"no aliases":                    object{"format": "aliases", "identifiers": []any{}},
		"aliases of nobody known":       object{"format": "aliases", "identifiers": []any{object{"format": "email", "email": "a@b.test"}}},
		"aliases in aliases":            object{"format": "aliases", "identifiers": []any{object{"format": "aliases", "identifiers": []any{object{"format": "opaque", "id": "x"}}}}},
		"aliases that are texts":        object{"format": "aliases", "identifiers": []any{"user-1"}},
		"seventeen aliases":             object{"format": "aliases", "identifiers": slices.Repeat([]any{object{"format": "opaque", "id": "x"}}, 17)},
	} {
		if got := b.about(revoked, nil, subject); !isRefused(got, "invalid_request") {
			t.Errorf("%s: %s", name, got)
		}
	}
	both := b.token(object{"events": object{revoked: object{"subject": object{"format": "opaque", "id": "user-2"}}}})
	if got := b.send(both); !isRefused(got, "invalid_request") {
		t.Errorf("two subjects: %s", got)
	}
	one := b.token(object{"events": object{revoked: object{}, risc + "account-disabled": object{"subject": object{"format": "opaque", "id": ""}}}, "sub_id": nil})
	if got := b.send(one); !isRefused(got, "invalid_request") {
		t.Errorf("one of two events names nobody: %s", got)
	}
	if got := b.Take(); len(got) > 0 {
		t.Errorf("published %q", got)
	}
}

func TestSubjectThatIsAnAddress(t *testing.T) {
	b := setup(t, func(_ *signals.Options, of *signals.Transmitter) { of.EmailIsSubject = true })
	if got, want := b.about(revoked, nil, object{"format": "email", "email": "ada@example.test"}), `refuse subject "ada@example.test" of "`+login+`"`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if got := b.about(revoked, nil, object{"format": "email", "email": ""}); !isRefused(got, "invalid_request") {
		t.Errorf("an empty address: %s", got)
	}
}

func TestForgedOrForeignSecurityEventTokenIsRefused(t *testing.T) {
	b := setup(t, nil)
	other := coretest.NewKey(t, "two", "RS256")
	der, err := x509.MarshalPKIXPublicKey(b.transmitter.Key.Private.Public().(*rsa.PublicKey))
	if err != nil {
		t.Fatal(err)
	}
	signed := coretest.Encode(`{"alg":"HS256","kid":"one","typ":"secevent+jwt"}`) + "." + coretest.Encode(b.claims(nil))
	mac := hmac.New(sha256.New, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
	mac.Write([]byte(signed))
	with := func(name string, value any) string { return b.token(object{name: value}) }
	typ := func(typ any) string { return b.transmitter.Key.Sign(t, object{"typ": typ}, b.claims(nil)) }
	now := b.clock.Now()
	for name, c := range map[string]struct{ token, code string }{
		"alg none":                       {coretest.Encode(`{"alg":"none","typ":"secevent+jwt"}`) + "." + coretest.Encode(b.claims(nil)) + ".AA", "invalid_request"},
		"HS256 with the public key":      {signed + "." + coretest.Encode(string(mac.Sum(nil))), "invalid_request"},
		"key of nobody":                  {other.Sign(t, object{"typ": "secevent+jwt"}, b.claims(nil)), "invalid_key"},
		"forged signature":               {other.Sign(t, object{"typ": "secevent+jwt", "kid": "one"}, b.claims(nil)), "invalid_key"},
		"issuer that is not configured":  {with("iss", "https://evil.example.test"), "invalid_issuer"},
		"issuer of the credentials":      {with("iss", login), "invalid_issuer"},
		"no issuer":                      {with("iss", nil), "invalid_issuer"},
		"another audience":               {with("aud", coretest.Audience), "invalid_audience"},
		"no audience":                    {with("aud", nil), "invalid_audience"},
		"access token":                   {b.transmitter.Token(object{"aud": audience}), "invalid_request"},
		"access token with events":       {typ("at+jwt"), "invalid_request"},
		"JWT without a type":             {typ(nil), "invalid_request"},
		"JWT":                            {typ("JWT"), "invalid_request"},
		"logout token":                   {typ("logout+jwt"), "invalid_request"},
		"no iat":                         {with("iat", nil), "invalid_request"},
		"issued in the future":           {with("iat", now.Add(time.Hour).Unix()), "invalid_request"},
		"stale":                          {with("iat", now.Add(-24*time.Hour-time.Second).Unix()), "invalid_request"},
		"expired":                        {with("exp", now.Unix()), "invalid_request"},
		"no jti":                         {with("jti", nil), "invalid_request"},
		"empty jti":                      {with("jti", ""), "invalid_request"},
		"no events":                      {with("events", nil), "invalid_request"},
		"empty events":                   {with("events", object{}), "invalid_request"},
		"events as a list":               {with("events", []string{revoked}), "invalid_request"},
		"event that is no object":        {with("events", object{revoked: true}), "invalid_request"},
		"nonce":                          {with("nonce", "n"), "invalid_request"},
		"event twice":                    {b.transmitter.Key.Sign(t, object{"typ": "secevent+jwt"}, strings.Replace(b.claims(nil), `"jti":"set-1"`, `"jti":"set-1","jti":"set-2"`, 1)), "invalid_request"},
		"no token":                       {"", "invalid_request"},
		"form":                           {"SET=" + b.token(nil), "invalid_request"},
		"several tokens":                 {b.token(nil) + "\n" + b.token(nil), "invalid_request"},
		"token with a line break behind": {b.token(nil) + "\n", "invalid_request"},
	} {
		if got := b.send(c.token); !isRefused(got, c.code) {
			t.Errorf("%s: %s, want %s", name, got, c.code)
		}
	}
	for _, kind := range []string{"application/jwt", "application/json", "text/plain", ""} {
		if got := receivetest.Answer(b.Post(b.token(nil), "Content-Type", kind)); !isRefused(got, "invalid_request") {
			t.Errorf("Content-Type %q: %s", kind, got)
		}
	}
	if d := b.Post(strings.Repeat("a", signals.MaxBody+1), "Content-Type", "application/secevent+jwt"); d.Status != 413 {
		t.Errorf("oversize: %s", receivetest.Answer(d))
	}
	if d := b.Send("GET", receivetest.Path, b.token(nil), "Content-Type", "application/secevent+jwt"); d.Status != 405 {
		t.Errorf("GET: %s", receivetest.Answer(d))
	}
	if got := b.Take(); len(got) > 0 {
		t.Errorf("published %q", got)
	}
	if got := b.send(b.token(nil)); got != accepted || len(b.Take()) != 1 {
		t.Errorf("a good token after all that: %s", got)
	}
}

func TestStreamWithoutItsSecretIsRefused(t *testing.T) {
	b := setup(t, func(o *signals.Options, _ *signals.Transmitter) {
		o.Secrets = receive.Secrets{Header: "Authorization", Values: []string{secret, ""}}
	})
	for name, header := range map[string][]string{
		"none":  nil,
		"wrong": {"Authorization", "Bearer wrong"},
		"empty": {"Authorization", "Bearer "},
	} {
		got := receivetest.Answer(b.Post(b.token(nil), append(header, "Content-Type", "application/secevent+jwt")...))
		if !isRefused(got, "authentication_failed") {
			t.Errorf("%s: %s", name, got)
		}
	}
	if got := receivetest.Answer(b.Post(b.token(nil), "Authorization", "Bearer "+secret, "Content-Type", "application/secevent+jwt")); got != accepted {
		t.Error(got)
	}
}

func TestReplayedSecurityEventTokenHasNoFurtherEffect(t *testing.T) {
	b := setup(t, nil)
	token := b.token(nil)
	at := b.clock.Now().UTC().Format(time.RFC3339)
	b.send(token)
	first := b.IDs()
	b.Take()
	if got := b.send(token); got != accepted || len(b.Take()) > 0 {
		t.Errorf("at once: %s", got)
	}
	b.clock.Advance(2 * time.Hour) // it is forgotten that it came
	if got := b.send(token); got != accepted {
		t.Errorf("later: %s", got)
	}
	if got := b.IDs(); !slices.Equal(got, first) {
		t.Errorf("the event has the id %q, then %q", first, got)
	}
	if got := b.Take(); len(got) != 1 || !strings.HasSuffix(got[0], at) {
		t.Errorf("published %q: what was issued since must pass", got)
	}
}

func TestSecurityEventThatIsNotKeptIsSentAgain(t *testing.T) {
	b := setup(t, nil)
	b.Down(true)
	token := b.token(nil)
	if got := b.send(token); got != "503" {
		t.Errorf("while nothing can be kept: %s", got)
	}
	b.Down(false)
	b.transmitter.Fail(503, "{}")
	b.clock.Advance(time.Hour)
	if got := b.send(token); got != "503" {
		t.Errorf("while the keys cannot be had: %s", got)
	}
	b.transmitter.Heal()
	b.clock.Advance(time.Minute)
	if got := b.send(token); got != accepted || len(b.Take()) != 1 {
		t.Errorf("again: %s", got)
	}
}
