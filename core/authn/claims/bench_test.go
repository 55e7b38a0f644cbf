package claims_test

import (
	"testing"

	"gatehouse/core/authn/claims"
)

func BenchmarkDecode(b *testing.B) {
	payload := []byte(`{"aud":["https://api.example.test"],"client_id":"web","exp":1767355500,"ext":{"roles":["editor"],"tenant":"acme"},` +
		`"iat":1767355200,"iss":"https://id.example.test/","jti":"4c5f4ed6-8f0c-4e5e-9d4e-6f0f0c5f4ed6","nbf":1767355200,"scp":["orders:read","orders:write"],"sub":"user-1"}`)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := claims.Decode(payload); err != nil {
			b.Fatal(err)
		}
	}
}
