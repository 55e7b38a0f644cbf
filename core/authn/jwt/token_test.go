package jwt

import (
	"encoding/base64"
	"errors"
	"strings"
	"testing"

	"gatehouse/core"
	"gatehouse/core/authn/claims"
	"gatehouse/core/authn/jws"
)

func encode(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }

func form(text string) string {
	parsed, isJWT := parsed(core.Credential{Value: text})
	if !isJWT {
		return "opaque"
	}
	return "JWT " + parsed.issuer()
}

func TestFormOfAToken(t *testing.T) {
	header, payload := encode(`{"alg":"RS256"}`), encode(`{"iss":"me"}`)
	for text, want := range map[string]string{
		header + "." + payload + ".eA":                                 "JWT me",
		encode(`{"alg":"none"}`) + "." + payload + ".eA":               "JWT me",
		encode(`{"alg":"RS256","crit":["x"]}`) + "." + payload + ".eA": "JWT me",
		header + "." + encode(`{"iss":"me","iss":"you"}`) + ".eA":      "JWT ", // two readings: none counts
		header + "." + encode(`{"iss":["me"]}`) + ".eA":                "JWT ",
		header + "." + encode(`{"ISS":"me"}`) + ".eA":                  "JWT ",
		header + ".%%%.eA":                              "JWT ",
		header + "." + payload + ".":                    "opaque",
		header + "." + payload:                          "opaque",
		header + "." + payload + ".x.y":                 "opaque",
		encode(`{"alg":""}`) + "." + payload + ".eA":    "opaque",
		encode(`{"typ":"JWT"}`) + "." + payload + ".eA": "opaque",
		encode(`["alg"]`) + "." + payload + ".eA":       "opaque",
		"." + payload + ".eA":                           "opaque",
		"":                                              "opaque",
		header + "." + encode(strings.Repeat(" ", 20<<10)) + ".eA": "opaque",
	} {
		if got := form(text); got != want {
			t.Errorf("%.80s: %s, want %s", text, got, want)
		}
	}
}

// A token that is routed by one issuer must not be verified as another's: it is
// parsed once, and the parsed token goes along.
func TestTokenIsParsedOnce(t *testing.T) {
	v := &Verifier{issuers: map[string]*trusted{"me": {}}}
	c := core.Credential{Value: encode(`{"alg":"RS256","crit":["x"]}`) + "." + encode(`{"iss":"me"}`) + ".eA"}
	first, ok := v.Judges(c)
	if !ok {
		t.Fatal("a JWT of a known issuer is not judged")
	}
	c.Parsed = first
	if again, ok := v.Judges(c); !ok || again != first || !IsJWT(c) {
		t.Error("parsed again")
	}
	if _, err := v.AuthenticateToken(t.Context(), c); !errors.Is(err, core.ErrInvalid) || !strings.Contains(err.Error(), "crit") {
		t.Errorf("a malformed token of a known issuer: %v", err)
	}
	other := core.Credential{Value: encode(`{"alg":"RS256"}`) + "." + encode(`{"iss":"you"}`) + ".eA"}
	if parsed, ok := v.Judges(other); ok || parsed.(*token).String() != `a JWT of issuer "you"` {
		t.Errorf("a JWT of another issuer: %v", parsed)
	}
}

// FuzzFormOfAToken: an issuer is only ever seen in a JWT, and it is the one that
// the strict reader sees.
func FuzzFormOfAToken(f *testing.F) {
	jwtOf := func(issuer string) string {
		return encode(`{"alg":"RS256","typ":"JWT"}`) + "." + encode(`{"iss":"`+issuer+`"}`) + "." + encode("signature")
	}
	for _, seed := range []string{
		jwtOf("me"), jwtOf(""), "", "..", "a.b.c", "ory_at_abc.def", encode(`{"alg":1}`) + ".e30.x", jwtOf("me") + ".x",
		encode(`{"alg":"RS256"}`) + "." + encode(`{"iss":"a","iss":"b"}`) + ".x",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		parsed, isJWT := parse(text)
		if isJWT && strings.Count(text, ".") != 2 {
			t.Fatalf("%q has not three parts", text)
		}
		if !isJWT {
			return
		}
		want := ""
		if payload, err := jws.DecodePart(strings.Split(text, ".")[1]); err == nil {
			if strict, err := claims.Decode(payload); err == nil {
				want, _ = strict["iss"].(string)
			}
		}
		if got := parsed.issuer(); got != want {
			t.Fatalf("%q: issuer %q, want %q", text, got, want)
		}
	})
}
