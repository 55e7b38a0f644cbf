package coretest

import (
	"encoding/json"
	"net/http"
	"sync"
	"testing"
	"time"
)

// Audience is whom the tokens of an Issuer are for.
const Audience = "https://api.example.test"

// Issuer is an OpenID Connect issuer with a discovery document and a JWKS that
// is answered with Cache-Control: no-store, as Ory Hydra does. It signs what a
// test asks for.
type Issuer struct {
	*Server
	// Clock dates the tokens.
	Clock *Clock
	// Key signs the tokens and is the first one in the JWKS.
	Key *Key

	t    testing.TB
	mu   sync.Mutex
	jwks []map[string]any
	// discovery holds changes to the discovery document.
	discovery map[string]any
}

// Paths of an Issuer.
const (
	DiscoveryPath      = "/.well-known/openid-configuration"
	OAuthDiscoveryPath = "/.well-known/oauth-authorization-server"
	JWKSPath           = "/jwks.json"
)

// NewIssuer starts an issuer with one key, of id "one", for RS256.
func NewIssuer(t testing.TB, clock *Clock) *Issuer {
	i := &Issuer{t: t, Clock: clock, discovery: map[string]any{}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+DiscoveryPath, i.serveDiscovery)
	mux.HandleFunc("GET "+JWKSPath, i.serveJWKS)
	i.Server = NewServer(t, mux)
	i.Key = NewKey(t, "one", "RS256")
	i.Publish(i.Key)
	return i
}

// Publish makes these the only keys in the JWKS.
func (i *Issuer) Publish(keys ...*Key) {
	members := make([]map[string]any, 0, len(keys))
	for _, k := range keys {
		members = append(members, k.JWK(i.t))
	}
	i.PublishRaw(members...)
}

// PublishRaw makes these the only members of the JWKS, keys or not.
func (i *Issuer) PublishRaw(members ...map[string]any) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.jwks = members
}

// Discovery changes a member of the discovery document; nil removes it.
func (i *Issuer) Discovery(name string, value any) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.discovery[name] = value
}

func (i *Issuer) serveDiscovery(w http.ResponseWriter, _ *http.Request) {
	i.mu.Lock()
	document := Merged(map[string]any{"issuer": i.URL, "jwks_uri": i.URL + JWKSPath}, i.discovery)
	i.mu.Unlock()
	respondJSON(w, document)
}

func (i *Issuer) serveJWKS(w http.ResponseWriter, _ *http.Request) {
	i.mu.Lock()
	document := map[string]any{"keys": i.jwks}
	i.mu.Unlock()
	w.Header().Set("Cache-Control", "no-store")
	respondJSON(w, document)
}

func respondJSON(w http.ResponseWriter, document any) {
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(document)
}

// Claims of a good access token for user-1, valid for five minutes, with
// changes; a nil value removes a claim.
func (i *Issuer) Claims(changes map[string]any) map[string]any {
	now := i.Clock.Now()
	return Merged(map[string]any{
		"iss": i.URL, "sub": "user-1", "client_id": "web", "aud": []string{Audience},
		"iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(5 * time.Minute).Unix(),
		"scope": "orders:read orders:write", "jti": "1",
	}, changes)
}

// Token signs a good access token with changes to its claims.
func (i *Issuer) Token(changes map[string]any) string {
	return i.Key.Sign(i.t, nil, JSON(i.t, i.Claims(changes)))
}
