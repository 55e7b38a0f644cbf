package signin

import (
	"errors"
	"net/url"

	"gatehouse/core"
	"gatehouse/core/config/section"
	"gatehouse/core/login"
)

// Login is where browsers go to sign in.
type Login struct {
	URL               string `config:"url" starts_with:"http" doc:"URL of the login page. With Kratos: .../self-service/login/browser. Is needed without oidc."`
	ReturnToParameter string `config:"return_to_parameter" default:"return_to" doc:"Query parameter for the address to return to."`
	Scheme            string `config:"scheme" default:"https" one_of:"http,https" doc:"Scheme by which browsers reach the gateway, for the address to return to."`
	OIDC              *OIDC  `config:"oidc" doc:"Sign-in at OpenID providers by the gate itself, in the place of url."`
}

// Check reports what no single tag can say.
func (l *Login) Check(v section.Validator, around Around) {
	if l == nil {
		return
	}
	if l.OIDC != nil && l.OIDC.Session != nil {
		around.Renews = l.OIDC.Renew
		l.OIDC.Session.Check(v, at+".session", around)
	}
	switch {
	case l.URL == "" && l.OIDC == nil && !v.Mentions("login.url", "login.oidc"):
		v.Add("login.url", "is needed, or login.oidc for a sign-in at the gate itself")
	case l.URL != "" && l.OIDC != nil:
		v.Add("login.url", "cannot be set beside login.oidc: there is one place to sign in")
	}
}

// Section is that of the sessions of the gate's own sign-in; nil: there are none.
func (l *Login) Section() section.Section {
	if l == nil || l.OIDC == nil {
		return nil
	}
	return l.OIDC
}

// Built is what a gate has for browsers that sign in.
type Built struct {
	// Login is nil where browsers are not sent to sign in.
	Login     core.Login
	Endpoints []core.Endpoint
	// Attend has sessions kept up that an authenticator has found to hold.
	Attend func(core.Authenticator) core.Authenticator
}

// Build makes it, of the part of the sessions; nil: for tools, which call nobody.
func (l *Login) Build(part *section.Part) (b Built, err error) {
	b.Attend = func(a core.Authenticator) core.Authenticator { return a }
	switch {
	case l == nil:
		return b, nil
	case l.OIDC != nil:
		return l.OIDC.built(part, l.Scheme, b)
	}
	u, err := url.Parse(l.URL)
	if err != nil {
		return b, errors.New("login.url: is not a URL")
	}
	b.Login = &login.Page{URL: u, ReturnTo: l.ReturnToParameter, Scheme: l.Scheme}
	return b, nil
}
