// Package introspection verifies tokens by asking the authorization server
// that issued them (RFC 7662). The response is as fresh as the question, so a
// revoked token is refused at once, or once a cache in front forgets it.
package introspection

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"gatehouse/core"
	"gatehouse/core/authn/claims"
	"gatehouse/core/authn/idp"
	"gatehouse/core/httpsyntax"
)

// Auth is how this client authenticates at the endpoint.
type Auth string

// The ways to authenticate: those of RFC 6749 section 2.3.1, and a key that the
// server has given out, as a bearer token (RFC 7662 section 2.1) or in a header of
// its own.
const (
	AuthNone   Auth = "none"
	AuthBasic  Auth = "client_secret_basic"
	AuthPost   Auth = "client_secret_post"
	AuthBearer Auth = "bearer"
	AuthHeader Auth = "header"
)

// Options of an Authenticator.
type Options struct {
	// URL of the introspection endpoint, for Ory Hydra on its admin port:
	// http://hydra:4445/admin/oauth2/introspect.
	URL string
	// Client calls the endpoint.
	Client *idp.Client
	// Auth is how this client authenticates, by default AuthNone. AuthBasic and
	// AuthPost need ClientID and ClientSecret, AuthBearer ClientSecret, which is
	// the key, and AuthHeader also AuthHeaderName.
	Auth           Auth
	ClientID       string
	ClientSecret   string
	AuthHeaderName string

	// Issuer, where given, must be the exact iss of the response.
	Issuer string
	// Audiences, where given, are ours: the response must name one in
	// AudienceClaims. Without them a token counts whomever it is meant for.
	Audiences []string
	// AudienceClaims may hold the audience; the first that is present counts.
	// Default: aud.
	AudienceClaims []core.ClaimPath
	// InsecureAcceptMissingExpiry accepts responds without exp, which RFC 7662
	// leaves optional. They count for 30 s.
	InsecureAcceptMissingExpiry bool
	// InsecureIDTokens accepts responses that show an ID token, too.
	InsecureIDTokens bool
	// Leeway is how far the server's clock may be ahead of ours: for nbf and
	// iat. exp gets none. Default 30 s; at most 5 min.
	Leeway time.Duration
	// Claims say where scopes, roles and permissions are.
	Claims claims.Paths
	// Now is the clock. Default time.Now.
	Now func() time.Time
}

func (o Options) withDefaults() Options {
	if o.Auth == "" {
		o.Auth = AuthNone
	}
	if o.Leeway == 0 {
		o.Leeway = 30 * time.Second
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.AudienceClaims == nil {
		o.AudienceClaims = claims.MustPaths("aud")
	}
	o.Claims = o.Claims.WithDefaults()
	return o
}

const (
	maxLenience = 5 * time.Minute
	// missingExpiryTTL is how long a response without exp counts.
	missingExpiryTTL = 30 * time.Second
)

func (o Options) validate() error {
	_, err := idp.ParseURL(o.URL)
	switch {
	case err != nil:
		return fmt.Errorf("the introspection URL %w", err)
	case o.Client == nil:
		return errors.New("no HTTP client")
	case o.Leeway < 0 || o.Leeway > maxLenience:
		return fmt.Errorf("leeway %s is not between 0s and %s", o.Leeway, maxLenience)
	}
	for _, audience := range o.Audiences {
		if audience == "" {
			return errors.New("an audience is empty")
		}
	}
	return o.validateAuth()
}

func (o Options) validateAuth() error {
	switch o.Auth {
	case AuthNone:
		if o.ClientSecret != "" {
			return fmt.Errorf("a client secret is given, but the client authentication is %s", AuthNone)
		}
		return nil
	case AuthBasic, AuthPost:
		if o.ClientID == "" {
			return fmt.Errorf("%s needs a client id and a client secret", o.Auth)
		}
	case AuthHeader:
		if err := checkAuthHeader(o.AuthHeaderName); err != nil {
			return err
		}
	case AuthBearer:
	default:
		return fmt.Errorf("client authentication %q is not %s, %s, %s, %s or %s", o.Auth, AuthNone, AuthBasic, AuthPost, AuthBearer, AuthHeader)
	}
	switch {
	case o.ClientSecret == "":
		return fmt.Errorf("%s needs a client secret", o.Auth)
	case (o.Auth == AuthBearer || o.Auth == AuthHeader) && strings.ContainsFunc(o.ClientSecret, notInHeader):
		return errors.New("the client secret holds a character that no header can hold")
	}
	return nil
}

func notInHeader(r rune) bool { return r < ' ' || r >= 0x7f }

// requestHeaders are set by this client itself or frame the request.
var requestHeaders = []string{
	"accept", "connection", "content-length", "content-type", "expect", "host", "idempotency-key", "te", "trailer",
	"transfer-encoding", "upgrade", "user-agent",
}

func checkAuthHeader(name string) error {
	if !httpsyntax.IsToken(name) {
		return fmt.Errorf("%q is not the name of a header", name)
	}
	if slices.Contains(requestHeaders, httpsyntax.Fold(name)) {
		return fmt.Errorf("the header %s cannot hold a key", name)
	}
	return nil
}

// Authenticator asks an introspection endpoint. It is a core.TokenAuthenticator.
type Authenticator struct{ options Options }

var _ core.TokenAuthenticator = (*Authenticator)(nil)

// New makes an authenticator. Nothing is called yet.
func New(o Options) (*Authenticator, error) {
	o = o.withDefaults()
	if err := o.validate(); err != nil {
		return nil, err
	}
	return &Authenticator{o}, nil
}

// AuthenticateToken asks whether the token is active and whose it is.
func (a *Authenticator) AuthenticateToken(ctx context.Context, c core.Credential) (*core.Principal, error) {
	if c.Value == "" || len(c.Value) > core.MaxCredential {
		return nil, fmt.Errorf("%w: not a token", core.ErrInvalid)
	}
	response, err := a.ask(ctx, c.Value)
	if err != nil {
		return nil, fmt.Errorf("introspection: %w", err)
	}
	return a.Principal(response)
}

// Principal checks what an endpoint says of a token, and reads who it speaks of.
func (a *Authenticator) Principal(response map[string]any) (*core.Principal, error) {
	active, isBool := response["active"].(bool)
	if !isBool {
		return nil, errors.New("introspection: the response does not say whether the token is active")
	}
	if !active {
		return nil, fmt.Errorf("%w: the token is not active", core.ErrInvalid)
	}
	p, err := a.principal(response)
	if err != nil {
		return nil, fmt.Errorf("%w: token %w", core.ErrInvalid, err)
	}
	return p, nil
}

// maxResponse is well above the largest token with its claims.
const maxResponse = 256 << 10

// ask gets a response that is the server's own. Whatever is not a 200 is about
// this client or this server, never about the token (RFC 7662 section 2.3).
func (a *Authenticator) ask(ctx context.Context, token string) (claims.Set, error) {
	req, err := a.request(idp.WithProbe(ctx, a.probe), token)
	if err != nil {
		return nil, err
	}
	response, err := a.options.Client.Do(req, maxResponse)
	if err != nil {
		return nil, err
	}
	switch response.Status {
	case http.StatusOK:
	case http.StatusUnauthorized, http.StatusForbidden:
		return nil, fmt.Errorf("%s refuses this client with status %d: check the client authentication (%s)", response.From, response.Status, a.options.Auth)
	default:
		return nil, response.Unexpected()
	}
	// A signed response (RFC 9701) would have to be verified.
	if kind, _, err := mime.ParseMediaType(response.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return nil, fmt.Errorf("the response of %s has Content-Type %.60q, not application/json", response.From, response.Header.Get("Content-Type"))
	}
	document, err := claims.Decode(response.Body)
	if err != nil {
		return nil, fmt.Errorf("the response of %s %w", response.From, err)
	}
	if _, isBool := document["active"].(bool); !isBool {
		return nil, fmt.Errorf("the response of %s has no boolean active; is it the introspection endpoint (RFC 7662)?", response.From)
	}
	return document, nil
}

// probe asks about a token that nobody has.
func (a *Authenticator) probe(ctx context.Context) (*http.Request, error) {
	return a.request(ctx, rand.Text())
}

func (a *Authenticator) request(ctx context.Context, token string) (*http.Request, error) {
	form := url.Values{"token": {token}, "token_type_hint": {"access_token"}}
	if a.options.Auth == AuthPost {
		form.Set("client_id", a.options.ClientID)
		form.Set("client_secret", a.options.ClientSecret)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, a.options.URL, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, errors.New("the introspection URL cannot be asked")
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", "application/json")
	// Asking twice is as good as once, so net/http may repeat the question
	// when the server closes an idle connection just then. A nil value marks
	// that without a header being sent.
	req.Header["Idempotency-Key"] = nil
	switch a.options.Auth {
	case AuthBasic:
		// Form-encoded first, as RFC 6749 section 2.3.1 asks: a colon in the
		// client id would otherwise move the boundary.
		req.SetBasicAuth(url.QueryEscape(a.options.ClientID), url.QueryEscape(a.options.ClientSecret))
	case AuthBearer:
		req.Header.Set("Authorization", "Bearer "+a.options.ClientSecret)
	case AuthHeader:
		req.Header.Set(a.options.AuthHeaderName, a.options.ClientSecret)
	}
	return req, nil
}

func (a *Authenticator) principal(response claims.Set) (*core.Principal, error) {
	issuer, err := a.check(response)
	if err != nil {
		return nil, err
	}
	expiry, err := a.expiry(response)
	if err != nil {
		return nil, err
	}
	p := &core.Principal{Kind: core.KindIntrospection, Issuer: issuer, Expiry: expiry}
	if err := response.Principal(a.options.Claims, p); err != nil {
		return nil, err
	}
	return p, nil
}

func (a *Authenticator) check(response claims.Set) (issuer string, err error) {
	kind, err := response.Text("token_type")
	if err != nil {
		return "", err
	}
	if kind != "" && !strings.EqualFold(kind, "Bearer") {
		return "", errors.New("is not a bearer token (token_type)")
	}
	check := func() error { return response.CheckKind(claims.MarkedAccess) }
	if a.options.InsecureIDTokens {
		check = response.CheckKindOrIDToken
	}
	if err := check(); err != nil {
		return "", err
	}
	if issuer, err = response.Text("iss"); err != nil {
		return "", err
	}
	if a.options.Issuer != "" && issuer != a.options.Issuer {
		return "", fmt.Errorf("is from another issuer: iss is %.200q; accepted is %.200q", issuer, a.options.Issuer)
	}
	if len(a.options.Audiences) > 0 {
		if err := response.MeantFor(a.options.AudienceClaims, a.options.Audiences); err != nil {
			return "", err
		}
	}
	return issuer, response.Begun(a.options.Now(), a.options.Leeway)
}

func (a *Authenticator) expiry(response claims.Set) (time.Time, error) {
	now := a.options.Now()
	if response["exp"] == nil && a.options.InsecureAcceptMissingExpiry {
		return now.Add(missingExpiryTTL), nil
	}
	return response.Expiry(now)
}
