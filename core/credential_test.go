package core

import (
	"errors"
	"strings"
	"testing"
)

// everywhere looks at every place there is.
var everywhere = mustExtract(
	Place{Name: SessionCookie, Cookie: "ory_kratos_session"}, SessionTokenPlace, Place{Name: TokenCookie, Cookie: "jwt-token"},
)

func mustExtract(places ...Place) *Extractor {
	e, err := NewExtractor(places...)
	if err != nil {
		panic(err)
	}
	return e
}

func headers(pairs ...string) []Header {
	var list []Header
	for i := 0; i+1 < len(pairs); i += 2 {
		list = append(list, Header{pairs[i], pairs[i+1]})
	}
	return list
}

func TestExtractFindsTheOneThatCounts(t *testing.T) {
	for name, c := range map[string]struct {
		header []Header
		want   Credential
	}{
		"bearer":                    {headers("Authorization", "Bearer abc"), Credential{Place: BearerToken, Value: "abc"}},
		"scheme in any case":        {headers("authorization", "bearer abc"), Credential{Place: BearerToken, Value: "abc"}},
		"session token":             {headers("X-Session-Token", "st"), Credential{Place: SessionToken, Value: "st"}},
		"session cookie":            {headers("Cookie", "a=1; ory_kratos_session=s; b=2"), Credential{Place: SessionCookie, Value: "s"}},
		"second cookie line":        {headers("Cookie", "a=1", "cookie", "ory_kratos_session=s"), Credential{Place: SessionCookie, Value: "s"}},
		"token cookie":              {headers("Cookie", "jwt-token=t"), Credential{Place: TokenCookie, Value: "t"}},
		"session before token":      {headers("Cookie", "jwt-token=t; ory_kratos_session=s"), Credential{Place: SessionCookie, Value: "s"}},
		"explicit beats cookie":     {headers("Cookie", "ory_kratos_session=s", "Authorization", "Bearer abc"), Credential{Place: BearerToken, Value: "abc"}},
		"white space of a header":   {headers("Authorization", " \tBearer abc\t "), Credential{Place: BearerToken, Value: "abc"}},
		"cookie twice alike":        {headers("Cookie", "ory_kratos_session=s; a=1", "Cookie", "ory_kratos_session=s"), Credential{Place: SessionCookie, Value: "s"}},
		"cookie of two values":      {headers("Cookie", "ory_kratos_session=a; ory_kratos_session=b; ory_kratos_session=a"), Credential{Place: SessionCookie, Value: "a", Others: [2]string{"b"}}},
		"cookie of three values":    {headers("Cookie", "ory_kratos_session=a; ory_kratos_session=b", "Cookie", "ory_kratos_session=c"), Credential{Place: SessionCookie, Value: "a", Others: [2]string{"b", "c"}}},
		"empty cookie and a good":   {headers("Cookie", "ory_kratos_session=; ory_kratos_session=b"), Credential{Place: SessionCookie, Value: "b"}},
		"impossible one and a good": {headers("Cookie", `ory_kratos_session="x; ory_kratos_session=b`), Credential{Place: SessionCookie, Value: "b"}},
		"session token over cookie": {headers("Cookie", "ory_kratos_session=s", "X-Session-Token", "st"), Credential{Place: SessionToken, Value: "st"}},
	} {
		got, err := everywhere.Extract(&Request{Header: c.header})
		if err != nil || got != c.want {
			t.Errorf("%s: got %v, %v; want %v", name, got, err, c.want)
		}
	}
}

func TestDoubtfulCredentialIsRefused(t *testing.T) {
	for attack, c := range map[string]struct {
		header []Header
		want   error
	}{
		"two explicit credentials":         {headers("Authorization", "Bearer a", "X-Session-Token", "b"), ErrBadRequest},
		"authorization repeated":           {headers("Authorization", "Bearer a", "authorization", "Bearer a"), ErrBadRequest},
		"session token repeated":           {headers("X-Session-Token", "a", "x-session-token", "a"), ErrBadRequest},
		"four values of a session cookie":  {headers("Cookie", "ory_kratos_session=a; ory_kratos_session=b; ory_kratos_session=c", "Cookie", "ory_kratos_session=d"), ErrInvalid},
		"two values, neither possible":     {headers("Cookie", `ory_kratos_session="a"; ory_kratos_session="b"`), ErrInvalid},
		"another space before the scheme":  {headers("Authorization", "\u00a0Bearer a"), ErrMissing},
		"another space in the credential":  {headers("Authorization", "Bearer \u2003a"), ErrBadRequest},
		"line feed after the credential":   {headers("Authorization", "Bearer a\n"), ErrBadRequest},
		"next line after the credential":   {headers("Authorization", "Bearer a\u0085"), ErrBadRequest},
		"vertical tab after the token":     {headers("X-Session-Token", "a\v"), ErrBadRequest},
		"oversized bearer":                 {headers("Authorization", "Bearer "+strings.Repeat("a", MaxCredential+1)), ErrBadRequest},
		"oversized cookie":                 {headers("Cookie", "jwt-token="+strings.Repeat("a", MaxCredential+1)), ErrInvalid},
		"empty authorization, good cookie": {headers("Authorization", "", "Cookie", "ory_kratos_session=s"), ErrBadRequest},
		"bearer without a token":           {headers("Authorization", "Bearer ", "Cookie", "ory_kratos_session=s"), ErrBadRequest},
		"list in authorization":            {headers("Authorization", "Bearer a, Bearer b"), ErrBadRequest},
		"control character":                {headers("X-Session-Token", "a\x01b"), ErrBadRequest},
		"header injection by cookie":       {headers("Cookie", "jwt-token=a\r\nX-User: root"), ErrInvalid},
		"other scheme, good cookie":        {headers("Authorization", "Basic dTpw", "Cookie", "ory_kratos_session=s"), ErrMissing},
		"underscore is not the header":     {headers("X_Session_Token", "a"), ErrMissing},
		"cookie name is a prefix":          {headers("Cookie", "ory_kratos_session2=a; xory_kratos_session=b"), ErrMissing},
		"cookie name in other case":        {headers("Cookie", "ORY_KRATOS_SESSION=a"), ErrMissing},
		"empty cookie":                     {headers("Cookie", "ory_kratos_session="), ErrMissing},
		"nothing":                          {nil, ErrMissing},
	} {
		got, err := everywhere.Extract(&Request{Header: c.header})
		if !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, %v; want %v", attack, got, err, c.want)
		}
		if got != (Credential{}) {
			t.Errorf("%s: a refused credential is handed on: %v", attack, got)
		}
	}
}

// Browsers let no other host of a domain set __Host-session. A name that only
// looks like it they let anybody set, so it must not count as that cookie.
func TestCookieWithAPrefixIsNotTossed(t *testing.T) {
	e := mustExtract(Place{Name: SessionCookie, Cookie: "__Host-session"})
	for _, odd := range []string{"\u00a0", "\u0085", "\u2000", "\u3000", "\v", "\f", "\r", "\n"} {
		for _, name := range []string{odd + "__Host-session", "__Host-session" + odd, " " + odd + "__Host-session"} {
			if c, err := e.Extract(&Request{Header: headers("Cookie", "a=1; "+name+"=evil")}); !errors.Is(err, ErrMissing) {
				t.Errorf("%q counts: %v, %v", name, c, err)
			}
			if c, err := e.Extract(&Request{Header: headers("Cookie", name+"=evil; \t__Host-session =good")}); err != nil || c.Value != "good" {
				t.Errorf("%q locks the true one out: %v, %v", name, c, err)
			}
		}
	}
}

// A site on a sibling domain can set a whole cookie beside the chunks of the user's.
func TestWholeCookieDoesNotDisplaceTheOneInChunks(t *testing.T) {
	e := mustExtract(Place{Name: TokenCookie, Cookie: "auth", Chunked: true})
	for cookies, others := range map[string]string{
		"auth=eve; auth.0=a; auth.1=da":     "ada",
		"auth.1=da; auth.0=a; auth=eve":     "ada",
		"auth=eve; auth.0=ev; auth.1=e":     "",
		"auth=eve; auth.0=a; auth.0=b":      "",
		"auth=\"bad\"; auth.0=ev; auth.1=e": "",
	} {
		c, err := e.Extract(&Request{Header: headers("Cookie", cookies)})
		if err != nil || c.Value != "eve" || c.Others[0] != others {
			t.Errorf("%s: %q and %q, %v", cookies, c.Value, c.Others, err)
		}
	}
}

func TestTokenInSeveralCookies(t *testing.T) {
	e := mustExtract(Place{Name: TokenCookie, Cookie: "auth", Chunked: true}, Place{Name: SessionCookie, Cookie: "sid"})
	for name, c := range map[string]struct{ cookies, want string }{
		"two chunks":             {"auth.1=b; auth.0=a", "ab"},
		"eleven chunks":          {"auth.0=0; auth.1=1; auth.2=2; auth.3=3; auth.4=4; auth.5=5; auth.6=6; auth.7=7; auth.8=8; auth.9=9; auth.10=x", "0123456789"},
		"a chunk is missing":     {"auth.0=a; auth.2=c", "a"},
		"the first is missing":   {"auth.1=b", ""},
		"the whole one is first": {"auth=w; auth.0=a", "w"},
		"a chunk twice alike":    {"auth.0=a; auth.0=a; auth.1=b", "ab"},
		"a chunk of two values":  {"auth.0=a; auth.1=b; auth.1=c", "a"},
		"chunks of another kind": {"sid.0=a", ""},
	} {
		got, err := e.Extract(&Request{Header: headers("Cookie", c.cookies)})
		if got.Value != c.want || (err != nil) != (c.want == "") {
			t.Errorf("%s: %q, %v; want %q", name, got.Value, err, c.want)
		}
	}
	for name, held := range map[string]bool{"auth": true, "auth.0": true, "auth.17": true, "auth.": false, "auth.x": false, "authx0": false, "sid": true, "sid.0": false} {
		if e.HoldsCookie(name) != held {
			t.Errorf("%s is a credential: %v", name, !held)
		}
	}
	if _, err := e.Extract(&Request{Header: headers("Cookie", "auth.0="+strings.Repeat("a", MaxCredential)+"; auth.1=a")}); !errors.Is(err, ErrInvalid) {
		t.Errorf("too long in all: %v", err)
	}
}

func TestExtractLooksOnlyAtConfiguredPlaces(t *testing.T) {
	only := mustExtract()
	if c, err := only.Extract(&Request{Header: headers("X-Session-Token", "st", "Cookie", "jwt-token=t; =x")}); !errors.Is(err, ErrMissing) {
		t.Errorf("got %v, %v", c, err)
	}
}

func TestCredentialIsNotInTheError(t *testing.T) {
	const secret = "s3cr3t"
	for _, h := range [][]Header{
		headers("Authorization", "Bearer "+secret+"\x01"),
		headers("Authorization", secret+" x"),
		headers("Authorization", "Bearer "+secret, "Authorization", "Bearer "+secret),
		headers("Cookie", "jwt-token="+secret+"\x7f"),
	} {
		if _, err := everywhere.Extract(&Request{Header: h}); err == nil || strings.Contains(err.Error(), secret) {
			t.Errorf("error %v", err)
		}
	}
}

func TestCredentialInAHeaderOfItsOwn(t *testing.T) {
	e := mustExtract(
		Place{Name: "api_token", Header: "X-Api-Key"}, Place{Name: "dpop", Header: "Authorization", Scheme: "DPoP"}, Place{Name: TokenCookie, Cookie: "jwt-token"},
	)
	for name, c := range map[string]struct {
		header []Header
		want   Credential
		err    error
	}{
		"its own header":                  {headers("x-api-key", "k1"), Credential{Place: "api_token", Value: "k1"}, nil},
		"its own scheme":                  {headers("Authorization", "dpop abc"), Credential{Place: "dpop", Value: "abc"}, nil},
		"the other scheme":                {headers("Authorization", "Bearer abc"), Credential{Place: BearerToken, Value: "abc"}, nil},
		"it beats a cookie":               {headers("X-Api-Key", "k1", "Cookie", "jwt-token=t"), Credential{Place: "api_token", Value: "k1"}, nil},
		"bad one does not fall back":      {headers("X-Api-Key", "a b", "Cookie", "jwt-token=t"), Credential{}, ErrBadRequest},
		"beside another explicit one":     {headers("X-Api-Key", "k1", "Authorization", "Bearer abc"), Credential{}, ErrBadRequest},
		"repeated":                        {headers("X-Api-Key", "k1", "X-Api-Key", "k1"), Credential{}, ErrBadRequest},
		"a scheme that is not accepted":   {headers("Authorization", "Basic eDp5"), Credential{}, ErrMissing},
		"another spelling is not the key": {headers("X_Api_Key", "k1"), Credential{}, ErrMissing},
	} {
		got, err := e.Extract(&Request{Header: c.header})
		if !errors.Is(err, c.err) || got != c.want {
			t.Errorf("%s: got %v, %v; want %v, %v", name, got, err, c.want, c.err)
		}
	}
}

func TestPlacesThatCannotBeToldApartAreRefused(t *testing.T) {
	for name, places := range map[string][]Place{
		"two cookies of one name":        {{Name: "a", Cookie: "sid"}, {Name: "b", Cookie: "sid"}},
		"a second Bearer":                {{Name: "a", Header: "authorization", Scheme: "bearer"}},
		"Authorization without a scheme": {{Name: "a", Header: "Authorization"}},
		"one header twice":               {{Name: "a", Header: "X-Key"}, {Name: "b", Header: "x-key"}},
		"one header to many upstreams":   {{Name: "a", Header: "X-Key"}, {Name: "b", Header: "X_Key"}},
		"neither a header nor a cookie":  {{Name: "a"}},
		"a header and a cookie":          {{Name: "a", Header: "X-Key", Cookie: "sid"}},
	} {
		if e, err := NewExtractor(places...); err == nil {
			t.Errorf("%s: %+v", name, e)
		}
	}
}

// A cookie is what a server or another site of the domain left in the browser. Its
// user can do nothing about a 400, while signing in again replaces it.
func TestMalformedCookieLocksNoBrowserOut(t *testing.T) {
	g, _ := testGate(t, nil)
	for _, cookies := range []string{
		`ory_kratos_session="s"`, "ory_kratos_session=a b", "ory_kratos_session=a\\b", "ory_kratos_session=a,b", "ory_kratos_session=\x7f", "ory_kratos_session=caf\xe9",
		"ory_kratos_session=a\x00b", "ory_kratos_session=" + strings.Repeat("a", MaxCredential+1), `jwt-token="t"`, "jwt-token=a\tb", "jwt-token=\u00e9",
	} {
		if d := g.Check(t.Context(), get("/private", "Cookie", cookies, "Accept", "text/html")); d.Status != 302 {
			t.Errorf("%.30q: a browser gets %d, want the login page", cookies, d.Status)
		}
		if d := g.Check(t.Context(), get("/private", "Cookie", cookies)); d.Status != 401 || !strings.Contains(header(d, "WWW-Authenticate"), `error="invalid_token"`) {
			t.Errorf("%.30q: a program gets %d %s", cookies, d.Status, header(d, "WWW-Authenticate"))
		}
	}
	if d := g.Check(t.Context(), get("/private", "Authorization", "Bearer a b", "Accept", "text/html")); d.Status != 400 {
		t.Errorf("a malformed header, which a program has sent, gets %d", d.Status)
	}
}
