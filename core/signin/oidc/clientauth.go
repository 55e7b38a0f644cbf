package oidc

import (
	"bytes"
	"cmp"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/lestrrat-go/jwx/v2/jwa"
	"github.com/lestrrat-go/jwx/v2/jwk"
	"github.com/lestrrat-go/jwx/v2/jws"
)

// The ways in which a client authenticates itself (OpenID Connect Core 1.0 section 9,
// RFC 8705 section 2.1), by their registered names.
const (
	NoAuth            = "none"
	ClientSecretBasic = "client_secret_basic"
	ClientSecretPost  = "client_secret_post"
	PrivateKeyJWT     = "private_key_jwt"
	TLSClientAuth     = "tls_client_auth"
)

// The audiences of a client assertion.
const (
	AudienceIssuer        = "issuer"
	AudienceTokenEndpoint = "token_endpoint"
)

// Authentication is how the gate authenticates itself at a provider.
type Authentication struct {
	// Method is one of those above. Default: client_secret_basic, or none without a
	// secret.
	Method string
	Secret string
	// Key signs the assertions of private_key_jwt. AssertionAudience is issuer or
	// token_endpoint, which some providers want. Default: issuer.
	Key               *Key
	AssertionAudience string
}

func (a Authentication) withDefaults() Authentication {
	if a.Method == "" {
		a.Method = ClientSecretBasic
		if a.Secret == "" {
			a.Method = NoAuth
		}
	}
	a.AssertionAudience = cmp.Or(a.AssertionAudience, AudienceIssuer)
	return a
}

func (a Authentication) validate() error {
	usesSecret := a.Method == ClientSecretBasic || a.Method == ClientSecretPost
	switch {
	case !slices.Contains([]string{NoAuth, ClientSecretBasic, ClientSecretPost, PrivateKeyJWT, TLSClientAuth}, a.Method):
		return fmt.Errorf("%q is no method", a.Method)
	case usesSecret && a.Secret == "":
		return fmt.Errorf("%s needs a client secret", a.Method)
	case !usesSecret && a.Secret != "":
		return fmt.Errorf("%s has no use for a client secret", a.Method)
	case (a.Method == PrivateKeyJWT) != (a.Key != nil):
		return fmt.Errorf("%s: a key is for private_key_jwt, and private_key_jwt needs one", a.Method)
	case a.AssertionAudience != AudienceIssuer && a.AssertionAudience != AudienceTokenEndpoint:
		return fmt.Errorf("%q is no audience of an assertion", a.AssertionAudience)
	}
	return nil
}

// Key is a private key that signs client assertions.
type Key struct {
	id     string
	alg    jwa.SignatureAlgorithm
	signer crypto.Signer
}

// ParseKey reads a private key: a JWK (RFC 7517), or PEM.
func ParseKey(text []byte) (*Key, error) {
	parsed, err := jwk.ParseKey(text, jwk.WithPEM(!bytes.HasPrefix(bytes.TrimSpace(text), []byte("{"))))
	if err != nil {
		return nil, errors.New("is neither a JWK nor a PEM block with a key")
	}
	k := &Key{id: parsed.KeyID()}
	var raw any
	if err := parsed.Raw(&raw); err != nil {
		return nil, errors.New("is not a key that can be read")
	}
	signer, ok := raw.(crypto.Signer)
	if !ok {
		return nil, errors.New("is not a private key for signatures")
	}
	k.signer = signer
	fits := algorithmsOf(signer)
	if len(fits) == 0 {
		return nil, errors.New("is a key of a kind that is not supported; want RSA of at least 2048 bits, P-256, P-384, P-521 or Ed25519")
	}
	k.alg = fits[0]
	if alg := parsed.Algorithm(); alg != nil && alg.String() != "" {
		if k.alg = jwa.SignatureAlgorithm(alg.String()); !slices.Contains(fits, k.alg) {
			return nil, fmt.Errorf("has alg %.20q, which does not go with its kind", alg)
		}
	}
	return k, nil
}

// algorithmsOf are those that a key can sign by, the usual one first.
func algorithmsOf(signer crypto.Signer) []jwa.SignatureAlgorithm {
	switch k := signer.(type) {
	case *rsa.PrivateKey:
		if k.N.BitLen() >= 2048 {
			return []jwa.SignatureAlgorithm{jwa.RS256, jwa.PS256, jwa.RS384, jwa.RS512, jwa.PS384, jwa.PS512}
		}
	case *ecdsa.PrivateKey:
		return map[int][]jwa.SignatureAlgorithm{256: {jwa.ES256}, 384: {jwa.ES384}, 521: {jwa.ES512}}[k.Curve.Params().BitSize]
	case ed25519.PrivateKey:
		return []jwa.SignatureAlgorithm{jwa.EdDSA}
	}
	return nil
}

// assertionTime is how long a client assertion counts.
const assertionTime = time.Minute

// assertion is the JWT of RFC 7523 section 3.
func (k *Key) assertion(client, audience string, now time.Time) (string, error) {
	header := map[string]string{"alg": k.alg.String(), "typ": "JWT"}
	if k.id != "" {
		header["kid"] = k.id
	}
	payload := map[string]any{
		"iss": client, "sub": client, "aud": audience, "jti": rand.Text(),
		"iat": now.Unix(), "exp": now.Add(assertionTime).Unix(),
	}
	var parts [2]string
	for i, part := range []any{header, payload} {
		text, err := json.Marshal(part)
		if err != nil {
			return "", err
		}
		parts[i] = base64.RawURLEncoding.EncodeToString(text)
	}
	signer, err := jws.NewSigner(k.alg)
	if err != nil {
		return "", err
	}
	signed := strings.Join(parts[:], ".")
	signature, err := signer.Sign([]byte(signed), k.signer)
	if err != nil {
		return "", errors.New("the client assertion could not be signed")
	}
	return signed + "." + base64.RawURLEncoding.EncodeToString(signature), nil
}

// authenticated is a transport that authenticates the client in every request, which
// is a form.
type authenticated struct {
	to     http.RoundTripper
	how    Authentication
	client string
	now    func() time.Time
}

// audienceKey has the audience of client assertions in a context.
type audienceKey struct{}

// RoundTrip adds what the method wants. A request that authenticates its client in one
// way must not do so in another (RFC 6749 section 2.3).
func (a *authenticated) RoundTrip(req *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(req.Body)
	req.Body.Close()
	if err != nil {
		return nil, err
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, errors.New("the request is not a form")
	}
	req = req.Clone(req.Context())
	switch a.how.Method {
	case ClientSecretBasic:
		if form.Has("grant_type") { // a pushed request has it as a parameter of its own
			form.Del("client_id")
		}
		req.SetBasicAuth(url.QueryEscape(a.client), url.QueryEscape(a.how.Secret))
	case ClientSecretPost:
		form.Set("client_secret", a.how.Secret)
	case PrivateKeyJWT:
		audience, _ := req.Context().Value(audienceKey{}).(string)
		assertion, err := a.how.Key.assertion(a.client, audience, a.now())
		if err != nil {
			return nil, err
		}
		form.Set("client_assertion", assertion)
		form.Set("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
	}
	text := form.Encode()
	req.Body, req.ContentLength = io.NopCloser(strings.NewReader(text)), int64(len(text))
	req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(text)), nil }
	return a.to.RoundTrip(req)
}
