package signin

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"gatehouse/core"
	"gatehouse/core/authn/jwt"
	"gatehouse/core/revocation/backchannel"
	"gatehouse/core/revocation/receive"
	"gatehouse/core/signin/oidc"
)

// logoutTokens reads those of several providers, whose issuers are known once their
// metadata are.
type logoutTokens struct {
	*backchannel.Protocol // how it responds
	options               backchannel.Options
	providers             []*oidc.Provider
}

// logoutAge is the age from which a logout token does not count.
const logoutAge = 5 * time.Minute

func (o *OIDC) backChannel(ps *providers, s *Sessions) (core.Endpoint, error) {
	options := backchannel.Options{MaxAge: logoutAge, Now: s.builder.Now(), RequireExpiry: !o.AllowMissingExp}
	return receive.Endpoint(receive.Options{
		Source: "sign-in", Path: o.BackChannel, MaxBody: backchannel.MaxBody, Publisher: s.revoked,
		Protocol: logoutTokens{backchannel.New(options), options, ps.list}, Log: s.builder.Log(), Now: s.builder.Now(),
	})
}

// Read has the token judged with the keys of the provider that it claims to be of.
func (l logoutTokens) Read(ctx context.Context, call *core.Call, body []byte) (receive.Message, error) {
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return l.Protocol.Read(ctx, call, nil)
	}
	issuer := jwt.IssuerOf(core.Credential{Value: form.Get("logout_token")})
	failed := error(&receive.Refusal{
		Status: http.StatusBadRequest, Code: "invalid_request", Detail: "The logout token does not hold.", Err: errors.New("it is of no provider that is configured"),
	})
	for _, p := range l.providers { // several may be clients of one issuer
		if p.Issuer() != strings.TrimSuffix(issuer, "/") && p.Issuer() != issuer { // not known to end in a slash
			continue
		}
		verifier, err := p.LogoutVerifier(ctx)
		if err != nil {
			failed = worse(failed, err)
			continue
		}
		options := l.options
		options.Verifier = verifier
		message, err := backchannel.New(options).Read(ctx, call, body)
		if err == nil {
			return message, nil
		}
		failed = worse(failed, err)
	}
	return receive.Message{}, failed
}

// worse is the error that counts: a provider that could not be asked may be the one that
// the token is of.
func worse(before, now error) error {
	var refused *receive.Refusal
	if errors.As(before, &refused) {
		return now
	}
	return before
}
