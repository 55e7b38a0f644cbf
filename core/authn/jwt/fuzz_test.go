package jwt_test

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"gatehouse/core"
	"gatehouse/core/authn/jwt"
	"gatehouse/core/coretest"
)

// offline is a verifier with a key file, and the key.
func offline(t testing.TB, clock *coretest.Clock, alg string) (*jwt.Verifier, *coretest.Key) {
	t.Helper()
	key := coretest.NewKey(t, "one", alg)
	der, err := x509.MarshalPKIXPublicKey(key.Private.Public())
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "key.pem")
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	v, err := jwt.New(jwt.Options{
		Issuers: []jwt.Issuer{{Issuer: "https://id.example.test/", JWKSFile: path, Audiences: []string{coretest.Audience}}},
		Now:     clock.Now,
	})
	if err != nil {
		t.Fatal(err)
	}
	return v, key
}

func offlineToken(t testing.TB, clock *coretest.Clock, key *coretest.Key) string {
	t.Helper()
	now := clock.Now().Unix()
	return key.Sign(t, nil, coretest.JSON(t, map[string]any{
		"iss": "https://id.example.test/", "sub": "user-1", "client_id": "web", "aud": []string{coretest.Audience},
		"iat": now, "nbf": now, "exp": now + 300, "scp": []string{"orders:read", "orders:write"}, "jti": "4c5f4ed6-8f0c-4e5e-9d4e-6f0f0c5f4ed6",
		"ext": map[string]any{"roles": []string{"editor"}, "tenant": "acme"},
	}))
}

// FuzzVerifier: the one text that is accepted is the text that was signed,
// and every other is the caller's fault.
func FuzzVerifier(f *testing.F) {
	clock := coretest.NewClock()
	v, key := offline(f, clock, "ES256")
	good := offlineToken(f, clock, key)
	parts := strings.Split(good, ".")
	for _, seed := range []string{
		good, good + "=", good + ".", "", "..", "a.b.c", parts[0] + "." + parts[1] + ".",
		coretest.Encode(`{"alg":"none"}`) + "." + parts[1] + ".",
		coretest.Encode(`{"alg":"ES256","alg":"none","typ":"JWT"}`) + "." + parts[1] + "." + parts[2],
		coretest.Encode(`{"alg":"ES256","typ":"JWT","crit":["b64"],"b64":false}`) + "." + parts[1] + "." + parts[2],
		parts[0] + "." + coretest.Encode(`{"iss":"https://id.example.test/","exp":9e99}`) + "." + parts[2],
		parts[0] + "." + parts[1] + "." + coretest.Encode(strings.Repeat("\x00", 64)),
	} {
		f.Add(seed)
	}
	signed := []string{good}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := v.AuthenticateToken(t.Context(), core.Credential{Place: core.BearerToken, Value: text})
		switch {
		case err == nil && !slices.Contains(signed, text):
			t.Fatalf("%q was accepted as %+v", text, p)
		case err != nil && slices.Contains(signed, text):
			t.Fatal(err)
		case err != nil && !errors.Is(err, core.ErrInvalid):
			t.Fatalf("%q is not the caller's fault: %v", text, err)
		case (p == nil) == (err == nil):
			t.Fatal("neither a principal nor an error, or both")
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	for _, alg := range []string{"RS256", "ES256", "EdDSA"} {
		b.Run(alg, func(b *testing.B) {
			clock := coretest.NewClock()
			v, key := offline(b, clock, alg)
			c := core.Credential{Place: core.BearerToken, Value: offlineToken(b, clock, key)}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := v.AuthenticateToken(b.Context(), c); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
