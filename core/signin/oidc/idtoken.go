package oidc

import (
	"context"
	"crypto"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"mime"
	"net/http"
	"strings"
	"time"

	"gatehouse/core"
	"gatehouse/core/authn/claims"
	"gatehouse/core/authn/idp"
	"gatehouse/core/signin/session"
)

// expected is what an ID token has to go with.
type expected struct {
	nonce, code, accessToken string
	demand                   Demand
	// renewed is the session that an ID token is for which came with a refreshed access
	// token; nil at sign-in.
	renewed *session.Session
}

func invalid(token string, err error) error {
	return fmt.Errorf("%w: %s %w", core.ErrInvalid, token, err)
}

// verify is OpenID Connect Core 1.0 section 3.1.3.7, and 12.2 for a renewed session. The
// signature, the issuer, the audience and the beginning are judged as those of any JWT.
func (p *Provider) verify(ctx context.Context, m *metadata, text string, e expected) (claims.Set, error) {
	set, err := m.tokens.Statement(ctx, text)
	if err != nil {
		return nil, fmt.Errorf("the ID token: %w", err)
	}
	now := p.options.Now()
	for _, check := range []func() error{
		set.CheckIDToken,
		func() error { _, err := set.Expiry(now); return err },
		func() error { return checkPresence(set) },
		func() error { return p.checkParty(set) },
		func() error { return checkNonce(set, e) },
		func() error { return checkHash(set, "at_hash", e.accessToken, text) },
		func() error { return checkHash(set, "c_hash", e.code, text) },
		func() error { return checkSame(set, e.renewed) },
		func() error { return p.checkAge(set, e.demand, now) },
	} {
		if err := check(); err != nil {
			return nil, invalid("the ID token", err)
		}
	}
	return set, nil
}

// maxSubject is the length of a subject (section 2).
const maxSubject = 255

func checkPresence(set claims.Set) error {
	if _, present, err := set.Time("iat"); err != nil || !present {
		return errors.Join(errors.New("has no usable iat"), err)
	}
	subject, err := set.Text("sub")
	switch {
	case err != nil:
		return err
	case subject == "":
		return errors.New("has no sub")
	case len(subject) > maxSubject:
		return fmt.Errorf("has a sub of more than %d bytes", maxSubject)
	}
	for _, name := range []string{"acr", "sid"} {
		if _, err := set.Text(name); err != nil {
			return err
		}
	}
	return nil
}

// checkParty wants the token to be made for the gate: where several may have it, azp says
// for whom it was made.
func (p *Provider) checkParty(set claims.Set) error {
	audience, err := set.Audience()
	if err != nil {
		return err
	}
	party, err := set.Text("azp")
	if err == nil && party == "" && len(audience) > 1 {
		return errors.New("has several audiences and no azp")
	}
	return p.checkMadeFor(set, "azp")
}

func checkNonce(set claims.Set, e expected) error {
	nonce, err := set.Text("nonce")
	switch {
	case err != nil:
		return err
	case e.renewed != nil: // which should have none, and is bound to the session by its subject
		return nil
	case nonce == "":
		return errors.New("has no nonce")
	case subtle.ConstantTimeCompare([]byte(nonce), []byte(e.nonce)) != 1:
		return errors.New("has the nonce of another sign-in")
	}
	return nil
}

// checkHash compares the left half of a hash (section 3.1.3.6), where there is one.
func checkHash(set claims.Set, name, value, token string) error {
	got, err := set.Text(name)
	if err != nil || set[name] == nil {
		return err
	}
	hash, err := hashOf(token)
	if err != nil {
		return err
	}
	h := hash.New()
	h.Write([]byte(value))
	sum := h.Sum(nil)
	want := base64.RawURLEncoding.EncodeToString(sum[:len(sum)/2])
	if subtle.ConstantTimeCompare([]byte(got), []byte(want)) != 1 {
		return fmt.Errorf("has the %s of another value", name)
	}
	return nil
}

// hashOf is the hash of the algorithm of a token whose signature holds. That of EdDSA is
// the one of Ed25519.
func hashOf(token string) (crypto.Hash, error) {
	part, _, _ := strings.Cut(token, ".")
	text, err := base64.RawURLEncoding.DecodeString(part)
	if err != nil {
		return 0, errors.New("has a header that is not base64url")
	}
	header, err := claims.Decode(text)
	if err != nil {
		return 0, err
	}
	alg, _ := header["alg"].(string)
	switch {
	case strings.HasSuffix(alg, "256"):
		return crypto.SHA256, nil
	case strings.HasSuffix(alg, "384"):
		return crypto.SHA384, nil
	}
	return crypto.SHA512, nil
}

// checkSame holds a renewed ID token to the person who signed in.
func checkSame(set claims.Set, s *session.Session) error {
	if s == nil {
		return nil
	}
	if subject, _ := set.Text("sub"); subject != s.Subject {
		return errors.New("is of another subject than the session")
	}
	if at, ok, err := set.Time("auth_time"); err != nil || ok && !s.AuthenticatedAt.IsZero() && !at.Equal(s.AuthenticatedAt) {
		return errors.New("has the auth_time of another sign-in")
	}
	return nil
}

// checkAge wants auth_time where an age is demanded (section 2).
func (p *Provider) checkAge(set claims.Set, d Demand, now time.Time) error {
	at, present, err := set.Time("auth_time")
	switch {
	case err != nil:
		return err
	case present && at.After(now.Add(p.options.Leeway)):
		return errors.New("has an auth_time in the future")
	case d.MaxAge == 0:
		return nil
	case !present:
		return &StepUpError{Recent: true, Detail: "has no auth_time although max_age was asked for"}
	case now.Sub(at) > max(d.MaxAge, 0)+p.options.Leeway:
		return &StepUpError{Recent: true, Detail: fmt.Sprintf("is of a sign-in at %s, which is too long ago", at.UTC().Format(time.RFC3339))}
	}
	return nil
}

// StepUpError is of a sign-in that is weaker, or longer ago, than was demanded: the
// provider has not done what it was asked for.
type StepUpError struct {
	// Recent says that the sign-in is too long ago, or may be.
	Recent bool
	Detail string
}

func (e *StepUpError) Error() string { return e.Detail }

// Is makes errors.Is(err, core.ErrInvalid) true.
func (*StepUpError) Is(target error) bool { return target == core.ErrInvalid }

func (p *Provider) satisfies(s *session.Session, d Demand) error {
	if s.AAL < d.AAL {
		return &StepUpError{Detail: fmt.Sprintf("the provider does not confirm assurance level %s, but %.20q (acr, amr)", d.AAL, s.AAL)}
	}
	return nil
}

// addUserInfo adds the claims of the UserInfo endpoint (section 5.3), which are about the
// same person or about nobody. Those of the ID token stay.
func (p *Provider) addUserInfo(ctx context.Context, m *metadata, s *session.Session) error {
	set, err := p.userInfo(ctx, m, s.AccessToken)
	if err != nil {
		return fmt.Errorf("UserInfo: %w", err)
	}
	if err := checkSubject(set, s); err != nil {
		return invalid("UserInfo", err)
	}
	all := aboutPerson(set)
	maps.Copy(all, s.Claims)
	s.Claims = all
	return nil
}

// aboutPerson are the claims that say something of the person, and not of the token that
// they are in or of the sign-in.
func aboutPerson(set claims.Set) claims.Set {
	kept := maps.Clone(set)
	for _, name := range []string{"iss", "aud", "azp", "exp", "iat", "nbf", "jti", "nonce", "at_hash", "c_hash", "s_hash", "rat", "acr", "amr", "auth_time", "sid", "events"} {
		delete(kept, name)
	}
	return kept
}

// userInfo is signed where the client is registered so; what is signed is verified.
func (p *Provider) userInfo(ctx context.Context, m *metadata, token string) (claims.Set, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, m.userInfo, nil)
	if err != nil {
		return nil, errors.New("the endpoint is not a URL")
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Accept", "application/json, application/jwt")
	response, err := p.options.Client.Do(req, maxResponse)
	switch {
	case err != nil:
		return nil, err
	case response.Status == http.StatusUnauthorized || response.Status == http.StatusForbidden:
		return nil, fmt.Errorf("%w: %w", core.ErrInvalid, response.Unexpected())
	case response.Status != http.StatusOK:
		return nil, response.Unexpected()
	}
	switch kind, _, err := mime.ParseMediaType(response.Header.Get("Content-Type")); {
	case err == nil && kind == "application/jwt":
		return m.tokens.Statement(ctx, string(response.Body))
	case err != nil || kind != "application/json":
		return nil, fmt.Errorf("the response of %s is of the type %.60q; want application/json or application/jwt", idp.Name(req.URL), kind)
	}
	set, err := claims.Decode(response.Body)
	if err != nil {
		return nil, fmt.Errorf("the response of %s %w", idp.Name(req.URL), err)
	}
	return set, nil
}
