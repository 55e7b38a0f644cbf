package dpop_test

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"gatehouse/core"
	"gatehouse/core/authn/claims"
	"gatehouse/core/authn/dpop"
	"gatehouse/core/authn/jws"
	"gatehouse/core/coretest"
)

// The examples of RFC 9449: the proof of section 4.1, that of section 7.1 with its
// token, and the thumbprint of the key in section 6.1.
const (
	rfcTokenProof = "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6Ik" +
		"VDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpDa0RscEJoRjQyVVFVZldWQVdCR" +
		"nMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JE" +
		"QSIsImNydiI6IlAtMjU2In19.eyJqdGkiOiItQndDM0VTYzZhY2MybFRjIiwiaHRtIj" +
		"oiUE9TVCIsImh0dSI6Imh0dHBzOi8vc2VydmVyLmV4YW1wbGUuY29tL3Rva2VuIiwia" +
		"WF0IjoxNTYyMjYyNjE2fQ.2-GxA6T8lP4vfrg8v-FdWP0A0zdrj8igiMLvqRMUvwnQg" +
		"4PtFLbdLXiOSsX0x7NVY-FNyJK70nfbV37xRZT3Lg"
	rfcResourceProof = "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6Ik" +
		"VDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpDa0RscEJoRjQyVVFVZldWQVdCR" +
		"nMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JE" +
		"QSIsImNydiI6IlAtMjU2In19.eyJqdGkiOiJlMWozVl9iS2ljOC1MQUVCIiwiaHRtIj" +
		"oiR0VUIiwiaHR1IjoiaHR0cHM6Ly9yZXNvdXJjZS5leGFtcGxlLm9yZy9wcm90ZWN0Z" +
		"WRyZXNvdXJjZSIsImlhdCI6MTU2MjI2MjYxOCwiYXRoIjoiZlVIeU8ycjJaM0RaNTNF" +
		"c05yV0JiMHhXWG9hTnk1OUlpS0NBcWtzbVFFbyJ9.2oW9RP35yRqzhrtNP86L-Ey71E" +
		"OptxRimPPToA1plemAgR6pxHF8y6-yqyVnmcw6Fy1dqd-jfxSYoMxhAJpLjA"
	rfcThumbprint = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"
	rfcToken      = "Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU"
)

func TestExamplesOfRFC9449(t *testing.T) {
	for _, test := range []struct {
		text string
		want dpop.Proof
	}{
		{rfcTokenProof, dpop.Proof{Thumbprint: rfcThumbprint, ID: "-BwC3ESc6acc2lTc", Method: "POST", URI: "https://server.example.com/token", IssuedAt: time.Unix(1562262616, 0)}},
		{rfcResourceProof, dpop.Proof{
			Thumbprint: rfcThumbprint, ID: "e1j3V_bKic8-LAEB", Method: "GET", URI: "https://resource.example.org/protectedresource",
			IssuedAt: time.Unix(1562262618, 0), TokenHash: "fUHyO2r2Z3DZ53EsNrWBb0xWXoaNy59IiKCAqksmQEo",
		}},
	} {
		got, err := dpop.Parse(test.text, []string{"ES256"})
		if err != nil || *got != test.want {
			t.Errorf("got %+v, %v; want %+v", got, err, test.want)
		}
	}
}

// The request of section 7.1, two seconds after its proof was made.
func TestRequestOfRFC9449IsAdmitted(t *testing.T) {
	clock := coretest.NewClock()
	clock.Advance(time.Unix(1562262620, 0).Sub(clock.Now()))
	b := newBenchAt(t, clock, dpop.Options{Algorithms: []string{"ES256"}})
	b.tokens[rfcToken] = map[string]any{"jkt": rfcThumbprint}
	request := &core.Request{Method: "GET", Target: "/protectedresource", Host: "resource.example.org", Scheme: "https", Header: []core.Header{{Name: "DPoP", Value: rfcResourceProof}}}
	c := core.Credential{Place: core.DPoPToken, Value: rfcToken}
	if a, err := b.Authenticate(t.Context(), &core.Call{Request: request}, c); err != nil || a.Principal == nil {
		t.Error(err)
	}
	if a, err := b.Authenticate(t.Context(), &core.Call{Request: request}, c); err == nil || a.Principal != nil {
		t.Error("the same proof is admitted twice")
	}
}

// Figure 8 is a token, figure 9 what is in it: it is bound to the key of the proofs.
func TestTokenOfRFC9449IsBoundToTheKeyOfItsProofs(t *testing.T) {
	const figure8 = "eyJhbGciOiJFUzI1NiIsImtpZCI6IkJlQUxrYiJ9.eyJzdWIiOiJzb21lb25lQGV4YW1" +
		"wbGUuY29tIiwiaXNzIjoiaHR0cHM6Ly9zZXJ2ZXIuZXhhbXBsZS5jb20iLCJuYmYiOjE" +
		"1NjIyNjI2MTEsImV4cCI6MTU2MjI2NjIxNiwiY25mIjp7ImprdCI6IjBaY09DT1JaTll" +
		"5LURXcHFxMzBqWnlKR0hUTjBkMkhnbEJWM3VpZ3VBNEkifX0.3Tyo8VTcn6u_PboUmAO" +
		"YUY1kfAavomW_YwYMkmRNizLJoQzWy2fCo79Zi5yObpIzjWb5xW4OGld7ESZrh0fsrA"
	const figure9 = `{
  "sub":"someone@example.com",
  "iss":"https://server.example.com",
  "nbf":1562262611,
  "exp":1562266216,
  "cnf":
  {
    "jkt":"0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"
  }
}`
	payload, err := jws.DecodePart(strings.Split(figure8, ".")[1])
	if err != nil {
		t.Fatal(err)
	}
	got, gotErr := claims.Decode(payload)
	want, wantErr := claims.Decode([]byte(figure9))
	if gotErr != nil || wantErr != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, %v; want %v, %v", got, gotErr, want, wantErr)
	}
	if thumbprint, err := claims.Set(got).BoundTo(); err != nil || thumbprint != rfcThumbprint {
		t.Errorf("%q, %v", thumbprint, err)
	}
}
