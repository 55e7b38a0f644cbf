// Package exchange has an authorization server issue the token for a service in exchange
// for that of the caller (RFC 8693).
package exchange

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"gatehouse/core"
	"gatehouse/core/authn/claims"
	"gatehouse/core/authn/clientauth"
	"gatehouse/core/authn/idp"
	"gatehouse/core/fair"
	"gatehouse/core/httpsyntax"
	"gatehouse/core/keyedhash"
	"gatehouse/core/upstreamtoken"
)

// Types of tokens (RFC 8693 section 3).
const (
	AccessToken = "urn:ietf:params:oauth:token-type:access_token"
	JWT         = "urn:ietf:params:oauth:token-type:jwt"
)

const grantType = "urn:ietf:params:oauth:grant-type:token-exchange"

// Options of an Exchanger.
type Options struct {
	// Endpoint is the token endpoint.
	Endpoint string
	// Client calls it, at most for Timeout.
	Client  *idp.Client
	Timeout time.Duration
	// Issuer is the server; empty: it is not known.
	Issuer string
	// Authentication is how this client authenticates.
	Authentication clientauth.Options
	// Scope is asked for; empty: what the server gives.
	Scope string
	// Resource has the audience sent as resource (RFC 8707) instead of audience.
	Resource bool
	// SubjectType and RequestedType are types of tokens. An empty RequestedType asks
	// for none.
	SubjectType, RequestedType string
	// MaxAge bounds how long a token is cached, and RefusalAge how long a refusal is.
	MaxAge, RefusalAge time.Duration
	// Limits bound the cache.
	Limits upstreamtoken.Limits
	// Log gets a line where the server's metadata do not go with these options.
	Log *slog.Logger
	// Now is the clock.
	Now func() time.Time
}

// Exchanger exchanges tokens. It is safe for concurrent use.
type Exchanger struct {
	options  Options
	endpoint *clientauth.Endpoint
	cache    *upstreamtoken.Cache
	names    *keyedhash.Hash
}

var _ upstreamtoken.Maker = (*Exchanger)(nil)

// New makes an exchanger. Nothing is called yet.
func New(o Options) (*Exchanger, error) {
	_, err := idp.ParseURL(o.Endpoint)
	switch {
	case err != nil:
		return nil, fmt.Errorf("the token endpoint %w", err)
	case o.Client == nil:
		return nil, errors.New("no HTTP client")
	}
	o.Authentication.Now = o.Now
	endpoint, err := clientauth.NewEndpoint(clientauth.EndpointOptions{
		Name: clientauth.TokenEndpoint, URL: o.Endpoint, Issuer: o.Issuer, Authentication: o.Authentication, Client: o.Client, Log: o.Log,
	})
	if err != nil {
		return nil, fmt.Errorf("client authentication: %w", err)
	}
	if endpoint.Method() == clientauth.None {
		return nil, errors.New("client authentication: want one, so that nobody else exchanges tokens in the name of the gate")
	}
	return &Exchanger{options: o, endpoint: endpoint, cache: upstreamtoken.NewCache(o.Limits, o.Timeout, o.Now), names: keyedhash.New(nil)}, nil
}

// Ready has fetched, without waiting, what the server says of itself, where that is needed.
func (x *Exchanger) Ready() { x.endpoint.Ready() }

// Exchangeable are the kinds of credentials that an authorization server knows.
func Exchangeable(k core.Kind) bool { return k == core.KindJWT || k == core.KindIntrospection }

// Token returns what the server issues for the caller's token and an audience. The
// caller is in the name of the token in the cache beside the credential.
func (x *Exchanger) Token(ctx context.Context, w upstreamtoken.Wanted) (string, error) {
	p := w.Principal
	if !Exchangeable(p.Kind) {
		return "", fmt.Errorf("%w: a credential of the kind %s cannot be exchanged for a token", core.ErrForbidden, p.Kind)
	}
	c, err := w.Credentials.Extract(w.Call.Request)
	switch {
	case err != nil:
		return "", err
	case c.Others[0] != "": // which of them the principal is of is not known here
		return "", fmt.Errorf("%w: the cookie with the token is repeated, and only one token can be exchanged", core.ErrInvalid)
	}
	key := upstreamtoken.Key(x.names.Sum(append([]string{string(p.Kind), p.Issuer, p.Subject, p.ClientID, c.Value}, w.Audience...)...))
	if t, known := x.cache.Get(key, p.Expiry); known {
		return t.Value, t.Refusal
	}
	ctx = fair.WithCaller(ctx, fair.Caller{Peer: fair.PeerOf(w.Call.ClientAddr())})
	t, err := x.cache.Make(ctx, key, p.Expiry, func(ctx context.Context) (upstreamtoken.Token, error) {
		return x.exchange(ctx, c.Value, w.Audience, p.Expiry)
	})
	return t.Value, err
}

// maxResponse is well above the largest token.
const maxResponse = 64 << 10

// exchange asks the server. A refusal of this token is remembered for a moment, so that
// a client which repeats its request does not have the server asked each time.
func (x *Exchanger) exchange(ctx context.Context, token string, audience []string, end time.Time) (upstreamtoken.Token, error) {
	req, err := x.request(ctx, token, audience)
	if err != nil {
		return upstreamtoken.Token{}, err
	}
	asked := x.options.Now()
	response, err := x.options.Client.Do(req, maxResponse)
	if err != nil {
		return upstreamtoken.Token{}, fmt.Errorf("token exchange: %w", err)
	}
	document, err := decode(response)
	if err == nil && response.Status == http.StatusOK {
		return x.issued(document, asked, end)
	}
	if err == nil {
		err = refusal(response, document)
	}
	if errors.Is(err, core.ErrForbidden) {
		return upstreamtoken.Token{Refusal: err, Expiry: sooner(asked.Add(x.options.RefusalAge), end)}, nil
	}
	return upstreamtoken.Token{}, fmt.Errorf("token exchange: %w", err)
}

func sooner(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

func (x *Exchanger) request(ctx context.Context, token string, audience []string) (*http.Request, error) {
	o := &x.options
	form := url.Values{"grant_type": {grantType}, "subject_token": {token}, "subject_token_type": {o.SubjectType}}
	target := "audience"
	if o.Resource {
		target = "resource"
	}
	form[target] = audience
	for name, value := range map[string]string{"scope": o.Scope, "requested_token_type": o.RequestedType} {
		if value != "" {
			form.Set(name, value)
		}
	}
	return x.endpoint.Request(ctx, form, "application/json")
}

func decode(r *idp.Response) (claims.Set, error) {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		if r.Status != http.StatusOK {
			return nil, r.Unexpected()
		}
		return nil, fmt.Errorf("the response of %s has Content-Type %.60q, not application/json", r.From, r.Header.Get("Content-Type"))
	}
	document, err := claims.Decode(r.Body)
	if err != nil {
		return nil, fmt.Errorf("the response of %s %w", r.From, err)
	}
	return document, nil
}

// refusals are the errors that are about the caller's token or what it may be exchanged
// for (RFC 8693 section 2.2.2, RFC 6749 section 5.2). Every other one is about this
// client or the server.
var refusals = []string{"invalid_request", "invalid_grant", "invalid_target", "invalid_scope", "access_denied"}

// refusal says what a response without a token means.
func refusal(r *idp.Response, document claims.Set) error {
	code, err := document.Text("error")
	switch {
	case err != nil || code == "":
		return r.Unexpected()
	case r.Status == http.StatusBadRequest && slices.Contains(refusals, code), r.Status == http.StatusForbidden && code == "access_denied":
		return fmt.Errorf("%w: %s does not exchange the token: %s", core.ErrForbidden, r.From, code)
	}
	return fmt.Errorf("%w: %.40q", r.Unexpected(), code)
}

// issued reads a response (RFC 8693 section 2.2.1). What it lacks is not guessed.
func (x *Exchanger) issued(document claims.Set, asked, end time.Time) (upstreamtoken.Token, error) {
	var token, kind, issued string
	for name, to := range map[string]*string{"access_token": &token, "token_type": &kind, "issued_token_type": &issued} {
		text, err := document.Text(name)
		if err != nil {
			return upstreamtoken.Token{}, fmt.Errorf("the response of the token endpoint: %w", err)
		}
		*to = text
	}
	wanted := []string{x.options.RequestedType}
	if x.options.RequestedType == "" {
		wanted = []string{AccessToken, JWT}
	}
	switch fault := httpsyntax.CredentialFault(token, core.MaxCredential); {
	case token == "" || fault != "":
		return upstreamtoken.Token{}, errors.New("the token endpoint responds without a usable access_token")
	case !strings.EqualFold(kind, "Bearer") && !strings.EqualFold(kind, "N_A"):
		return upstreamtoken.Token{}, fmt.Errorf("the token endpoint issues a token of the token_type %.40q; a service can be sent a bearer token only", kind)
	case !slices.Contains(wanted, issued):
		return upstreamtoken.Token{}, fmt.Errorf("the token endpoint issues a token of the issued_token_type %.80q, want %s", issued, strings.Join(wanted, " or "))
	}
	if err := upstreamtoken.TooLong(token); err != nil {
		return upstreamtoken.Token{}, err
	}
	expiry, err := x.expiry(document, asked)
	return upstreamtoken.Token{Value: token, Expiry: sooner(expiry, end), Life: expiry.Sub(asked)}, err
}

// expiry is until when the token is handed out. A server that does not say how long it
// lives is asked again soon.
func (x *Exchanger) expiry(document claims.Set, asked time.Time) (time.Time, error) {
	const unknown = 30 * time.Second
	seconds, said, err := document.Time("expires_in") // a date as many seconds after 1970
	life := seconds.Sub(time.Unix(0, 0))
	switch {
	case err != nil:
		return time.Time{}, fmt.Errorf("the response of the token endpoint: %w", err)
	case !said:
		life = unknown
	case life <= 0:
		return time.Time{}, errors.New("the token endpoint issues a token that has ended already")
	}
	return asked.Add(min(life, x.options.MaxAge)), nil
}
