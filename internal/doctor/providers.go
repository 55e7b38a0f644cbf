package doctor

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"gatehouse/core"
	"gatehouse/core/authn/idp"
	"gatehouse/core/config"
	"gatehouse/core/config/section"
	"gatehouse/core/config/signin"
)

// maxBody bounds what is read of a response of which little is needed.
const maxBody = 1 << 20

// providers asks the identity providers of a configuration about invented credentials, by
// the code and the settings of a node.
func (x *examination) providers(ctx context.Context) {
	c, j := x.Config, x.judge()
	if i := c.Introspection; i != nil {
		j.asks(ctx, "introspection", i.Endpoint, i.Endpoint, core.Header{Name: "Authorization", Value: "Bearer " + invented()})
		x.providerClock(ctx, i.Endpoint, i.Outbound)
	}
	if s := c.Session; s != nil {
		j.asks(ctx, "session", s.KratosURL, s.KratosURL, core.Header{Name: "Cookie", Value: s.CookieName + "=" + invented()})
		x.providerClock(ctx, s.KratosURL, s.Outbound)
	}
	if c.JWT != nil {
		for _, issuer := range c.JWT.Issuers {
			j.issuer(ctx, issuer)
			x.providerClock(ctx, cmp.Or(issuer.JWKSURI, issuer.Issuer), c.JWT.Outbound)
		}
	}
	if c.Login != nil && c.Login.OIDC != nil {
		for _, p := range c.Login.OIDC.Providers {
			x.openIDProvider(ctx, p, c.Login.OIDC.Outbound)
		}
	}
}

// issuer asks for the keys of an issuer, which a token of an unknown key needs.
func (j *judge) issuer(ctx context.Context, issuer section.Issuer) {
	switch {
	case issuer.JWKSFile != "":
		j.ok("provider", "jwt "+issuer.Issuer, "its keys are in a file; nobody is called")
	case len(issuer.Tenants) > 0:
		j.add("provider", Note, "jwt "+issuer.Issuer, "look at gatehouse_idp_requests_total of a node", "an issuer of many tenants is not examined")
	default:
		j.asks(ctx, "jwt", issuer.Issuer, cmp.Or(issuer.JWKSURI, issuer.Issuer), core.Header{Name: "Authorization", Value: "Bearer " + unsigned(issuer, j.Now())})
	}
}

// unsigned is a token of an issuer that nobody has signed.
func unsigned(issuer section.Issuer, now time.Time) string {
	claims := map[string]any{"iss": issuer.Issuer, "sub": invented(), "client_id": invented(), "jti": invented(), "scope": "none", "iat": now.Unix(), "exp": now.Add(time.Minute).Unix()}
	if len(issuer.Audience) > 0 {
		claims["aud"] = issuer.Audience[0]
	}
	segment := func(v any) string {
		text, err := json.Marshal(v)
		if err != nil {
			panic(err) // of strings and numbers
		}
		return base64.RawURLEncoding.EncodeToString(text)
	}
	header := map[string]string{"alg": issuer.Algorithms[0], "kid": invented(), "typ": issuer.TokenTypes[0]}
	return segment(header) + "." + segment(claims) + "." + base64.RawURLEncoding.EncodeToString([]byte(strings.Repeat("\x5a", 256)))
}

// judge is a gate that judges invented credentials.
type judge struct {
	*examination
	gate *core.Gate
	// wrong is why there is no gate.
	wrong error
	// calls are those to identity providers, by the section that configures them. Keys are
	// fetched in the background, too.
	mu    sync.Mutex
	calls map[string]int
}

// judge makes the gate of the configuration with nothing but what verifies credentials: with
// no part that begins, writes or follows anything.
func (x *examination) judge() *judge {
	alone := *x.Config
	alone.PermissionTable, alone.PermissionTableFiles, alone.ShadowTableFiles = "authenticated: [GET /]", nil, nil
	alone.PermissionTableName, alone.ShadowTableName, alone.Bundle, alone.ClassicTables = "", "", nil, nil
	alone.Redis, alone.Postgres, alone.SubjectRoles, alone.Revocation, alone.RevocationEndpoints, alone.StateDir = nil, nil, nil, nil, nil, ""
	alone.APIToken, alone.Login, alone.SPIFFE, alone.MTLS, alone.DPoP = nil, nil, nil, nil, nil
	alone.UpstreamToken, alone.GatewayToken, alone.Audit, alone.DecisionPoint = nil, nil, nil, nil
	alone.FailedAttempts.Policy = "local"
	j := &judge{examination: x, calls: map[string]int{}}
	j.gate, j.wrong = config.NewBuilder(config.BuilderOptions{Log: slog.New(slog.DiscardHandler), Now: x.Now, Calls: j.called}).Build(&alone)
	return j
}

func (j *judge) called(section string, _ time.Duration, _ error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.calls[section]++
}

// wasCalled reports whether the provider of a section was.
func (j *judge) wasCalled(section string) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.calls[section] > 0
}

// asks has the gate judge an invented credential. Whoever verifies it has to be asked, and to
// say no.
func (j *judge) asks(ctx context.Context, name, provider, address string, credential core.Header) {
	subject := name + " " + shown(provider)
	if j.wrong != nil {
		j.add("provider", Error, subject, "correct the configuration; gatehouse check shows all mistakes at once", "%v", j.wrong)
		return
	}
	d := j.gate.Check(ctx, &core.Request{Method: http.MethodGet, Target: "/", Host: "gatehouse-doctor.invalid", Scheme: "https", Header: []core.Header{credential}})
	switch {
	case d.Status == http.StatusUnauthorized && j.wasCalled(name):
		j.ok("provider", subject, "responds, and knows no invented credential")
	case d.Status == http.StatusUnauthorized:
		j.add("provider", Note, subject, "try a real credential: gatehouse doctor invents one", "the gate refuses an invented credential without a call: %v", d.Cause)
	case d.Outcome == core.Allow:
		j.add("provider", Error, subject, "find out what is at "+shown(address)+": it is not the provider", "an invented credential is accepted")
	default:
		j.add("provider", Error, subject, nearby, "%v", d.Cause)
	}
}

// openIDProvider fetches the discovery document of a provider at which people sign in.
func (x *examination) openIDProvider(ctx context.Context, p signin.Provider, o section.Outbound) {
	subject := "login.oidc " + p.Name + " " + shown(p.Discovery)
	response, err := x.fetch(ctx, p.Discovery, o)
	mend := "correct login.oidc.providers.discovery, or " + nearby
	var document struct {
		Issuer        string `json:"issuer"`
		Authorization string `json:"authorization_endpoint"`
		Token         string `json:"token_endpoint"`
	}
	switch {
	case err != nil:
		x.add("provider", Error, subject, mend, "%v", err)
	case response.Status != http.StatusOK:
		x.add("provider", Error, subject, mend, "%v", response.Unexpected())
	case json.Unmarshal(response.Body, &document) != nil || document.Authorization == "" || document.Token == "":
		x.add("provider", Error, subject, mend, "the response is no discovery document with authorization_endpoint and token_endpoint (OpenID Connect Discovery 1.0 section 3)")
	case p.Issuer != "" && document.Issuer != p.Issuer:
		x.add("provider", Error, subject, "write issuer exactly as the document does", "the discovery document is of %q, and the setting issuer is %q", document.Issuer, p.Issuer)
	default:
		x.ok("provider", subject, "has a discovery document")
	}
	x.providerClock(ctx, p.Discovery, o)
}

// providerClock reads the clock of a provider off any response.
func (x *examination) providerClock(ctx context.Context, address string, o section.Outbound) {
	u, err := url.Parse(address)
	if err != nil || x.clocks[u.Host] {
		return
	}
	before := x.Now()
	response, err := x.fetch(ctx, address, o)
	if err == nil { // else the provider has been reported
		x.clock(u.Host, date(response.Header), before, x.Now())
	}
}

// fetch gets something of a provider as a node would.
func (x *examination) fetch(ctx context.Context, address string, o section.Outbound) (*idp.Response, error) {
	client, err := idp.New(idp.Options{Timeout: o.Timeout.Duration(), CAFile: o.CAFile, InsecureSkipVerify: !o.SSLVerify})
	if err != nil {
		return nil, err
	}
	defer client.Close()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, fmt.Errorf("the address %q is none: correct it", shown(address))
	}
	return client.Do(req, maxBody)
}

// shown is an address as a finding may show it.
func shown(address string) string {
	if u, err := url.Parse(address); err == nil && u.Host != "" {
		return idp.Name(u)
	}
	return address
}
