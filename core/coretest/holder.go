package coretest

import (
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"maps"
	"testing"
	"time"

	"github.com/lestrrat-go/jwx/v2/jwk"
)

// Holder is a client that proves by DPoP (RFC 9449) that it holds its key.
type Holder struct {
	*Key
	// Now is the clock of the client.
	Now func() time.Time
	t   testing.TB
}

// NewHolder makes a client with a key for an algorithm.
func NewHolder(t testing.TB, alg string, now func() time.Time) *Holder {
	return &Holder{NewKey(t, "", alg), now, t}
}

// PublicJWK is the public key, as a proof brings it.
func (h *Holder) PublicJWK() map[string]any {
	public := maps.Clone(h.JWK(h.t))
	delete(public, "use")
	delete(public, "alg")
	return public
}

// Thumbprint is that of the key (RFC 7638).
func (h *Holder) Thumbprint() string {
	h.t.Helper()
	public, err := jwk.FromRaw(h.Private.Public())
	if err != nil {
		h.t.Fatal(err)
	}
	sum, err := public.Thumbprint(crypto.SHA256)
	if err != nil {
		h.t.Fatal(err)
	}
	return base64.RawURLEncoding.EncodeToString(sum)
}

// Confirmation is the claim cnf of a token that is bound to the key.
func (h *Holder) Confirmation() map[string]any { return map[string]any{"jkt": h.Thumbprint()} }

// Proof is a good proof for one request with a token, with changes to its claims; nil
// leaves one out.
func (h *Holder) Proof(method, uri, token string, changes map[string]any) string {
	return h.ProofWith(nil, method, uri, token, changes)
}

// ProofWith is Proof with changes to its header, too.
func (h *Holder) ProofWith(header map[string]any, method, uri, token string, changes map[string]any) string {
	h.t.Helper()
	sum := sha256.Sum256([]byte(token))
	payload := map[string]any{"jti": rand.Text(), "htm": method, "htu": uri, "iat": h.Now().Unix(), "ath": base64.RawURLEncoding.EncodeToString(sum[:])}
	full := map[string]any{"alg": h.Alg, "typ": "dpop+jwt", "jwk": h.PublicJWK()}
	return h.SignRaw(h.t, JSON(h.t, Merged(full, header)), JSON(h.t, Merged(payload, changes)))
}
