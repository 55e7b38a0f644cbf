// Package upstreamtokentest is what tests of tokens for services share.
package upstreamtokentest

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/lestrrat-go/jwx/v2/jwk"
	"github.com/lestrrat-go/jwx/v2/jwt"

	"gatehouse/core/upstreamtoken/signing"
)

// Issuer and Audience are those of the tokens.
const (
	Issuer   = "https://gateway.test/gatehouse"
	Audience = "orders"
)

// Section makes a file with a key, and the section upstream_token that signs with it.
// The claim note is copied.
func Section(t *testing.T, path string) (keys *signing.Set, section map[string]any) {
	t.Helper()
	k, err := signing.Generate("ES256", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if keys, err = signing.NewSet(k); err != nil {
		t.Fatal(err)
	}
	text, err := keys.Private()
	if err == nil {
		err = os.WriteFile(path, text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	return keys, map[string]any{
		"issuer": Issuer, "audience": []any{Audience}, "keys": []any{"$file://" + path}, "claims": map[string]any{"note": "note"},
	}
}

// Check wants one line with a token of a subject, or none where there is no subject.
func Check(t *testing.T, what string, keys *signing.Set, lines []string, subject string) {
	t.Helper()
	if subject == "" {
		if len(lines) > 0 {
			t.Errorf("%s: the upstream received %q", what, lines)
		}
		return
	}
	published, err := jwk.Parse(keys.JWKS(time.Now()))
	if err != nil {
		t.Fatal(err)
	}
	if len(lines) != 1 {
		t.Errorf("%s: %d lines with a token", what, len(lines))
		return
	}
	text, bearer := strings.CutPrefix(lines[0], "Bearer ")
	token, err := jwt.ParseString(text, jwt.WithKeySet(published), jwt.WithIssuer(Issuer), jwt.WithAudience(Audience), jwt.WithValidate(true), jwt.WithAcceptableSkew(5*time.Second))
	if err != nil || !bearer || token.Subject() != subject {
		t.Errorf("%s: %.60q, %v, %v", what, lines[0], token, err)
	}
}
