// Package introspection verifies tokens by asking the authorization server
// that issued them (RFC 7662). The response is as fresh as the question, so a
// revoked token is refused at once, or once a cache in front forgets it.
package introspection

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"gatehouse/core"
	"gatehouse/core/authn/claims"
	"gatehouse/core/authn/clientauth"
	"gatehouse/core/authn/idp"
	"gatehouse/core/httpsyntax"
)

// Options of an Authenticator.
type Options struct {
	// URL of the introspection endpoint, for Ory Hydra on its admin port:
	// http://hydra:4445/admin/oauth2/introspect.
	URL string
	// Client calls the endpoint.
	Client *idp.Client
	// Authentication is how this client authenticates. Where Key is given it is not
	// used: the server has given that out, and it is sent as a bearer token (RFC 7662
	// section 2.1), or in the header KeyHeader.
	Authentication clientauth.Options
	Key, KeyHeader string
	// Signed verifies signed responses (RFC 9701), which are then asked for, and nothing
	// else counts. nil: responses are plain JSON.
	Signed Statements

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
	// ProofRequired accepts only tokens that come with a proof of the key that they are
	// bound to.
	ProofRequired bool
	// Leeway is how far the server's clock may be ahead of ours: for nbf and
	// iat. exp gets none. Default 30 s; at most 5 min.
	Leeway time.Duration
	// Claims say where scopes, roles and permissions are.
	Claims claims.Paths
	// Now is the clock. Default time.Now.
	Now func() time.Time
	// Log gets a line where the server's metadata do not go with these options.
	Log *slog.Logger
}

func (o Options) withDefaults() Options {
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
	switch {
	case o.KeyHeader != "" && o.Key == "":
		return errors.New("a header is for a key, and there is none")
	case o.KeyHeader != "":
		if err := checkKeyHeader(o.KeyHeader); err != nil {
			return err
		}
	}
	if strings.ContainsFunc(o.Key, notInHeader) {
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

func checkKeyHeader(name string) error {
	if !httpsyntax.IsToken(name) {
		return fmt.Errorf("%q is not the name of a header", name)
	}
	if slices.Contains(requestHeaders, httpsyntax.Fold(name)) {
		return fmt.Errorf("the header %s cannot hold a key", name)
	}
	return nil
}

// Authenticator asks an introspection endpoint. It is a core.TokenAuthenticator.
type Authenticator struct {
	options  Options
	endpoint *clientauth.Endpoint
}

var _ core.TokenAuthenticator = (*Authenticator)(nil)

// New makes an authenticator. Nothing is called yet.
func New(o Options) (*Authenticator, error) {
	o = o.withDefaults()
	if err := o.validate(); err != nil {
		return nil, err
	}
	if o.Key != "" {
		o.Authentication = clientauth.Options{Method: clientauth.None}
	}
	o.Authentication.Now = o.Now
	endpoint, err := clientauth.NewEndpoint(clientauth.EndpointOptions{
		Name: clientauth.IntrospectionEndpoint, URL: o.URL, Issuer: o.Issuer, Authentication: o.Authentication, Client: o.Client, Log: o.Log,
	})
	if err != nil {
		return nil, fmt.Errorf("client authentication: %w", err)
	}
	return &Authenticator{o, endpoint}, nil
}

// Ready has fetched, without waiting, what the server says of itself, where that is needed.
func (a *Authenticator) Ready() { a.endpoint.Ready() }

// AuthenticateToken asks whether the token is active and whose it is.
func (a *Authenticator) AuthenticateToken(ctx context.Context, c core.Credential) (*core.Principal, error) {
	if c.Value == "" || len(c.Value) > core.MaxCredential {
		return nil, fmt.Errorf("%w: not a token", core.ErrInvalid)
	}
	response, err := a.ask(ctx, c.Value)
	if err != nil {
		return nil, fmt.Errorf("introspection: %w", err)
	}
	return a.judge(response, c)
}

// Principal checks what an endpoint says of a token, and reads who it speaks of. A token
// that is bound to a key (cnf) is taken to have come with the proof of it, which is the
// caller's to check.
func (a *Authenticator) Principal(response map[string]any) (*core.Principal, error) {
	return a.judge(response, claims.Set(response).Narrowed(nil).AsProven())
}

// judge is Principal for a token that may have come with a proof.
func (a *Authenticator) judge(response map[string]any, c core.Credential) (*core.Principal, error) {
	active, isBool := response["active"].(bool)
	if !isBool {
		return nil, errors.New("introspection: the response does not say whether the token is active")
	}
	if !active {
		return nil, fmt.Errorf("%w: the token is not active", core.ErrInvalid)
	}
	p, err := a.principal(response, c)
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
		return nil, fmt.Errorf("%s refuses this client with status %d: check the client authentication (%s)", response.From, response.Status, a.method())
	default:
		return nil, response.Unexpected()
	}
	document, err := a.read(ctx, response, token)
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
	accept := jsonType
	if a.options.Signed != nil {
		accept = signedType
	}
	req, err := a.endpoint.Request(ctx, form, accept)
	if err != nil {
		return nil, err
	}
	// Asking twice is as good as once, so net/http may repeat the question
	// when the server closes an idle connection just then. A nil value marks
	// that without a header being sent.
	req.Header["Idempotency-Key"] = nil
	switch key := a.options.Key; {
	case key == "":
	case a.options.KeyHeader != "":
		req.Header.Set(a.options.KeyHeader, key)
	default:
		req.Header.Set("Authorization", "Bearer "+key)
	}
	return req, nil
}

// method is how this client authenticates, for an error.
func (a *Authenticator) method() string {
	switch {
	case a.options.Key == "":
		return a.endpoint.Method()
	case a.options.KeyHeader != "":
		return "header"
	}
	return "bearer"
}

func (a *Authenticator) principal(response claims.Set, c core.Credential) (*core.Principal, error) {
	response = response.Narrowed(payload(c.Value))
	issuer, err := a.check(response, c)
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

func (a *Authenticator) check(response claims.Set, c core.Credential) (issuer string, err error) {
	if err := a.checkKind(response.Unbound(c.Certificate), c.Place == core.DPoPToken); err != nil {
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

// checkKind takes a token that the server calls one of DPoP (RFC 9449 section 6.2) only
// with a proof. A server may call it a bearer token, or nothing, all the same.
func (a *Authenticator) checkKind(response claims.Set, proven bool) error {
	kind, err := response.Text("token_type")
	switch {
	case err != nil:
		return err
	case kind != "" && !strings.EqualFold(kind, "Bearer") && !(proven && strings.EqualFold(kind, "DPoP")):
		return errors.New("is not a bearer token (token_type)")
	case a.options.ProofRequired && !proven:
		return errors.New("comes without a proof of a key that it is bound to (DPoP), which is required")
	case a.options.InsecureIDTokens:
		return response.CheckKindOrIDToken(proven)
	}
	return response.CheckKind(claims.MarkedAccess, proven)
}

func (a *Authenticator) expiry(response claims.Set) (time.Time, error) {
	now := a.options.Now()
	if response["exp"] == nil && a.options.InsecureAcceptMissingExpiry {
		return now.Add(missingExpiryTTL), nil
	}
	return response.Expiry(now)
}
