package dpop_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"path"
	"strconv"
	"strings"
	"testing"

	"gatehouse/core"
	"gatehouse/core/authn/dpop"
	"gatehouse/core/coretest"
)

// FuzzProof: the one text that is accepted is the proof that was signed, and every other
// is the client's fault.
func FuzzProof(f *testing.F) {
	b := newBench(f, dpop.Options{})
	good := b.proof(nil, map[string]any{"jti": "1"})
	parts := strings.Split(good, ".")
	jwk := coretest.JSON(f, publicJWK(f, b.key))
	for _, seed := range []string{
		good, good + "=", good + ".", "", "..", rfcResourceProof, parts[0] + "." + parts[1] + ".",
		coretest.Encode(`{"typ":"dpop+jwt","alg":"none","jwk":`+jwk+`}`) + "." + parts[1] + ".",
		coretest.Encode(`{"typ":"dpop+jwt","alg":"ES256","alg":"none","jwk":`+jwk+`}`) + "." + parts[1] + "." + parts[2],
		coretest.Encode(`{"typ":"dpop+jwt","alg":"ES256","jwk":{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}}`) + "." + parts[1] + "." + parts[2],
		coretest.Encode(`{"typ":"dpop+jwt","alg":"RS256","jwk":{"kty":"RSA","n":"AQ","e":"AQAB"}}`) + "." + parts[1] + "." + parts[2],
		coretest.Encode(`{"typ":"dpop+jwt","alg":"EdDSA","jwk":{"kty":"OKP","crv":"Ed25519","x":"AA"}}`) + "." + parts[1] + "." + parts[2],
		parts[0] + "." + coretest.Encode(`{"jti":"1","iat":9e99}`) + "." + parts[2],
		parts[0] + "." + parts[1] + "." + coretest.Encode(strings.Repeat("\x00", 64)),
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		call := &core.Call{Request: get(text)}
		a, err := b.Refresh(t.Context(), call, core.Credential{Place: core.DPoPToken, Value: token})
		same := strings.Trim(text, " \t") == good
		switch {
		case err == nil && !same:
			t.Fatalf("%q was accepted", text)
		case err != nil && same:
			t.Fatal(err)
		case err != nil && !errors.Is(err, core.ErrInvalid):
			t.Fatalf("%q is not the client's fault: %v", text, err)
		case (a.Principal == nil) == (err == nil):
			t.Fatal("neither a principal nor an error, or both")
		}
	})
}

// FuzzSignedProof: whatever a holder signs, what is accepted has the claims of RFC 9449 for
// this very request, as another reader of JSON and of URLs has them, and no member of a
// private key.
func FuzzSignedProof(f *testing.F) {
	b := newBench(f, dpop.Options{})
	jwk := coretest.JSON(f, publicJWK(f, b.key))
	header := func(more string) string { return `{"typ":"dpop+jwt","alg":"ES256","jwk":` + jwk + more + `}` }
	now := b.clock.Now().Unix()
	payload := func(htm, htu string, iat any, more string) string {
		return fmt.Sprintf(`{"jti":"1","htm":%q,"htu":%q,"iat":%v,"ath":%q%s}`, htm, htu, iat, hash(token), more)
	}
	const uri = "https://api.example.test/orders"
	for _, seed := range [][2]string{
		{header(""), payload("GET", uri, now, "")},
		{header(`,"kid":"x","x5c":[],"jku":"https://evil.test"`), payload("GET", uri+"?a=b#c", now, `,"nonce":"x","exp":1,"aud":["a"]`)},
		{header(`,"alg":"none"`), payload("GET", uri, now, `,"jti":"2"`)},
		{header(`,"crit":["exp"]`), payload("GET", uri, now, `,"iat":0`)},
		{strings.Replace(header(""), `"kty"`, `"d":"AA","kty"`, 1), payload("GET", "https://API.example.test:443/a/../orders", float64(now)+0.5, "")},
		{strings.Replace(header(""), "ES256", "RS256", 1), payload("GET", "https://api.example.test/%6Frders", fmt.Sprintf("%de0", now), "")},
		{header(""), payload("get", "https://api.example.test@evil.test/orders", now-61, "")},
		{header(""), payload("GET", "https://api.example.test:0443/./orders", now+6, "")},
		{header(""), payload("GET", "//api.example.test/orders", -now, "")},
		{"{}", "{}"}, {"", ""}, {"[]", "null"},
	} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, header, payload string) {
		call := &core.Call{Request: get(b.key.SignRaw(t, header, payload))}
		_, err := b.Refresh(t.Context(), call, core.Credential{Place: core.DPoPToken, Value: token})
		if err != nil {
			if !errors.Is(err, core.ErrInvalid) {
				t.Fatalf("%q %q: %v", header, payload, err)
			}
			return
		}
		var h struct {
			Typ, Alg string
			JWK      map[string]any
		}
		var p struct {
			JTI, HTM, HTU, ATH string
			IAT                float64
		}
		if json.Unmarshal([]byte(header), &h) != nil || json.Unmarshal([]byte(payload), &p) != nil {
			t.Fatalf("%q %q is accepted and no JSON", header, payload)
		}
		u, err := url.Parse(p.HTU)
		age := float64(now) - p.IAT
		_, private := h.JWK["d"]
		switch {
		case !strings.EqualFold(h.Typ, "dpop+jwt") || h.Alg != "ES256" || private || p.JTI == "" || p.HTM != "GET" || p.ATH != hash(token) || age > 61 || age < -6:
			t.Fatalf("%q %q is accepted", header, payload)
		case err != nil || !strings.EqualFold(u.Scheme, "https") || u.User != nil || !strings.EqualFold(u.Hostname(), "api.example.test") || path.Clean("/"+u.Path) != "/orders":
			t.Fatalf("%q is accepted: %v, %v", p.HTU, u, err)
		}
		if port, err := strconv.Atoi(u.Port()); u.Port() != "" && (err != nil || port != 443) {
			t.Fatalf("%q is accepted", p.HTU)
		}
	})
}
