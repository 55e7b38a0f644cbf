package signin

import (
	"errors"
	"strings"

	"gatehouse/core"
	"gatehouse/core/config/section"
	"gatehouse/core/gatewaytoken"
	"gatehouse/core/shared"
	"gatehouse/core/signin/enrich"
	"gatehouse/core/signin/session"
	"gatehouse/core/signin/tokencookie"
)

// checkToken reports what sessions that are tokens of the gate need, and cannot have.
func (s *Session) checkToken(v section.Validator, path string, around Around) {
	switch {
	case around.TokenTTL == 0:
		v.Add(path+".storage", "is jwt, and there is no section gateway_token, whose tokens the cookie would hold")
	case around.Retention == 0:
		v.Add(path+".storage", "is jwt, and there is no section revocation: the token in the cookie passes as a bearer token, too, and a logout could not end it there")
	}
	if s.KeepAccessToken {
		v.Add(path+".keep_access_token", "contradicts storage: jwt: the token in the cookie is for apps to read, and holds none of the provider")
	}
	if s.RequiredAAL == "" {
		return
	}
	v.Add(path+".required_aal", "is for sessions alone, and a token in the cookie of storage: jwt passes as a bearer token, too; write require: {aal: ...} into the permission table")
}

// tokens are those of the gate, where sessions are such; nil: they are not.
func (s *Session) tokens(c section.Caching) (*gatewaytoken.Tokens, shared.Key, error) {
	if !s.inToken() {
		return nil, shared.Key{}, nil
	}
	if c.Gateway != nil {
		if tokens, ok := c.Gateway.Made.(*gatewaytoken.Tokens); ok {
			return tokens, c.Gateway.Key, nil
		}
	}
	return nil, shared.Key{}, errors.New("is jwt, and there is no section gateway_token")
}

func (s *Session) inTokens(b *section.Builder, c section.Caching, by session.Renewer, principal func(*session.Session) (*core.Principal, error)) (session.Store, error) {
	tokens, _, err := s.tokens(c)
	if err != nil {
		return nil, err
	}
	made, ok := by.(source)
	if !ok {
		return nil, errors.New("nobody says whose sessions these are")
	}
	values := tokencookie.New(tokencookie.Options{Tokens: tokens, Principal: principal, Provider: made.Provider, Again: made.Enrich, Now: b.Now()})
	return session.NewInCookie(s.cookie(), s.life(b, tokens), values)
}

// others are the further names by which a session can be revoked.
func others(p *core.Principal) []core.Principal {
	if original, renamed := enrich.Original(p); renamed {
		return []core.Principal{original}
	}
	return nil
}

// Provider names the one of an issuer at which the gate is a client; empty: there is none.
func (p *providers) Provider(issuer, client string) string {
	for _, one := range p.list {
		if strings.TrimSuffix(one.Issuer(), "/") == strings.TrimSuffix(issuer, "/") && one.ClientID() == client {
			return one.Name()
		}
	}
	return ""
}
