package oidc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"golang.org/x/oauth2"

	"gatehouse/core"
	"gatehouse/core/authn/claims"
	"gatehouse/core/authn/idp"
	"gatehouse/core/signin/session"
)

// Response is what a browser brings from a provider.
type Response struct {
	State, Code, Issuer string
	// Error is a code of RFC 6749 section 4.1.2.1 or of OpenID Connect Core 1.0
	// section 3.1.2.6; empty where there is a code.
	Error string
}

// Bounds of a response, in bytes.
const (
	maxParameters = 16 << 10
	maxState      = 256
	maxCode       = 8 << 10
	maxName       = 1 << 10
)

// ParseResponse reads a query or a form. The error wraps core.ErrBadRequest.
func ParseResponse(text string) (r Response, err error) {
	if len(text) > maxParameters {
		return r, fmt.Errorf("%w: the authorization response is longer than %d bytes", core.ErrBadRequest, maxParameters)
	}
	form, err := url.ParseQuery(text)
	if err != nil {
		return r, fmt.Errorf("%w: the authorization response is no form", core.ErrBadRequest)
	}
	for _, parameter := range []struct {
		name string
		into *string
		max  int
	}{{"state", &r.State, maxState}, {"code", &r.Code, maxCode}, {"iss", &r.Issuer, maxName}, {"error", &r.Error, maxName}} {
		values := form[parameter.name]
		switch {
		case len(values) > 1:
			return r, fmt.Errorf("%w: the authorization response has %s twice", core.ErrBadRequest, parameter.name)
		case len(values) == 1 && len(values[0]) > parameter.max:
			return r, fmt.Errorf("%w: the authorization response has a %s of more than %d bytes", core.ErrBadRequest, parameter.name, parameter.max)
		case len(values) == 1:
			*parameter.into = values[0]
		}
	}
	switch {
	case r.State == "":
		err = fmt.Errorf("%w: the authorization response has no state", core.ErrBadRequest)
	case (r.Code == "") == (r.Error == ""):
		err = fmt.Errorf("%w: want a code or an error in the authorization response", core.ErrBadRequest)
	}
	return r, err
}

// RefusedError is of a sign-in that the provider refused, or the person.
type RefusedError struct{ Code string }

func (e *RefusedError) Error() string { return fmt.Sprintf("the provider responds %.60q", e.Code) }

// Is makes errors.Is(err, core.ErrInvalid) true.
func (*RefusedError) Is(target error) bool { return target == core.ErrInvalid }

// SignIn redeems the code of a response to an attempt and verifies what the provider
// says with it. The session has no id yet.
func (p *Provider) SignIn(ctx context.Context, a Attempt, r Response) (*session.Session, error) {
	s, err := p.signIn(ctx, a, r)
	if err != nil {
		return nil, fmt.Errorf("identity provider %s: %w", p.options.Name, err)
	}
	return s, nil
}

func (p *Provider) signIn(ctx context.Context, a Attempt, r Response) (*session.Session, error) {
	m, err := p.metadata(ctx)
	if err != nil {
		return nil, err
	}
	if err := m.checkIssuer(r.Issuer); err != nil {
		return nil, err
	}
	if r.Error != "" {
		return nil, &RefusedError{r.Error}
	}
	options := []oauth2.AuthCodeOption{oauth2.VerifierOption(a.Verifier)}
	token, err := p.config(m).Exchange(p.library(ctx, m), r.Code, options...)
	if err != nil {
		return nil, tokenError(err)
	}
	if err := checkType(token); err != nil {
		return nil, err
	}
	text, _ := token.Extra("id_token").(string)
	if text == "" {
		return nil, fmt.Errorf("%w: the token response has no id_token", core.ErrInvalid)
	}
	expect := expected{nonce: a.Nonce, code: r.Code, accessToken: token.AccessToken, demand: p.demand(a.Demand)}
	set, err := p.verify(ctx, m, text, expect)
	if err != nil {
		return nil, err
	}
	s := p.session(m, set, token)
	s.IDToken = text
	if err := p.satisfies(s, a.Demand); err != nil {
		return nil, err
	}
	return s, p.complete(ctx, m, s)
}

// complete adds what is known beside the ID token.
func (p *Provider) complete(ctx context.Context, m *metadata, s *session.Session) error {
	if p.options.UserInfo {
		if err := p.addUserInfo(ctx, m, s); err != nil {
			return err
		}
	}
	return p.addAccessToken(ctx, m, s)
}

// checkType wants an access token that is used as this gate does (OpenID Connect Core 1.0
// section 3.1.3.3, RFC 6749 section 7.1).
func checkType(token *oauth2.Token) error {
	if !strings.EqualFold(token.TokenType, "Bearer") {
		return fmt.Errorf("%w: the token response has the token_type %.40q; want Bearer", core.ErrInvalid, token.TokenType)
	}
	return nil
}

// checkIssuer is RFC 9207 section 2.4: the code of one provider is not handed to
// another.
func (m *metadata) checkIssuer(issuer string) error {
	switch {
	case issuer == "" && m.namesIssuer:
		return fmt.Errorf("%w: the authorization response has no iss, which the provider says that it sends", core.ErrInvalid)
	case issuer != "" && issuer != m.issuer:
		return fmt.Errorf("%w: the authorization response is of another issuer: iss is %.200q, want %.200q", core.ErrInvalid, issuer, m.issuer)
	}
	return nil
}

// library is the context of calls by golang.org/x/oauth2.
func (p *Provider) library(ctx context.Context, m *metadata) context.Context {
	return context.WithValue(p.asking(ctx, m), oauth2.HTTPClient, idp.HTTP(p.auth))
}

// tokenError says what is wrong with a token request and repeats nothing of the
// response but the code of the error.
func tokenError(err error) error {
	var refused *oauth2.RetrieveError
	if !errors.As(err, &refused) {
		return fmt.Errorf("the token request: %w", explained(err))
	}
	status := 0
	if refused.Response != nil {
		status = refused.Response.StatusCode
	}
	explained := fmt.Errorf("the token endpoint responds with status %d%s", status, shownCode(refused.ErrorCode))
	if refused.ErrorCode == "invalid_grant" {
		return fmt.Errorf("%w: %w", core.ErrInvalid, explained)
	}
	return explained
}

// Renew gets new tokens by the refresh token (section 12). It is session.Renewer's.
func (p *Provider) Renew(ctx context.Context, s *session.Session) (*session.Session, error) {
	renewed, err := p.renew(ctx, s)
	if err != nil {
		return nil, fmt.Errorf("identity provider %s: %w", p.options.Name, err)
	}
	return renewed, nil
}

var _ session.Renewer = (*Provider)(nil)

func (p *Provider) renew(ctx context.Context, s *session.Session) (*session.Session, error) {
	if s.RefreshToken == "" {
		return nil, fmt.Errorf("%w: the session has no refresh token", core.ErrInvalid)
	}
	m, err := p.metadata(ctx)
	if err != nil {
		return nil, err
	}
	token, err := p.config(m).TokenSource(p.library(ctx, m), &oauth2.Token{RefreshToken: s.RefreshToken}).Token()
	if err != nil {
		return nil, tokenError(err)
	}
	if err := checkType(token); err != nil {
		return nil, err
	}
	renewed := *s
	p.setTokens(&renewed, token, s.Scopes)
	text, _ := token.Extra("id_token").(string)
	if text == "" {
		return &renewed, p.addAccessToken(ctx, m, &renewed)
	}
	set, err := p.verify(ctx, m, text, expected{accessToken: token.AccessToken, renewed: s})
	if err != nil {
		return nil, err
	}
	renewed.IDToken = text
	fresh := p.session(m, set, token)
	if act := s.Claims["act"]; act != nil && fresh.Claims["act"] == nil { // what the renewal leaves out still holds
		fresh.Claims["act"] = act
	}
	renewed.Claims = fresh.Claims
	return &renewed, p.complete(ctx, m, &renewed)
}

// setTokens keeps what a token response brings. A scope that it does not name is as it
// was (RFC 6749 sections 5.1 and 6).
func (p *Provider) setTokens(s *session.Session, token *oauth2.Token, scopes []string) {
	s.AccessToken, s.RefreshToken, s.Scopes = token.AccessToken, token.RefreshToken, scopes
	if granted, ok := token.Extra("scope").(string); ok && granted != "" {
		s.Scopes = strings.Fields(granted)
	}
	s.TokenExpires = time.Time{}
	if token.ExpiresIn > 0 {
		s.TokenExpires = p.options.Now().Add(time.Duration(token.ExpiresIn) * time.Second)
	}
}

// session is what a verified ID token says.
func (p *Provider) session(m *metadata, set claims.Set, token *oauth2.Token) *session.Session {
	s := &session.Session{Provider: p.options.Name, Issuer: m.issuer, ClientID: p.options.ClientID, Claims: aboutPerson(set.Narrowed(nil))}
	s.Subject, _ = set.Text("sub")
	s.ProviderSession, _ = set.Text("sid")
	s.ACR, _ = set.Text("acr")
	s.AMR = textsOf(set["amr"])
	s.AAL = p.level(s.ACR, s.AMR)
	if at, ok, err := set.Time("auth_time"); ok && err == nil {
		s.AuthenticatedAt = at
	}
	p.setTokens(s, token, p.options.Scopes)
	return s
}

func textsOf(value any) (texts []string) {
	list, _ := value.([]any)
	for _, member := range list {
		if text, ok := member.(string); ok {
			texts = append(texts, text)
		}
	}
	return texts
}

// level is the highest that acr and amr stand for; empty: none.
func (p *Provider) level(acr string, amr []string) string {
	level := p.options.ACRLevels[acr]
	for _, method := range amr {
		level = max(level, p.options.AMRLevels[method])
	}
	return level
}

// send makes a call and reads the response, which the transport bounds.
func send(client *http.Client, req *http.Request) (*http.Response, []byte, error) {
	response, err := client.Do(req)
	if err != nil {
		return nil, nil, explained(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return response, body, err
}
