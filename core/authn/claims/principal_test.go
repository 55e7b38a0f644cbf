package claims_test

import (
	"encoding/json"
	"testing"
	"time"

	"gatehouse/core"
	"gatehouse/core/authn/claims"
)

// A revocation names a credential by these.
func TestCredentialIsNamedByItsIDItsSessionAndItsTime(t *testing.T) {
	for document, want := range map[string]core.Principal{
		`{"sub":"a","jti":"j","sid":"s","iat":1767355200}`:         {ID: "j", SessionID: "s", IssuedAt: time.Unix(1767355200, 0)},
		`{"sub":"a","jti":12345678901234567890,"sid":7}`:           {ID: "12345678901234567890", SessionID: "7"},
		`{"sub":"a","ext":{"sid":"s"}}`:                            {SessionID: "s"},
		`{"sub":"a","sid":"own","ext":{"sid":"s"}}`:                {SessionID: "own"},
		`{"sub":"a","jti":["j"],"sid":{"s":1},"iat":"2026-01-01"}`: {},
		`{"sub":"a","jti":null,"sid":true,"ext":"sid"}`:            {},
		`{"sub":"a"}`: {},
	} {
		set, err := claims.Decode([]byte(document))
		if err != nil {
			t.Fatal(err)
		}
		var p core.Principal
		if err := claims.Set(set).Principal(claims.Paths{}.WithDefaults(), &p); err != nil {
			t.Fatal(err)
		}
		if p.ID != want.ID || p.SessionID != want.SessionID || !p.IssuedAt.Equal(want.IssuedAt) {
			got, _ := json.Marshal(p)
			t.Errorf("%s: %s", document, got)
		}
	}
}
