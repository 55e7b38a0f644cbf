package oidc

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/oauth2"

	"gatehouse/core/authn/claims"
	"gatehouse/core/authn/clientauth"
	"gatehouse/core/authn/idp"
)

// Attempt is what the gate has to remember of a sign-in until the browser returns.
type Attempt struct {
	// State and Nonce are random; Verifier is that of PKCE.
	State, Nonce, Verifier string
	// Demand is what the sign-in must be.
	Demand Demand
}

// Demand is a stronger or a more recent sign-in than any. The zero value demands nothing.
type Demand struct {
	// AAL is the least assurance level.
	AAL string
	// MaxAge is the greatest age of the sign-in; negative: none at all. Zero: any age.
	MaxAge time.Duration
}

// IsZero reports whether any sign-in will do.
func (d Demand) IsZero() bool { return d == Demand{} }

// NewAttempt makes an attempt with random values of 256 bits.
func NewAttempt(d Demand) Attempt {
	return Attempt{State: oauth2.GenerateVerifier(), Nonce: oauth2.GenerateVerifier(), Verifier: oauth2.GenerateVerifier(), Demand: d}
}

// ErrNoSuchLevel is of a demand for an assurance level that no acr or amr stands for.
var ErrNoSuchLevel = errors.New("no value of acr or amr stands for the assurance level that is needed (acr_levels, amr_levels)")

// AuthorizationURL is where the browser goes.
func (p *Provider) AuthorizationURL(ctx context.Context, a Attempt) (string, error) {
	m, err := p.metadata(ctx)
	if err != nil {
		return "", err
	}
	request, err := p.request(m, a)
	if err != nil {
		return "", err
	}
	if p.pushes(m) {
		if request, err = p.push(ctx, m, request); err != nil {
			return "", fmt.Errorf("identity provider %s: %w", p.options.Name, err)
		}
	}
	u, err := url.Parse(m.authorization)
	if err != nil {
		return "", err
	}
	query := u.Query()
	maps.Copy(query, request)
	u.RawQuery = query.Encode()
	return u.String(), nil
}

// request are the parameters of an authorization request.
func (p *Provider) request(m *metadata, a Attempt) (url.Values, error) {
	var options []oauth2.AuthCodeOption
	set := func(name, value string) { options = append(options, oauth2.SetAuthURLParam(name, value)) }
	for name, value := range p.options.Parameters {
		set(name, value)
	}
	demand := p.demand(a.Demand)
	set("nonce", a.Nonce)
	if p.options.ResponseMode != Query {
		set("response_mode", p.options.ResponseMode)
	}
	options = append(options, oauth2.S256ChallengeOption(a.Verifier))
	if demand.AAL != "" {
		values := p.acrValues(demand.AAL)
		if values == "" && !p.reaches(demand.AAL) {
			return nil, ErrNoSuchLevel
		}
		if values != "" {
			set("acr_values", values)
		}
	}
	if demand.AAL != "" || demand.MaxAge < 0 {
		set("prompt", promptLogin(p.options.Parameters["prompt"]))
	}
	if demand.MaxAge != 0 {
		set("max_age", strconv.Itoa(max(0, int(demand.MaxAge.Seconds()))))
	}
	config := *p.config(m)
	config.Endpoint.AuthURL = "" // which may have a query of its own
	text := config.AuthCodeURL(a.State, options...)
	request, err := url.ParseQuery(strings.TrimPrefix(text, "?"))
	if err != nil {
		return nil, err
	}
	if len(p.options.Resources) > 0 {
		request["resource"] = p.options.Resources // RFC 8707: one parameter for each
	}
	return request, nil
}

// demand adds what the configuration wants of every sign-in.
func (p *Provider) demand(d Demand) Demand {
	if p.maxAge != 0 && (d.MaxAge == 0 || p.maxAge < d.MaxAge) {
		d.MaxAge = p.maxAge
	}
	return d
}

// promptLogin adds login to the prompts that are configured, of which none contradicts
// it (section 3.1.2.1).
func promptLogin(configured string) string {
	prompts := slices.DeleteFunc(strings.Fields(configured), func(p string) bool { return p == "login" || p == "none" })
	return strings.Join(append([]string{"login"}, prompts...), " ")
}

// acrValues are those that are enough for a level, the weakest first.
func (p *Provider) acrValues(aal string) string {
	var enough []string
	for _, acr := range slices.Sorted(maps.Keys(p.options.ACRLevels)) {
		if p.options.ACRLevels[acr] >= aal {
			enough = append(enough, acr)
		}
	}
	slices.SortStableFunc(enough, func(a, b string) int {
		return strings.Compare(p.options.ACRLevels[a], p.options.ACRLevels[b])
	})
	return strings.Join(enough, " ")
}

// reaches reports whether a member of amr is enough for a level.
func (p *Provider) reaches(aal string) bool {
	for _, level := range p.options.AMRLevels {
		if level >= aal {
			return true
		}
	}
	return false
}

func (p *Provider) pushes(m *metadata) bool {
	return p.options.PushedRequests != PushNever && m.push != "" || m.pushRequired
}

// push hands the request over to the provider (RFC 9126): what the browser carries is
// a reference to it.
func (p *Provider) push(ctx context.Context, m *metadata, request url.Values) (url.Values, error) {
	if m.push == "" {
		return nil, errors.New("requires pushed authorization requests and names no endpoint for them")
	}
	ctx = p.asking(ctx, m)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, m.push, strings.NewReader(request.Encode()))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", "application/json")
	response, body, err := send(idp.HTTP(p.auth), req)
	if err != nil {
		return nil, err
	}
	document, err := claims.Decode(body)
	if response.StatusCode != http.StatusCreated && response.StatusCode != http.StatusOK {
		code, _ := claims.Set(document).Text("error")
		return nil, fmt.Errorf("%s refuses the pushed request with status %d%s", idp.Name(req.URL), response.StatusCode, shownCode(code))
	}
	if err != nil {
		return nil, fmt.Errorf("the response to the pushed request %w", err)
	}
	reference, err := claims.Set(document).Text("request_uri")
	if err != nil || reference == "" || len(reference) > maxReference {
		return nil, errors.New("the response to the pushed request has no usable request_uri")
	}
	return url.Values{"client_id": {p.options.ClientID}, "request_uri": {reference}}, nil
}

// maxReference is more than any request_uri has.
const maxReference = 1 << 10

// asking is the context of calls to endpoints that authenticate the client.
func (p *Provider) asking(ctx context.Context, m *metadata) context.Context {
	audience, _ := p.auth.client.Audience(map[string]string{clientauth.Issuer: m.issuer, clientauth.TokenEndpoint: m.token})
	return context.WithValue(ctx, audienceKey{}, audience)
}

// shownCode is an error code (RFC 6749 section 5.2) for a log line.
func shownCode(code string) string {
	if code == "" {
		return ""
	}
	return fmt.Sprintf(": %.60q", code)
}
