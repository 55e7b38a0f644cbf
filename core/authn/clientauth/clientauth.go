// Package clientauth authenticates the gate as a client of an authorization server: at
// its token endpoint, its introspection endpoint and wherever else it wants to know who
// asks.
//
// The methods are those of OpenID Connect Core 1.0 section 9 and of RFC 8705 section 2. A
// certificate is presented by the HTTP client (core/authn/idp), all else is added to the
// request here.
package clientauth

import (
	"cmp"
	"crypto/hmac"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// The methods by their registered names (RFC 7591 section 2, RFC 8705 section 2).
const (
	None          = "none"
	SecretBasic   = "client_secret_basic"
	SecretPost    = "client_secret_post"
	SecretJWT     = "client_secret_jwt"
	PrivateKeyJWT = "private_key_jwt"
	TLS           = "tls_client_auth"
	SelfSignedTLS = "self_signed_tls_client_auth"
)

// The audiences of a client assertion that have a name. Any other is a URL.
const (
	Issuer                = "issuer"
	TokenEndpoint         = "token_endpoint"
	IntrospectionEndpoint = "introspection_endpoint"
)

// Options are how the gate authenticates itself at a server.
type Options struct {
	// Method is one of those above. Default: client_secret_basic, or none without a
	// secret.
	Method   string
	ClientID string
	Secret   string
	// Key signs the assertions of private_key_jwt.
	Key *Key
	// Algorithm is that of client_secret_jwt: HS256, HS384 or HS512. Default: HS256.
	Algorithm string
	// Audience of assertions is issuer, the name of an endpoint, or a URL as the server
	// wants it. Default: issuer.
	Audience string
	// Now is the clock. Default: time.Now.
	Now func() time.Time
}

func (o Options) withDefaults() Options {
	if o.Method == "" {
		o.Method = SecretBasic
		if o.Secret == "" {
			o.Method = None
		}
	}
	if o.Method == SecretJWT {
		o.Algorithm = cmp.Or(o.Algorithm, "HS256")
	}
	o.Audience = cmp.Or(o.Audience, Issuer)
	if o.Now == nil {
		o.Now = time.Now
	}
	return o
}

// UsesSecret reports whether a method needs a client secret, UsesTLS whether it needs a
// certificate, and Asserts whether it sends a signed assertion (RFC 7523).
func UsesSecret(method string) bool {
	return method == SecretBasic || method == SecretPost || method == SecretJWT
}
func UsesTLS(method string) bool { return method == TLS || method == SelfSignedTLS }
func Asserts(method string) bool { return method == PrivateKeyJWT || method == SecretJWT }

func (o Options) validate() error {
	switch {
	case !slices.Contains([]string{None, SecretBasic, SecretPost, SecretJWT, PrivateKeyJWT, TLS, SelfSignedTLS}, o.Method):
		return fmt.Errorf("%q is no method", o.Method)
	case o.Method != None && o.ClientID == "":
		return fmt.Errorf("%s needs a client id", o.Method)
	case UsesSecret(o.Method) && o.Secret == "":
		return fmt.Errorf("%s needs a client secret", o.Method)
	case !UsesSecret(o.Method) && o.Secret != "":
		return fmt.Errorf("%s has no use for a client secret", o.Method)
	case (o.Method == PrivateKeyJWT) != (o.Key != nil):
		return fmt.Errorf("%s: a key is for private_key_jwt, and private_key_jwt needs one", o.Method)
	case o.Method == SecretJWT:
		return CheckSecret(o.Secret, o.Algorithm)
	}
	return nil
}

// CheckSecret refuses a secret that is too short for an algorithm of client_secret_jwt
// (RFC 7518 section 3.2).
func CheckSecret(secret, algorithm string) error {
	h, known := hashes[cmp.Or(algorithm, "HS256")]
	if !known {
		return fmt.Errorf("%.20q is no algorithm of client_secret_jwt; use HS256, HS384 or HS512", algorithm)
	}
	if least := h.Size(); len(secret) < least {
		return fmt.Errorf("client_secret_jwt by %s needs a client secret of at least %d bytes", cmp.Or(algorithm, "HS256"), least)
	}
	return nil
}

// Client is the gate as a client of one server. It is safe for concurrent use.
type Client struct{ options Options }

// New makes a client.
func New(o Options) (*Client, error) {
	o = o.withDefaults()
	if err := o.validate(); err != nil {
		return nil, err
	}
	return &Client{o}, nil
}

// Method is how it authenticates itself.
func (c *Client) Method() string { return c.options.Method }

// Algorithm is that of its assertions; empty: it makes none.
func (c *Client) Algorithm() string {
	if c.options.Key != nil {
		return c.options.Key.alg.String()
	}
	return c.options.Algorithm
}

// Audience of its assertions, of a server with these names. One that is not known is an
// error.
func (c *Client) Audience(names map[string]string) (string, error) {
	wanted := c.options.Audience
	if strings.Contains(wanted, ":") {
		return wanted, nil
	}
	if names[wanted] == "" {
		return "", fmt.Errorf("the audience of the client assertion is to be the %s, which is not known", wanted)
	}
	return names[wanted], nil
}

const assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

// Authenticate adds what the method wants to the header and the form of a request. A
// request that authenticates its client in one way must not do so in another (RFC 6749
// section 2.3). The audience is that of an assertion, which is made anew for each request.
func (c *Client) Authenticate(h http.Header, form url.Values, audience string) error {
	o := &c.options
	switch o.Method {
	case None:
		return nil
	case SecretBasic:
		// Form-encoded first, as RFC 6749 section 2.3.1 asks: a colon in the client id
		// would otherwise move the boundary.
		(&http.Request{Header: h}).SetBasicAuth(url.QueryEscape(o.ClientID), url.QueryEscape(o.Secret))
		return nil
	}
	form.Set("client_id", o.ClientID)
	if o.Method == SecretPost {
		form.Set("client_secret", o.Secret)
	}
	if !Asserts(o.Method) {
		return nil
	}
	assertion, err := c.assertion(audience)
	if err != nil {
		return err
	}
	form.Set("client_assertion", assertion)
	form.Set("client_assertion_type", assertionType)
	return nil
}

func (c *Client) assertion(audience string) (string, error) {
	o := &c.options
	if o.Key != nil {
		return assertion(o.Key.id, o.Key.alg.String(), o.ClientID, audience, o.Now(), o.Key.sign)
	}
	return assertion("", o.Algorithm, o.ClientID, audience, o.Now(), func(signed []byte) ([]byte, error) {
		h, known := hashes[o.Algorithm]
		if !known {
			return nil, errors.New("there is no such algorithm")
		}
		mac := hmac.New(h.New, []byte(o.Secret))
		mac.Write(signed)
		return mac.Sum(nil), nil
	})
}
