package jws_test

import (
	"crypto"
	"encoding/base64"
	"testing"

	"github.com/lestrrat-go/jwx/v2/jwk"

	"gatehouse/core/authn/jws"
	"gatehouse/core/coretest"
)

// The examples of RFC 7638 section 3.1, RFC 8037 appendix A.3 and RFC 9449 section 6.1.
func TestThumbprintsOfTheStandards(t *testing.T) {
	for want, text := range map[string]string{
		"NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs": `{"kty":"RSA","n":"0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw","e":"AQAB","alg":"RS256","kid":"2011-04-29"}`,
		"kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k": `{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`,
		"0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I": `{"kty":"EC","x":"l8tFrhx-34tV3hRICRDY9zCkDlpBhF42UQUfWVAWBFs","y":"9VE4jf_Ok_o64zbTTlcuNJajHmt6v9TDVrU0CdvGRDA","crv":"P-256"}`,
	} {
		key, err := jws.FromJWK([]byte(text), []string{"RS256", "ES256", "EdDSA"})
		if err != nil {
			t.Fatal(err)
		}
		if got := key.Thumbprint(); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

// Every 128th key has a coordinate that begins with a zero, which must not be left out.
func TestThumbprintIsThatOfAnotherLibrary(t *testing.T) {
	for _, alg := range []string{"ES256", "ES384", "ES512", "EdDSA"} {
		for range 300 {
			public := coretest.NewKey(t, "", alg).Private.Public()
			key, err := jws.New("", public, "", []string{alg})
			if err != nil {
				t.Fatal(err)
			}
			other, err := jwk.FromRaw(public)
			if err != nil {
				t.Fatal(err)
			}
			sum, err := other.Thumbprint(crypto.SHA256)
			if err != nil {
				t.Fatal(err)
			}
			if want := base64.RawURLEncoding.EncodeToString(sum); key.Thumbprint() != want {
				t.Fatalf("%s: got %s, want %s of %v", alg, key.Thumbprint(), want, public)
			}
		}
	}
}
