package extract

import (
	"errors"
	"strings"
	"testing"

	"gatehouse/core"
)

// everywhere looks at every place there is.
var everywhere = mustExtract(
	Place{Name: core.SessionCookie, Cookie: "ory_kratos_session"}, SessionTokenPlace, Place{Name: core.TokenCookie, Cookie: "jwt-token"},
)

func mustExtract(places ...Place) *Extractor {
	e, err := New(places...)
	if err != nil {
		panic(err)
	}
	return e
}

func headers(pairs ...string) []core.Header {
	var list []core.Header
	for i := 0; i+1 < len(pairs); i += 2 {
		list = append(list, core.Header{Name: pairs[i], Value: pairs[i+1]})
	}
	return list
}

func TestExtractFindsTheOneThatCounts(t *testing.T) {
	for name, c := range map[string]struct {
		header []core.Header
		want   core.Credential
	}{
		"bearer":                    {headers("Authorization", "Bearer abc"), core.Credential{Place: core.BearerToken, Value: "abc"}},
		"scheme in any case":        {headers("authorization", "bearer abc"), core.Credential{Place: core.BearerToken, Value: "abc"}},
		"session token":             {headers("X-Session-Token", "st"), core.Credential{Place: core.SessionToken, Value: "st"}},
		"session cookie":            {headers("Cookie", "a=1; ory_kratos_session=s; b=2"), core.Credential{Place: core.SessionCookie, Value: "s"}},
		"second cookie line":        {headers("Cookie", "a=1", "cookie", "ory_kratos_session=s"), core.Credential{Place: core.SessionCookie, Value: "s"}},
		"token cookie":              {headers("Cookie", "jwt-token=t"), core.Credential{Place: core.TokenCookie, Value: "t"}},
		"session before token":      {headers("Cookie", "jwt-token=t; ory_kratos_session=s"), core.Credential{Place: core.SessionCookie, Value: "s"}},
		"explicit beats cookie":     {headers("Cookie", "ory_kratos_session=s", "Authorization", "Bearer abc"), core.Credential{Place: core.BearerToken, Value: "abc"}},
		"white space of a header":   {headers("Authorization", " \tBearer abc\t "), core.Credential{Place: core.BearerToken, Value: "abc"}},
		"cookie twice alike":        {headers("Cookie", "ory_kratos_session=s; a=1", "Cookie", "ory_kratos_session=s"), core.Credential{Place: core.SessionCookie, Value: "s"}},
		"cookie of two values":      {headers("Cookie", "ory_kratos_session=a; ory_kratos_session=b; ory_kratos_session=a"), core.Credential{Place: core.SessionCookie, Value: "a", Others: [2]string{"b"}}},
		"cookie of three values":    {headers("Cookie", "ory_kratos_session=a; ory_kratos_session=b", "Cookie", "ory_kratos_session=c"), core.Credential{Place: core.SessionCookie, Value: "a", Others: [2]string{"b", "c"}}},
		"empty cookie and a good":   {headers("Cookie", "ory_kratos_session=; ory_kratos_session=b"), core.Credential{Place: core.SessionCookie, Value: "b"}},
		"impossible one and a good": {headers("Cookie", `ory_kratos_session="x; ory_kratos_session=b`), core.Credential{Place: core.SessionCookie, Value: "b"}},
		"session token over cookie": {headers("Cookie", "ory_kratos_session=s", "X-Session-Token", "st"), core.Credential{Place: core.SessionToken, Value: "st"}},
	} {
		got, err := everywhere.Extract(&core.Request{Header: c.header})
		c.want.Explicit = c.want.Place == core.BearerToken || c.want.Place == core.SessionToken
		if err != nil || got != c.want {
			t.Errorf("%s: got %v, %v; want %v", name, got, err, c.want)
		}
	}
}

func TestDoubtfulCredentialIsRefused(t *testing.T) {
	for attack, c := range map[string]struct {
		header []core.Header
		want   error
	}{
		"two explicit credentials":         {headers("Authorization", "Bearer a", "X-Session-Token", "b"), core.ErrBadRequest},
		"authorization repeated":           {headers("Authorization", "Bearer a", "authorization", "Bearer a"), core.ErrBadRequest},
		"session token repeated":           {headers("X-Session-Token", "a", "x-session-token", "a"), core.ErrBadRequest},
		"four values of a session cookie":  {headers("Cookie", "ory_kratos_session=a; ory_kratos_session=b; ory_kratos_session=c", "Cookie", "ory_kratos_session=d"), core.ErrInvalid},
		"two values, neither possible":     {headers("Cookie", `ory_kratos_session="a"; ory_kratos_session="b"`), core.ErrInvalid},
		"another space before the scheme":  {headers("Authorization", "\u00a0Bearer a"), core.ErrMissing},
		"another space in the credential":  {headers("Authorization", "Bearer \u2003a"), core.ErrBadRequest},
		"line feed after the credential":   {headers("Authorization", "Bearer a\n"), core.ErrBadRequest},
		"next line after the credential":   {headers("Authorization", "Bearer a\u0085"), core.ErrBadRequest},
		"vertical tab after the token":     {headers("X-Session-Token", "a\v"), core.ErrBadRequest},
		"oversized bearer":                 {headers("Authorization", "Bearer "+strings.Repeat("a", core.MaxCredential+1)), core.ErrBadRequest},
		"oversized cookie":                 {headers("Cookie", "jwt-token="+strings.Repeat("a", core.MaxCredential+1)), core.ErrInvalid},
		"empty authorization, good cookie": {headers("Authorization", "", "Cookie", "ory_kratos_session=s"), core.ErrBadRequest},
		"bearer without a token":           {headers("Authorization", "Bearer ", "Cookie", "ory_kratos_session=s"), core.ErrBadRequest},
		"list in authorization":            {headers("Authorization", "Bearer a, Bearer b"), core.ErrBadRequest},
		"control character":                {headers("X-Session-Token", "a\x01b"), core.ErrBadRequest},
		"header injection by cookie":       {headers("Cookie", "jwt-token=a\r\nX-User: root"), core.ErrInvalid},
		"other scheme, good cookie":        {headers("Authorization", "Basic dTpw", "Cookie", "ory_kratos_session=s"), core.ErrMissing},
		"underscore is not the header":     {headers("X_Session_Token", "a"), core.ErrMissing},
		"cookie name is a prefix":          {headers("Cookie", "ory_kratos_session2=a; xory_kratos_session=b"), core.ErrMissing},
		"cookie name in other case":        {headers("Cookie", "ORY_KRATOS_SESSION=a"), core.ErrMissing},
		"empty cookie":                     {headers("Cookie", "ory_kratos_session="), core.ErrMissing},
		"nothing":                          {nil, core.ErrMissing},
	} {
		got, err := everywhere.Extract(&core.Request{Header: c.header})
		if !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, %v; want %v", attack, got, err, c.want)
		}
		if got.Explicit = false; got != (core.Credential{}) {
			t.Errorf("%s: a refused credential is handed on: %v", attack, got)
		}
	}
}

// Browsers let no other host of a domain set __Host-session. A name that only
// looks like it they let anybody set, so it must not count as that cookie.
func TestCookieWithAPrefixIsNotTossed(t *testing.T) {
	e := mustExtract(Place{Name: core.SessionCookie, Cookie: "__Host-session"})
	for _, odd := range []string{"\u00a0", "\u0085", "\u2000", "\u3000", "\v", "\f", "\r", "\n"} {
		for _, name := range []string{odd + "__Host-session", "__Host-session" + odd, " " + odd + "__Host-session"} {
			if c, err := e.Extract(&core.Request{Header: headers("Cookie", "a=1; "+name+"=evil")}); !errors.Is(err, core.ErrMissing) {
				t.Errorf("%q counts: %v, %v", name, c, err)
			}
			if c, err := e.Extract(&core.Request{Header: headers("Cookie", name+"=evil; \t__Host-session =good")}); err != nil || c.Value != "good" {
				t.Errorf("%q locks the true one out: %v, %v", name, c, err)
			}
		}
	}
}

// A site on a sibling domain can set a whole cookie beside the chunks of the user's.
func TestWholeCookieDoesNotDisplaceTheOneInChunks(t *testing.T) {
	e := mustExtract(Place{Name: core.TokenCookie, Cookie: "auth", Chunked: true})
	for cookies, others := range map[string]string{
		"auth=eve; auth.0=a; auth.1=da":     "ada",
		"auth.1=da; auth.0=a; auth=eve":     "ada",
		"auth=eve; auth.0=ev; auth.1=e":     "",
		"auth=eve; auth.0=a; auth.0=b":      "",
		"auth=\"bad\"; auth.0=ev; auth.1=e": "",
	} {
		c, err := e.Extract(&core.Request{Header: headers("Cookie", cookies)})
		if err != nil || c.Value != "eve" || c.Others[0] != others {
			t.Errorf("%s: %q and %q, %v", cookies, c.Value, c.Others, err)
		}
	}
}

func TestTokenInSeveralCookies(t *testing.T) {
	e := mustExtract(Place{Name: core.TokenCookie, Cookie: "auth", Chunked: true}, Place{Name: core.SessionCookie, Cookie: "sid"})
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
		got, err := e.Extract(&core.Request{Header: headers("Cookie", c.cookies)})
		if got.Value != c.want || (err != nil) != (c.want == "") {
			t.Errorf("%s: %q, %v; want %q", name, got.Value, err, c.want)
		}
	}
	for name, held := range map[string]bool{"auth": true, "auth.0": true, "auth.17": true, "auth.": false, "auth.x": false, "authx0": false, "sid": true, "sid.0": false} {
		if e.HoldsCookie(name) != held {
			t.Errorf("%s is a credential: %v", name, !held)
		}
	}
	if _, err := e.Extract(&core.Request{Header: headers("Cookie", "auth.0="+strings.Repeat("a", core.MaxCredential)+"; auth.1=a")}); !errors.Is(err, core.ErrInvalid) {
		t.Errorf("too long in all: %v", err)
	}
}

func TestExtractLooksOnlyAtConfiguredPlaces(t *testing.T) {
	only := mustExtract()
	if c, err := only.Extract(&core.Request{Header: headers("X-Session-Token", "st", "Cookie", "jwt-token=t; =x")}); !errors.Is(err, core.ErrMissing) {
		t.Errorf("got %v, %v", c, err)
	}
}

func TestCredentialIsNotInTheError(t *testing.T) {
	const secret = "s3cr3t"
	for _, h := range [][]core.Header{
		headers("Authorization", "Bearer "+secret+"\x01"),
		headers("Authorization", secret+" x"),
		headers("Authorization", "Bearer "+secret, "Authorization", "Bearer "+secret),
		headers("Cookie", "jwt-token="+secret+"\x7f"),
	} {
		if _, err := everywhere.Extract(&core.Request{Header: h}); err == nil || strings.Contains(err.Error(), secret) {
			t.Errorf("error %v", err)
		}
	}
}

func TestCredentialInAHeaderOfItsOwn(t *testing.T) {
	e := mustExtract(
		Place{Name: "api_token", Header: "X-Api-Key"}, Place{Name: "dpop", Header: "Authorization", Scheme: "DPoP"}, Place{Name: core.TokenCookie, Cookie: "jwt-token"},
	)
	for name, c := range map[string]struct {
		header []core.Header
		want   core.Credential
		err    error
	}{
		"its own header":                  {headers("x-api-key", "k1"), core.Credential{Place: "api_token", Value: "k1"}, nil},
		"its own scheme":                  {headers("Authorization", "dpop abc"), core.Credential{Place: "dpop", Value: "abc"}, nil},
		"the other scheme":                {headers("Authorization", "Bearer abc"), core.Credential{Place: core.BearerToken, Value: "abc"}, nil},
		"it beats a cookie":               {headers("X-Api-Key", "k1", "Cookie", "jwt-token=t"), core.Credential{Place: "api_token", Value: "k1"}, nil},
		"bad one does not fall back":      {headers("X-Api-Key", "a b", "Cookie", "jwt-token=t"), core.Credential{}, core.ErrBadRequest},
		"beside another explicit one":     {headers("X-Api-Key", "k1", "Authorization", "Bearer abc"), core.Credential{}, core.ErrBadRequest},
		"repeated":                        {headers("X-Api-Key", "k1", "X-Api-Key", "k1"), core.Credential{}, core.ErrBadRequest},
		"a scheme that is not accepted":   {headers("Authorization", "Basic eDp5"), core.Credential{}, core.ErrMissing},
		"another spelling is not the key": {headers("X_Api_Key", "k1"), core.Credential{}, core.ErrMissing},
	} {
		got, err := e.Extract(&core.Request{Header: c.header})
		c.want.Explicit = !strings.HasPrefix(name, "another spelling")
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
		"a parameter and a cookie":       {{Name: "a", Parameter: "t", Cookie: "sid"}},
		"two parameters":                 {{Name: "a", Parameter: "t"}, {Name: "b", Parameter: "u"}},
	} {
		if e, err := New(places...); err == nil {
			t.Errorf("%s: %+v", name, e)
		}
	}
}
