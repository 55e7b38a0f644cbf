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
	"sync/atomic"
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
	c := x.Config
	if i := c.Introspection; i != nil {
		x.judged(ctx, "introspection", i.Endpoint, i.Endpoint, core.Header{Name: "Authorization", Value: "Bearer " + invented()})
		x.providerClock(ctx, i.Endpoint, i.Outbound)
	}
	if s := c.Session; s != nil {
		x.judged(ctx, "session", s.KratosURL, s.KratosURL, core.Header{Name: "Cookie", Value: s.CookieName + "=" + invented()})
		x.providerClock(ctx, s.KratosURL, s.Outbound)
	}
	if j := c.JWT; j != nil {
		for _, issuer := range j.Issuers {
			x.issuer(ctx, issuer)
			x.providerClock(ctx, cmp.Or(issuer.JWKSURI, issuer.Issuer), j.Outbound)
		}
	}
	if c.Login != nil && c.Login.OIDC != nil {
		for _, p := range c.Login.OIDC.Providers {
			x.openIDProvider(ctx, p, c.Login.OIDC.Outbound)
		}
	}
}

// issuer asks for the keys of an issuer, which a token of an unknown key needs.
func (x *examination) issuer(ctx context.Context, issuer section.Issuer) {
	switch {
	case issuer.JWKSFile != "":
		x.ok("provider", "jwt "+issuer.Issuer, "its keys are in a file; nobody is called")
	case len(issuer.Tenants) > 0:
		x.add("provider", Note, "jwt "+issuer.Issuer, "look at gatehouse_idp_requests_total of a node", "an issuer of many tenants is not examined")
	default:
		x.judged(ctx, "jwt", issuer.Issuer, cmp.Or(issuer.JWKSURI, issuer.Issuer), core.Header{Name: "Authorization", Value: "Bearer " + unsigned(issuer, x.Now())})
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

// judged has a gate judge an invented credential. Whoever verifies it has to be asked, and
// to say no.
func (x *examination) judged(ctx context.Context, name, provider, address string, credential core.Header) {
	subject := name + " " + shown(provider)
	var calls atomic.Int64 // also by what fetches keys in the background
	gate, err := x.gate(name, &calls)
	if err != nil {
		x.add("provider", Error, subject, "correct the configuration; gatehouse check shows all mistakes at once", "%v", err)
		return
	}
	d := gate.Check(ctx, &core.Request{Method: http.MethodGet, Target: "/", Host: "gatehouse-doctor.invalid", Scheme: "https", Header: []core.Header{credential}})
	switch {
	case d.Status == http.StatusUnauthorized && calls.Load() > 0:
		x.ok("provider", subject, "responds, and knows no invented credential")
	case d.Status == http.StatusUnauthorized:
		x.add("provider", Note, subject, "try a real credential: gatehouse doctor invents one", "the gate refuses an invented credential without a call: %v", d.Cause)
	case d.Outcome == core.Allow:
		x.add("provider", Error, subject, "find out what is at "+shown(address)+": it is not the provider", "an invented credential is accepted")
	default:
		x.add("provider", Error, subject, nearby, "%v", d.Cause)
	}
}

// gate is that of the configuration with nothing but what verifies credentials: with no
// part that begins, writes or follows anything.
// The calls to the provider of one section are counted.
func (x *examination) gate(section string, calls *atomic.Int64) (*core.Gate, error) {
	alone := *x.Config
	alone.PermissionTable, alone.PermissionTableFiles, alone.ShadowTableFiles = "authenticated: [GET /]", nil, nil
	alone.PermissionTableName, alone.ShadowTableName, alone.Bundle, alone.ClassicTables = "", "", nil, nil
	alone.Redis, alone.Postgres, alone.SubjectRoles, alone.Revocation, alone.RevocationEndpoints, alone.StateDir = nil, nil, nil, nil, nil, ""
	alone.APIToken, alone.Login, alone.SPIFFE, alone.MTLS, alone.DPoP = nil, nil, nil, nil, nil
	alone.UpstreamToken, alone.GatewayToken, alone.Audit, alone.DecisionPoint = nil, nil, nil, nil
	alone.FailedAttempts.Policy = "local"
	return config.NewBuilder(config.BuilderOptions{
		Log: slog.New(slog.DiscardHandler), Now: x.Now,
		Calls: func(provider string, _ time.Duration, _ error) {
			if provider == section {
				calls.Add(1)
			}
		},
	}).Build(&alone)
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
