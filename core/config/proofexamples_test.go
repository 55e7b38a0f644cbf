package config

import (
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse/core"
	"gatehouse/core/authn/claims"
	"gatehouse/core/coretest"
)

// The examples of RFC 9449 as they stand there: a token (figure 6), what its server says of
// it (figure 11), and a request with it (figure 13), made at 1562262618.
const (
	rfc9449Token    = "Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU"
	rfc9449Response = `{
  "active": true,
  "sub": "someone@example.com",
  "iss": "https://server.example.com",
  "nbf": 1562262611,
  "exp": 1562266216,
  "cnf":
  {
    "jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"
  }
}`
	rfc9449Proof = `eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6Ik\
 VDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpDa0RscEJoRjQyVVFVZldWQVdCR\
 nMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JE\
 QSIsImNydiI6IlAtMjU2In19.eyJqdGkiOiJlMWozVl9iS2ljOC1MQUVCIiwiaHRtIj\
 oiR0VUIiwiaHR1IjoiaHR0cHM6Ly9yZXNvdXJjZS5leGFtcGxlLm9yZy9wcm90ZWN0Z\
 WRyZXNvdXJjZSIsImlhdCI6MTU2MjI2MjYxOCwiYXRoIjoiZlVIeU8ycjJaM0RaNTNF\
 c05yV0JiMHhXWG9hTnk1OUlpS0NBcWtzbVFFbyJ9.2oW9RP35yRqzhrtNP86L-Ey71E\
 OptxRimPPToA1plemAgR6pxHF8y6-yqyVnmcw6Fy1dqd-jfxSYoMxhAJpLjA`
)

// unwrapped is a text without the line breaks of RFC 8792.
func unwrapped(text string) string { return strings.ReplaceAll(text, "\\\n ", "") }

// document is an example of a JSON document.
func document(t *testing.T, text string) map[string]any {
	t.Helper()
	decoded, err := claims.Decode([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return decoded
}

// exampleOf is a gate that knows one token, at the time of an example.
func exampleOf(t *testing.T, seconds int64, algorithms, response, path, more string) *core.Gate {
	t.Helper()
	server := coretest.NewFakeIntrospection(t)
	server.Know(rfc9449Token, document(t, response))
	gate, err := NewBuilder(BuilderOptions{Now: func() time.Time { return time.Unix(seconds, 0) }}).Gate(fmt.Appendf(nil, `
introspection: {introspection_endpoint: %q, insecure_any_audience: true, issuer: https://server.example.com}
permission_table: 'authenticated: [GET %s]'
%s%s
`, server.URL, path, algorithms, more))
	if err != nil {
		t.Fatal(err)
	}
	return gate
}

func exampleRequest(lines ...string) *core.Request {
	r := &core.Request{Method: "GET", Target: "/protectedresource", Host: "resource.example.org"}
	for _, line := range lines {
		name, value, _ := strings.Cut(line, ": ")
		r.Header = append(r.Header, core.Header{Name: name, Value: value})
	}
	return r
}

// challenges reads WWW-Authenticate (RFC 9110 section 11.6.1).
func challenges(t *testing.T, text string) (schemes []string, parameters map[string]map[string]string) {
	t.Helper()
	parameters = map[string]map[string]string{}
	for len(text) > 0 {
		name, rest, quoted := strings.Cut(text, `="`)
		if scheme, _, more := strings.Cut(text, ","); !quoted || more && len(scheme) < len(name) {
			schemes, text = append(schemes, scheme), strings.TrimLeft(strings.TrimPrefix(text, scheme), ", ")
			parameters[scheme] = map[string]string{}
			continue
		}
		if scheme, first, begins := strings.Cut(name, " "); begins {
			schemes, name = append(schemes, scheme), first
			parameters[scheme] = map[string]string{}
		}
		value, rest, _ := strings.Cut(rest, `"`)
		parameters[schemes[len(schemes)-1]][name] = value
		text = strings.TrimLeft(rest, ", ")
	}
	return schemes, parameters
}

// sameChallenge wants the challenges of an example, in its order and with its parameters.
// What an error_description says is left to the server, and a realm may be there.
func sameChallenge(t *testing.T, figure int, d core.Decision, want string) {
	t.Helper()
	schemes, parameters := challenges(t, headerOf(d, "WWW-Authenticate"))
	wantSchemes, wantParameters := challenges(t, unwrapped(want))
	for _, of := range []map[string]map[string]string{parameters, wantParameters} {
		for scheme := range of {
			maps.DeleteFunc(of[scheme], func(name, _ string) bool { return name == "realm" || name == "error_description" })
		}
	}
	if !slices.Equal(schemes, wantSchemes) || !maps.EqualFunc(parameters, wantParameters, maps.Equal[map[string]string, map[string]string]) {
		t.Errorf("figure %d: %s\nwant %s", figure, headerOf(d, "WWW-Authenticate"), want)
	}
}

func TestExamplesOfRFC9449AtAGate(t *testing.T) {
	const dpop, bearer = "Authorization: DPoP " + rfc9449Token, "Authorization: Bearer "
	proof := "DPoP: " + unwrapped(rfc9449Proof)
	gate := exampleOf(t, 1562262620, "dpop: {algorithms: [ES256, PS256]}", rfc9449Response, "/protectedresource", "")
	d := gate.Check(t.Context(), exampleRequest(dpop, proof))
	if d.Outcome != core.Allow || d.Principal.Subject != "someone@example.com" {
		t.Errorf("figure 13: %d, %v", d.Status, d.Cause)
	}
	if d := gate.Check(t.Context(), exampleRequest(dpop, proof)); d.Status != http.StatusUnauthorized {
		t.Errorf("figure 13, once more: %d", d.Status)
	}
	for figure, c := range map[int]struct {
		lines     []string
		status    int
		challenge string
	}{
		17: {nil, 401, `Bearer, DPoP algs="ES256 PS256"`},
		18: {[]string{bearer + "INVALID_TOKEN"}, 401, "Bearer error=\"invalid_token\", \\\n error_description=\"Invalid token\", DPoP algs=\"ES256 PS256\""},
		19: {[]string{bearer + rfc9449Token, dpop}, 400, "Bearer error=\"invalid_request\", \\\n error_description=\"Multiple methods used to include access token\", " +
			"\\\n DPoP algs=\"ES256 PS256\", error=\"invalid_request\", \\\n error_description=\"Multiple methods used to include access token\""},
	} {
		d := gate.Check(t.Context(), exampleRequest(c.lines...))
		if d.Status != c.status {
			t.Errorf("figure %d: %d, %v", figure, d.Status, d.Cause)
		}
		sameChallenge(t, figure, d, c.challenge)
	}
	thief := coretest.NewHolder(t, "ES256", func() time.Time { return time.Unix(1562262620, 0) })
	other := exampleOf(t, 1562262620, "dpop: {algorithms: [ES256]}", rfc9449Response, "/protectedresource", "")
	d = other.Check(t.Context(), exampleRequest(dpop, "DPoP: "+thief.Proof("GET", "https://resource.example.org/protectedresource", rfc9449Token, nil)))
	sameChallenge(t, 16, d, "DPoP error=\"invalid_token\", \\\n error_description=\"Invalid DPoP key binding\", algs=\"ES256\", Bearer")
	if d := other.Check(t.Context(), exampleRequest(bearer+rfc9449Token, proof)); d.Status != http.StatusUnauthorized {
		t.Errorf("section 7.2, a downgrade: %d", d.Status)
	}
	nonces := exampleOf(t, 1562262620, "dpop: {algorithms: [ES256], use_nonce: true}", rfc9449Response, "/protectedresource", "")
	d = nonces.Check(t.Context(), exampleRequest(dpop, proof))
	sameChallenge(t, 24, d, "DPoP error=\"use_dpop_nonce\", \\\n error_description=\"Resource server requires nonce in DPoP proof\", algs=\"ES256\", Bearer")
	nonce := headerOf(d, "DPoP-Nonce")
	notInNonce := func(r rune) bool { return r != 0x21 && (r < 0x23 || r > 0x5b) && (r < 0x5d || r > 0x7e) }
	if nonce == "" || strings.ContainsFunc(nonce, notInNonce) || headerOf(d, "Cache-Control") != "no-store" {
		t.Errorf("figure 22: the nonce is %q, Cache-Control %q", nonce, headerOf(d, "Cache-Control"))
	}
}

// The examples of RFC 8705: the claims of section 3.1, the response of section 3.2, and the
// certificate of appendix A with its hash.
const (
	rfc8705Claims = `{
  "iss": "https://server.example.com",
  "sub": "ty.webb@example.com",
  "exp": 1493726400,
  "nbf": 1493722800,
  "cnf":{
    "x5t#S256": "bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg2"
  }
}`
	rfc8705Response = `{
  "active": true,
  "iss": "https://server.example.com",
  "sub": "ty.webb@example.com",
  "exp": 1493726400,
  "nbf": 1493722800,
  "cnf":{
    "x5t#S256": "bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg2"
  }
}`
	rfc8705Confirmation = `{"cnf":{"x5t#S256":"A4DtL2JmUMhAsvJj5tKyn64SqzmuXbMrJa0n761y5v0"}}`
	rfc8705Certificate  = `-----BEGIN CERTIFICATE-----
MIIBBjCBrAIBAjAKBggqhkjOPQQDAjAPMQ0wCwYDVQQDDARtdGxzMB4XDTE4MTAx
ODEyMzcwOVoXDTIyMDUwMjEyMzcwOVowDzENMAsGA1UEAwwEbXRsczBZMBMGByqG
SM49AgEGCCqGSM49AwEHA0IABNcnyxwqV6hY8QnhxxzFQ03C7HKW9OylMbnQZjjJ
/Au08/coZwxS7LfA4vOLS9WuneIXhbGGWvsDSb0tH6IxLm8wCgYIKoZIzj0EAwID
SQAwRgIhAP0RC1E+vwJD/D1AGHGzuri+hlV/PpQEKTWUVeORWz83AiEA5x2eXZOV
bUlJSGQgjwD5vaUaKlLR50Q2DmFfQj1L+SY=
-----END CERTIFICATE-----`
)

func TestExamplesOfRFC8705AtAGate(t *testing.T) {
	block, _ := pem.Decode([]byte(rfc8705Certificate))
	own, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	other, err := x509.ParseCertificate(coretest.Certificate(t, "mtls").Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{rfc8705Claims, rfc8705Response} {
		set := claims.Set(document(t, text))
		if got, err := set.BoundToCertificate(); err == nil || got != "" || len(set) < 5 {
			t.Errorf("the thumbprint of section 3 is made up: its last character has bits that no SHA-256 has. Got %q for %s", got, text)
		}
	}
	bound := document(t, rfc8705Response)
	maps.Copy(bound, document(t, rfc8705Confirmation))
	text, err := json.Marshal(bound)
	if err != nil {
		t.Fatal(err)
	}
	issued := coretest.NewIssuer(t, coretest.NewClock())
	for kind, c := range map[string]struct {
		response string
		shown    []*x509.Certificate
		admitted bool
	}{
		"appendix A":                            {string(text), []*x509.Certificate{own}, true},
		"appendix A with another certificate":   {string(text), []*x509.Certificate{other}, false},
		"appendix A without a certificate":      {string(text), nil, false},
		"section 3.2 with that of the appendix": {rfc8705Response, []*x509.Certificate{own}, false},
		"section 3.2 with another certificate":  {rfc8705Response, []*x509.Certificate{other}, false},
	} {
		gate := exampleOf(t, 1493722900, "", c.response, "/protectedresource", fmt.Sprintf("\njwt: {issuers: [{issuer: %q, insecure_any_audience: true}]}", issued.URL))
		r := exampleRequest("Authorization: Bearer " + rfc9449Token)
		r.AskTLS = func() (*core.ClientTLS, error) { return &core.ClientTLS{Chain: c.shown}, nil }
		d := gate.Check(t.Context(), r)
		if (d.Outcome == core.Allow) != c.admitted || c.admitted && d.Principal.Subject != "ty.webb@example.com" {
			t.Errorf("%s: %d, %v", kind, d.Status, d.Cause)
		}
		if _, parameters := challenges(t, headerOf(d, "WWW-Authenticate")); !c.admitted && (d.Status != 401 || parameters["Bearer"]["error"] != "invalid_token") {
			t.Errorf("%s, section 3: %d %s, want 401 with invalid_token", kind, d.Status, headerOf(d, "WWW-Authenticate"))
		}
	}
}
