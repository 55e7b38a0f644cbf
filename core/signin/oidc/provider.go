// Package oidc signs people in at an OpenID provider: it is the relying party of
// OpenID Connect Core 1.0 by the authorization code flow, always with PKCE (RFC 7636)
// by S256.
//
// The flow is that of golang.org/x/oauth2, discovery that of
// github.com/coreos/go-oidc. Tokens are verified by core/authn/jwt, and every call is
// made by core/authn/idp, so that rotation and outages are dealt with as for issuers of
// access tokens.
//
// An error that wraps core.ErrInvalid is about this sign-in: it does not hold. Any other
// means that the provider did not answer, or not as it should.
package oidc

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"gatehouse/core/authn/claims"
	"gatehouse/core/authn/clientauth"
	"gatehouse/core/authn/idp"
)

// Options of a Provider.
type Options struct {
	// Name is what the configuration calls the provider.
	Name string
	// Discovery is the URL of the discovery document (OpenID Connect Discovery 1.0).
	Discovery string
	// Issuer is the exact value of iss. Empty: the URL of the discovery document
	// without its well-known part, with or without a slash at its end.
	Issuer string
	// ClientID and Authentication are those of the gate.
	ClientID       string
	Authentication clientauth.Options
	// RedirectURI is where the provider sends the browser.
	RedirectURI string
	// Scopes that are asked for; openid is added. Resources are where the access token
	// is for (RFC 8707).
	Scopes, Resources []string
	// Parameters are added to the authorization request. A max_age among them is
	// verified, too.
	Parameters map[string]string
	// ResponseMode is query or form_post. Default: query.
	ResponseMode string
	// PushedRequests is auto (where the provider offers them), always or never
	// (RFC 9126). Default: auto.
	PushedRequests string
	// UserInfo adds the claims of the UserInfo endpoint, AccessTokenClaims those of the
	// access token, which is then a JWT, under the name of AccessTokenClaim.
	UserInfo, AccessTokenClaims bool
	// Algorithms and Claims are as in jwt.Issuer.
	Algorithms []string
	Claims     claims.Paths
	// ACRLevels and AMRLevels say which assurance level a value of acr, or a member of
	// amr, stands for.
	ACRLevels, AMRLevels map[string]string
	// Leeway is how far the provider's clock may be off: for nbf, iat and auth_time.
	// exp gets none. Default 30 s.
	Leeway time.Duration
	// Client calls the provider.
	Client *idp.Client
	// Log gets a line for every discovery and key fetch that fails. Default: none.
	Log *slog.Logger
	// Now is the clock. Default time.Now.
	Now func() time.Time
}

// The ways in which a response is sent, and requests are pushed.
const (
	Query    = "query"
	FormPost = "form_post"

	PushAuto   = "auto"
	PushAlways = "always"
	PushNever  = "never"
)

func (o Options) withDefaults() Options {
	o.Issuer = cmp.Or(o.Issuer, strings.TrimSuffix(o.Discovery, wellKnown))
	o.ResponseMode = cmp.Or(o.ResponseMode, Query)
	o.PushedRequests = cmp.Or(o.PushedRequests, PushAuto)
	o.Leeway = cmp.Or(o.Leeway, 30*time.Second)
	if !slices.Contains(o.Scopes, "openid") {
		o.Scopes = append([]string{"openid"}, o.Scopes...)
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	o.Authentication.ClientID, o.Authentication.Now = o.ClientID, o.Now
	return o
}

// wellKnown ends the URL of a discovery document.
const wellKnown = "/.well-known/openid-configuration"

// own are the parameters that the gate sets itself.
var own = []string{"client_id", "redirect_uri", "response_type", "response_mode", "scope", "resource", "state", "nonce", "code_challenge", "code_challenge_method", "request", "request_uri", "client_secret", "client_assertion", "client_assertion_type"}

func (o Options) validate() error {
	var problems []error
	add := func(setting string, err error) {
		if err != nil {
			problems = append(problems, fmt.Errorf("%s: %w", setting, err))
		}
	}
	_, err := idp.ParseURL(o.Discovery)
	if err == nil && !strings.HasSuffix(o.Discovery, wellKnown) {
		err = errors.New("does not end in " + wellKnown)
	}
	add("discovery", err)
	_, err = idp.ParseURL(o.RedirectURI)
	add("redirect_uri", err)
	if o.ClientID == "" {
		add("client_id", errors.New("is empty"))
	}
	if o.Client == nil {
		add("http", errors.New("there is no client"))
	}
	for _, name := range slices.Sorted(maps.Keys(o.Parameters)) {
		if slices.Contains(own, name) {
			add("authorization_params", fmt.Errorf("%s is set by the gate itself", name))
		}
	}
	if text, set := o.Parameters["max_age"]; set {
		if _, err := readAge(text); err != nil {
			add("authorization_params", err)
		}
	}
	return errors.Join(problems...)
}

// readAge reads a max_age as a Demand has it.
func readAge(text string) (time.Duration, error) {
	seconds, err := strconv.ParseUint(text, 10, 31)
	switch {
	case err != nil:
		return 0, fmt.Errorf("max_age is %.40q; want a number of seconds", text)
	case seconds == 0:
		return -1, nil
	}
	return time.Duration(seconds) * time.Second, nil
}

// Provider is one OpenID provider at which the gate is a client. It is safe for
// concurrent use.
type Provider struct {
	options Options
	auth    *authenticated
	kept    idp.Kept[*metadata]
	// maxAge is what the configuration wants of every sign-in; zero: nothing.
	maxAge time.Duration
}

// New makes a provider. Nothing is called yet.
func New(o Options) (*Provider, error) {
	o = o.withDefaults()
	client, err := clientauth.New(o.Authentication)
	if err == nil {
		_, err = client.Audience(map[string]string{clientauth.Issuer: o.Issuer, clientauth.TokenEndpoint: o.Issuer})
	}
	if err != nil {
		err = fmt.Errorf("client authentication: %w", err)
	}
	if err := errors.Join(o.validate(), err); err != nil {
		return nil, err
	}
	p := &Provider{options: o}
	p.maxAge, _ = readAge(o.Parameters["max_age"]) // is valid or not there
	p.auth = &authenticated{to: idp.Transport{Client: o.Client, Limit: maxResponse}, client: client}
	p.kept = idp.Kept[*metadata]{
		Fetch: p.discover, RefreshAfter: refreshAfter, MaxAge: maxAge, MinInterval: minInterval,
		Log: o.Log, Failure: "cannot fetch the discovery document of an identity provider", Issuer: o.Issuer, Now: o.Now,
	}
	return p, nil
}

// Name is what the configuration calls the provider.
func (p *Provider) Name() string { return p.options.Name }

// ClientID is the gate's name at the provider.
func (p *Provider) ClientID() string { return p.options.ClientID }

// RedirectURI is where the provider sends the browser, and ResponseMode how.
func (p *Provider) RedirectURI() string  { return p.options.RedirectURI }
func (p *Provider) ResponseMode() string { return p.options.ResponseMode }

// Ready reports whether the provider's metadata and keys are at hand, and has them
// fetched, without waiting, where they are not.
func (p *Provider) Ready() bool {
	if !p.kept.Ready() {
		return false
	}
	m, ok := p.kept.Usable()
	return ok && len(m.tokens.Waiting()) == 0
}
