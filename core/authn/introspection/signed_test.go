package introspection_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"gatehouse/core"
	"gatehouse/core/authn/claims"
	"gatehouse/core/authn/clientauth"
	"gatehouse/core/authn/introspection"
	"gatehouse/core/authn/jwt"
	"gatehouse/core/coretest"
)

const signedType = "application/token-introspection+jwt"

// signing is an authorization server that signs its responses (RFC 9701).
type signing struct {
	*bench
	issuer *coretest.Issuer
	// kind is the Content-Type of its response, body what it responds with.
	kind, body string
}

func newSigning(t *testing.T) *signing {
	t.Helper()
	s := &signing{kind: signedType}
	s.bench = setup(t, func(o *introspection.Options) {
		clock := coretest.NewClock()
		s.issuer = coretest.NewIssuer(t, clock)
		verifier, err := jwt.New(jwt.Options{
			Issuers: []jwt.Issuer{{Issuer: s.issuer.URL, Audiences: []string{"gate"}, Types: []string{introspection.SignedType}}}, Client: o.Client, Now: clock.Now,
		})
		if err != nil {
			t.Fatal(err)
		}
		o.Signed, o.Issuer, o.Now, o.Leeway = verifier, s.issuer.URL, clock.Now, 10*time.Second
		o.Authentication = clientauth.Options{ClientID: "gate", Secret: clientSecret}
	})
	s.clock = s.issuer.Clock
	s.server.Instead(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", s.kind)
		_, _ = w.Write([]byte(s.body))
	})
	return s
}

// claims are what a response says, with changes.
func (s *signing) claims(changes map[string]any) map[string]any {
	return coretest.Merged(map[string]any{
		"iss": s.issuer.URL, "aud": "gate", "iat": s.clock.Now().Unix(),
		"token_introspection": s.response(map[string]any{"iss": s.issuer.URL}),
	}, changes)
}

func (s *signing) sign(header, changes map[string]any) string {
	return s.issuer.Key.Sign(s.t, coretest.Merged(map[string]any{"typ": introspection.SignedType}, header), coretest.JSON(s.t, s.claims(changes)))
}

// refusesResponse wants a response to be no statement of the server: the token is neither
// good nor bad.
func (s *signing) refusesResponse(attack, want string) {
	s.t.Helper()
	p, err := s.askAgain()
	if p != nil || err == nil || errors.Is(err, core.ErrInvalid) || !strings.Contains(err.Error(), want) {
		s.t.Errorf("%s: %+v, %v; want %q", attack, p, err, want)
	}
}

func TestSignedResponseIsVerified(t *testing.T) {
	s := newSigning(t)
	s.body = s.sign(nil, nil)
	p, err := s.askAgain()
	if err != nil || p.Subject != "user-1" || p.Issuer != s.issuer.URL || p.ClientID != "web" || p.Kind != core.KindIntrospection {
		t.Fatalf("%+v, %v", p, err)
	}
	if got := s.server.LastRequest(t).Header.Get("Accept"); got != signedType {
		t.Errorf("Accept: %s", got)
	}
	s.body = s.sign(nil, map[string]any{"token_introspection": map[string]any{"active": false}})
	if _, err := s.askAgain(); !errors.Is(err, core.ErrInvalid) {
		t.Errorf("a token that is not active: %v", err)
	}
	s.body = s.sign(nil, map[string]any{"aud": []string{"other", "gate"}})
	if _, err := s.askAgain(); err != nil {
		t.Errorf("one of several audiences: %v", err)
	}
	s.kind = "Application/Token-Introspection+JWT; charset=utf-8"
	if _, err := s.askAgain(); err != nil {
		t.Errorf("a media type in another case: %v", err)
	}
}

// What a signed response has to be, each as the attack that it stops. None of them says
// anything of the token: the request gets 503, and nothing is remembered.
func TestSignedResponseThatDoesNotHold(t *testing.T) {
	s := newSigning(t)
	other := coretest.NewKey(t, "two", "RS256")
	forged := coretest.NewKey(t, "one", "ES256")
	now := s.clock.Now()
	flat := s.response(map[string]any{"iss": s.issuer.URL, "aud": "gate"})
	flat["token_introspection"] = nil
	for attack, c := range map[string]struct{ body, want string }{
		"the response for another client":        {s.sign(nil, map[string]any{"aud": "another"}), "aud"},
		"a response for nobody":                  {s.sign(nil, map[string]any{"aud": nil}), "aud"},
		"the response of another server":         {s.sign(nil, map[string]any{"iss": "https://evil.test"}), "another issuer"},
		"a response of nobody":                   {s.sign(nil, map[string]any{"iss": nil}), "no iss"},
		"signed by a key that is not published":  {other.Sign(t, map[string]any{"typ": introspection.SignedType}, coretest.JSON(t, s.claims(nil))), "key"},
		"signed by another key of the same id":   {forged.Sign(t, map[string]any{"typ": introspection.SignedType}, coretest.JSON(t, s.claims(nil))), "key"},
		"not signed":                             {coretest.Encode(`{"alg":"none","typ":"token-introspection+jwt"}`) + "." + coretest.Encode(coretest.JSON(t, s.claims(nil))) + ".", "three parts"},
		"alg none with a signature":              {s.sign(map[string]any{"alg": "none"}, nil), "alg"},
		"an algorithm that is not on the list":   {s.sign(map[string]any{"alg": "RS512"}, nil), "alg"},
		"a symmetric algorithm":                  {s.sign(map[string]any{"alg": "HS256"}, nil), "alg"},
		"an access token as a response":          {s.sign(map[string]any{"typ": "at+jwt"}, nil), "typ"},
		"a JWT that says no type":                {s.sign(map[string]any{"typ": nil}, nil), "typ"},
		"an ID token as a response":              {s.sign(map[string]any{"typ": "JWT"}, nil), "typ"},
		"claims of a token at the top":           {s.sign(nil, flat), "no object token_introspection"},
		"token_introspection that is no object":  {s.sign(nil, map[string]any{"token_introspection": "active"}), "no object token_introspection"},
		"token_introspection without active":     {s.sign(nil, map[string]any{"token_introspection": map[string]any{"sub": "ada"}}), "no boolean active"},
		"an active that is a text":               {s.sign(nil, map[string]any{"token_introspection": map[string]any{"active": "true"}}), "no boolean active"},
		"no time":                                {s.sign(nil, map[string]any{"iat": nil}), "no iat"},
		"the replay of an older response":        {s.sign(nil, map[string]any{"iat": now.Add(-71 * time.Second).Unix()}), "stale"},
		"a response from the future":             {s.sign(nil, map[string]any{"iat": now.Add(time.Hour).Unix()}), "future"},
		"a time that is a text":                  {s.sign(nil, map[string]any{"iat": "now"}), "iat"},
		"a response that has ended":              {s.sign(nil, map[string]any{"exp": now.Unix()}), "expired"},
		"an encrypted response":                  {"a.b.c.d.e", "encrypted (JWE)"},
		"critical extensions":                    {s.sign(map[string]any{"crit": []string{"x"}}, nil), "crit"},
		"a member twice":                         {s.issuer.Key.Sign(t, map[string]any{"typ": introspection.SignedType}, strings.Replace(coretest.JSON(t, s.claims(nil)), `"aud":`, `"aud":"gate","aud":`, 1)), ""},
		"nothing":                                {"", ""},
		"a response behind white space":          {" " + s.sign(nil, nil), ""},
		"two responses":                          {s.sign(nil, nil) + "\n" + s.sign(nil, nil), ""},
		"a response with another payload":        {tampered(t, s.sign(nil, nil)), "signature"},
		"plain JSON with the type of a response": {coretest.JSON(t, s.response(nil)), ""},
	} {
		s.body = c.body
		s.refusesResponse(attack, c.want)
	}
}

// tampered is a token whose payload names another subject.
func tampered(t *testing.T, token string) string {
	t.Helper()
	parts := strings.Split(token, ".")
	text, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	parts[1] = coretest.Encode(strings.ReplaceAll(string(text), "user-1", "admin-"))
	return strings.Join(parts, ".")
}

// Whoever stands between the gate and the server leaves the signature out.
func TestPlainResponseWhereSignedOnesAreAskedFor(t *testing.T) {
	s := newSigning(t)
	for _, kind := range []string{"application/json", "application/jwt", "application/at+jwt", "text/plain", ""} {
		s.kind, s.body = kind, coretest.JSON(t, s.response(map[string]any{"iss": s.issuer.URL}))
		s.refusesResponse("plain, "+kind, "introspection_signed_response_alg")
		s.body = s.sign(nil, nil)
		s.refusesResponse("signed, "+kind, "introspection_signed_response_alg")
	}
}

func TestSignedResponseWherePlainOnesAreAskedFor(t *testing.T) {
	s := newSigning(t)
	plain := setup(t, nil)
	plain.server.Instead(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", signedType)
		_, _ = w.Write([]byte(s.sign(nil, nil)))
	})
	if p, err := plain.askAgain(); p != nil || err == nil || errors.Is(err, core.ErrInvalid) {
		t.Errorf("%+v, %v", p, err)
	}
}

// A response does not name the token that it is about. Where both have a jti, that does: the
// response of one token is not taken for another one, however young it is.
func TestResponseOfAnotherTokenIsNotTakenForThisOne(t *testing.T) {
	s := newSigning(t)
	ask := func(jti any, answered any) error {
		token := s.issuer.Token(map[string]any{"jti": jti})
		s.body = s.sign(nil, map[string]any{"token_introspection": s.response(map[string]any{"iss": s.issuer.URL, "jti": answered})})
		_, err := s.auth.AuthenticateToken(t.Context(), core.Credential{Place: core.BearerToken, Value: token})
		return err
	}
	for name, c := range map[string]struct {
		jti, answered any
		good          bool
	}{
		"the same":                   {"a", "a", true},
		"another":                    {"a", "b", false},
		"the server says none":       {"a", nil, true},
		"the token has none":         {nil, "b", true},
		"the server says no text":    {"a", 1, false},
		"the token has one, no text": {1, "b", true},
	} {
		if err := ask(c.jti, c.answered); (err == nil) != c.good || errors.Is(err, core.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A signed response goes to a resource server, which may send it elsewhere: it is no
// credential, whatever types are accepted.
func TestSignedResponseIsNoAccessToken(t *testing.T) {
	s := newSigning(t)
	text := s.sign(nil, map[string]any{"sub": "ada", "exp": s.clock.Now().Add(time.Hour).Unix()})
	for _, types := range [][]string{nil, {"JWT", "at+jwt", "", introspection.SignedType}} {
		v, err := jwt.New(jwt.Options{Issuers: []jwt.Issuer{{Issuer: s.issuer.URL, Audiences: []string{"gate"}, Types: types}}, Client: coretest.Client(t), Now: s.clock.Now})
		if err != nil {
			t.Fatal(err)
		}
		if p, err := v.AuthenticateToken(t.Context(), core.Credential{Place: core.BearerToken, Value: text}); !errors.Is(err, core.ErrInvalid) {
			t.Errorf("%q: %+v, %v", types, p, err)
		}
	}
	if err := claims.Set(s.claims(nil)).CheckKind(claims.Unmarked, true); err == nil {
		t.Error("its claims are those of a token")
	}
}

// The examples of RFC 9701: the request of section 4, and the response of section 5, with
// header and claims as they stand there, signed by a key of the test.
func TestExampleOfRFC9701(t *testing.T) {
	const header = `{"typ":"token-introspection+jwt","alg":"RS256","kid":"wG6D"}`
	const payload = `{
		"iss":"https://as.example.com/",
		"aud":"https://rs.example.com/resource",
		"iat":1514797892,
		"token_introspection":
			{
			 "active":true,
			 "iss":"https://as.example.com/",
			 "aud":"https://rs.example.com/resource",
			 "iat":1514797822,
			 "exp":1514797942,
			 "client_id":"paiB2goo0a",
			 "scope":"read write dolphin",
			 "sub":"Z5O3upPC88QrAjx00dis",
			 "birthdate":"1982-02-01",
			 "given_name":"John",
			 "family_name":"Doe",
			 "jti":"t1FoCCaZd4Xv4ORJUWVUeTZfsKhW30CQCrWDDjwXy6w"
			}
		}`
	key := coretest.NewKey(t, "wG6D", "RS256")
	server := coretest.NewServer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != "POST" || r.Header.Get("Accept") != signedType || r.Header.Get("Content-Type") != "application/x-www-form-urlencoded" || r.PostFormValue("token") != "2YotnFZFEjr1zCsicMWpAA" {
			t.Errorf("the request is %s with %v and %v", r.Method, r.Header, r.PostForm)
		}
		w.Header().Set("Content-Type", signedType)
		_, _ = w.Write([]byte(key.SignRaw(t, header, payload)))
	}))
	for seconds, good := range map[int64]bool{1514797892: true, 1514797941: true, 1514797942: false, 1514797800: false} {
		now := func() time.Time { return time.Unix(seconds, 0) }
		jwks, err := json.Marshal(map[string]any{"keys": []any{key.JWK(t)}})
		if err != nil {
			t.Fatal(err)
		}
		verifier, err := jwt.New(jwt.Options{
			Issuers: []jwt.Issuer{{Issuer: "https://as.example.com/", JWKS: jwks, Audiences: []string{"https://rs.example.com/resource"}, Types: []string{introspection.SignedType}}}, Now: now,
		})
		if err != nil {
			t.Fatal(err)
		}
		auth, err := introspection.New(introspection.Options{
			URL: server.URL, Client: coretest.Client(t), Issuer: "https://as.example.com/", Audiences: []string{"https://rs.example.com/resource"}, Signed: verifier, Now: now,
		})
		if err != nil {
			t.Fatal(err)
		}
		p, err := auth.AuthenticateToken(t.Context(), core.Credential{Place: core.BearerToken, Value: "2YotnFZFEjr1zCsicMWpAA"})
		if (err == nil) != good || good && (p.Subject != "Z5O3upPC88QrAjx00dis" || p.ClientID != "paiB2goo0a" || strings.Join(p.Scopes, " ") != "read write dolphin") {
			t.Errorf("at %d: %+v, %v", seconds, p, err)
		}
	}
}

// Whatever a server responds with, a principal comes of what it has signed for this client
// alone, and a response that does not hold never calls a token bad.
func FuzzSignedResponse(f *testing.F) {
	f.Add("", `{}`, signedType)
	f.Add(`{"alg":"RS256","typ":"token-introspection+jwt","kid":"one"}`, `{"aud":"gate"}`, signedType)
	f.Add(`{"alg":"none","typ":"token-introspection+jwt"}`, `{"iss":"https://as.test","aud":"gate","iat":1,"token_introspection":{"active":true,"sub":"a","exp":9999999999}}`, signedType)
	f.Add(`{"alg":"RS256","typ":"at+jwt"}`, `{"iss":"https://as.test","aud":["gate"],"iat":1514797892,"token_introspection":{"active":true}}`, "application/json")
	clock := coretest.NewClock()
	key := coretest.NewKey(f, "one", "ES256")
	var kind, body string
	server := coretest.NewServer(f, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", kind)
		_, _ = w.Write([]byte(body))
	}))
	jwks, err := json.Marshal(map[string]any{"keys": []any{key.JWK(f)}})
	if err != nil {
		f.Fatal(err)
	}
	verifier, err := jwt.New(jwt.Options{Issuers: []jwt.Issuer{{Issuer: "https://as.test", JWKS: jwks, Audiences: []string{"gate"}, Types: []string{introspection.SignedType}}}, Now: clock.Now})
	if err != nil {
		f.Fatal(err)
	}
	auth, err := introspection.New(introspection.Options{URL: server.URL, Client: coretest.Client(f), Signed: verifier, Now: clock.Now})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, header, payload, contentType string) {
		if strings.ContainsAny(contentType, "\r\n") {
			return
		}
		kind, body = contentType, key.SignRaw(t, header, payload)
		p, err := auth.AuthenticateToken(t.Context(), core.Credential{Place: core.BearerToken, Value: "t"})
		set, decodeErr := claims.Decode([]byte(payload))
		inner, _ := set["token_introspection"].(map[string]any)
		head, _ := claims.Decode([]byte(header))
		said := decodeErr == nil && set["iss"] == "https://as.test" && set["iat"] != nil && inner != nil && strings.HasPrefix(strings.ToLower(contentType), signedType)
		typ, _ := head["typ"].(string)
		said = said && strings.TrimPrefix(strings.ToLower(typ), "application/") == introspection.SignedType
		if (err == nil || errors.Is(err, core.ErrInvalid)) && !said {
			t.Errorf("%s %s: %+v, %v", header, payload, p, err)
		}
		if err == nil && inner["active"] != true {
			t.Errorf("%s: %+v", payload, p)
		}
	})
}
