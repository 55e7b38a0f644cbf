package oidc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"gatehouse/core/authn/claims"
	"gatehouse/core/authn/clientauth"
	"gatehouse/core/authn/idp"
	"gatehouse/core/authn/jwt"
)

const (
	// maxResponse bounds what a provider says at once.
	maxResponse = 256 << 10
	// Metadata change rarely; a provider that is away for long is down.
	refreshAfter = 15 * time.Minute
	maxAge       = 24 * time.Hour
	minInterval  = 10 * time.Second
)

// metadata is what a provider says of itself.
type metadata struct {
	issuer        string
	authorization string
	token         string
	userInfo      string
	endSession    string
	push          string
	pushRequired  bool
	// namesIssuer says that every authorization response names the issuer (RFC 9207).
	namesIssuer bool
	jwks        string
	// tokens verifies ID tokens, logouts logout tokens, access access tokens; the last is
	// nil where nobody reads them.
	tokens, logouts, access *jwt.Verifier
}

// metadata returns those at hand, or waits for them.
func (p *Provider) metadata(ctx context.Context) (*metadata, error) {
	m, err := p.kept.Get(ctx)
	if err != nil {
		return nil, fmt.Errorf("identity provider %s: %w", p.options.Name, err)
	}
	return m, nil
}

// discover fetches the discovery document. The keys are kept as long as it names the
// same.
func (p *Provider) discover(ctx context.Context) (*metadata, error) {
	document, err := p.fetch(ctx)
	if err != nil {
		return nil, err
	}
	m, err := p.read(document)
	if err != nil {
		return nil, fmt.Errorf("the discovery document %w", err)
	}
	p.auth.client.Warn(p.options.Log, clientauth.TokenEndpoint, document)
	if before, ok := p.kept.Usable(); ok && before.issuer == m.issuer && before.jwks == m.jwks {
		m.tokens, m.logouts, m.access = before.tokens, before.logouts, before.access
		return m, nil
	}
	own := []string{p.options.ClientID}
	if m.tokens, err = p.verifier(m, own, "JWT", ""); err != nil {
		return nil, err
	}
	if m.logouts, err = p.verifier(m, own, "logout+jwt", "JWT", ""); err != nil || !p.options.AccessTokenClaims {
		return m, err
	}
	m.access, err = p.verifier(m, nil, "at+jwt", "JWT", "")
	return m, err
}

// verifier is of tokens of some types for some audiences; none: for any.
func (p *Provider) verifier(m *metadata, audiences []string, types ...string) (*jwt.Verifier, error) {
	return jwt.New(jwt.Options{
		Issuers: []jwt.Issuer{{
			Issuer: m.issuer, JWKSURL: m.jwks, Audiences: audiences, InsecureSkipAudience: len(audiences) == 0,
			Algorithms: p.options.Algorithms, Types: types, Claims: p.options.Claims,
		}},
		Client: p.options.Client, Leeway: p.options.Leeway, Log: p.options.Log, Now: p.options.Now,
	})
}

// fetch gets the document and checks whose it is (section 4.3). Where the configuration
// does not say, the issuer may end in a slash.
func (p *Provider) fetch(ctx context.Context) (claims.Set, error) {
	client := idp.HTTP(idp.Transport{Client: p.options.Client, Limit: maxResponse})
	base := strings.TrimSuffix(p.options.Discovery, wellKnown)
	found, err := oidc.NewProvider(oidc.InsecureIssuerURLContext(oidc.ClientContext(ctx, client), base), base)
	if err != nil {
		return nil, explained(err)
	}
	var text json.RawMessage
	if err := found.Claims(&text); err != nil {
		return nil, errors.New("the discovery document is not JSON")
	}
	document, err := claims.Decode(text)
	if err != nil {
		return nil, fmt.Errorf("the discovery document %w", err)
	}
	issuer, _ := claims.Set(document).Text("issuer")
	if bySlash := p.options.Issuer == base && issuer == base+"/"; issuer != p.options.Issuer && !bySlash {
		return nil, fmt.Errorf("the discovery document is about the issuer %.200q, not %.200q: issuer must be written exactly so", issuer, p.options.Issuer)
	}
	return document, nil
}

// read wants every address behind TLS where the issuer is.
func (p *Provider) read(document claims.Set) (*metadata, error) {
	m := &metadata{}
	m.issuer, _ = document.Text("issuer")
	m.pushRequired, _ = document["require_pushed_authorization_requests"].(bool)
	m.namesIssuer, _ = document["authorization_response_iss_parameter_supported"].(bool)
	source := p.auth.client.Endpoints(document)
	for _, address := range []struct {
		name     string
		into     *string
		required bool
		in       claims.Set
	}{
		{"authorization_endpoint", &m.authorization, true, document},
		{"token_endpoint", &m.token, true, source},
		{"jwks_uri", &m.jwks, true, document},
		{"userinfo_endpoint", &m.userInfo, p.options.UserInfo, source},
		{"pushed_authorization_request_endpoint", &m.push, p.options.PushedRequests == PushAlways, source},
		{"end_session_endpoint", &m.endSession, false, document},
	} {
		text, err := address.in.Text(address.name)
		if err != nil || text == "" && !address.required {
			continue
		}
		u, err := idp.ParseURL(text)
		if err != nil {
			return nil, fmt.Errorf("has a %s that %w", address.name, err)
		}
		if u.Scheme != "https" && strings.HasPrefix(m.issuer, "https:") {
			return nil, fmt.Errorf("has a %s, %s, that is not https, unlike the issuer", address.name, idp.Name(u))
		}
		*address.into = text
	}
	return m, nil
}

// config is the client for golang.org/x/oauth2. Its transport authenticates it.
func (p *Provider) config(m *metadata) *oauth2.Config {
	return &oauth2.Config{
		ClientID: p.options.ClientID, RedirectURL: p.options.RedirectURI, Scopes: p.options.Scopes,
		Endpoint: oauth2.Endpoint{AuthURL: m.authorization, TokenURL: m.token, AuthStyle: oauth2.AuthStyleInParams},
	}
}

// maxShown bounds what a provider can write into one log line.
const maxShown = 300

// explained is the error of a library without what it repeats of the response, and
// without the name of the call, which the error of core/authn/idp has.
func explained(err error) error {
	var call *url.Error
	if errors.As(err, &call) {
		return call.Err
	}
	text := err.Error()
	if len(text) > maxShown {
		text = text[:maxShown] + "..."
	}
	return errors.New(strings.ToValidUTF8(text, "?"))
}
