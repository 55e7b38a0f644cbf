package signin

import (
	"context"
	"errors"
	"log/slog"
	"net/url"
	"strings"

	"gatehouse/core"
	"gatehouse/core/config/section"
	"gatehouse/core/login"
	"gatehouse/core/revocation"
	"gatehouse/core/signin/flow"
)

// Login is where browsers go to sign in.
type Login struct {
	URL               string `config:"url" starts_with:"http" doc:"URL of the login page. With Kratos: .../self-service/login/browser. Is needed without oidc."`
	ReturnToParameter string `config:"return_to_parameter" default:"return_to" doc:"Query parameter for the address to return to."`
	Scheme            string `config:"scheme" default:"https" one_of:"http,https" doc:"Scheme by which browsers reach the gateway, for the address to return to."`
	LogoutPath        string `config:"logout_path" doc:"URL path, on hosts that receive the cookie of Ory Kratos, that signs people out of Kratos: it ends the session of the section session there, and no cache counts it any more. A script gets the address to go to as JSON. Without it: none. login.oidc has a path of its own."`
	AfterLogout       string `config:"post_logout_redirect_uri" starts_with:"http" doc:"URL to which people come when they have signed out by logout_path. Without it they get a page that says so."`
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
	l.checkLogout(v, around)
	switch {
	case l.URL == "" && l.OIDC == nil && !v.Mentions("login.url", "login.oidc"):
		v.Add("login.url", "is needed, or login.oidc for a sign-in at the gate itself")
	case l.URL != "" && l.OIDC != nil:
		v.Add("login.url", "cannot be set beside login.oidc: there is one place to sign in")
	}
}

func (l *Login) checkLogout(v section.Validator, around Around) {
	switch {
	case l.LogoutPath == "" && l.AfterLogout != "":
		v.Add("login.post_logout_redirect_uri", "goes with login.logout_path")
	case l.LogoutPath == "":
	case l.OIDC != nil:
		v.Add("login.logout_path", "cannot be set beside login.oidc, which has a logout_path of its own")
	case !around.Kratos:
		v.Add("login.logout_path", "ends sessions of Ory Kratos, and there is no section session")
	case !strings.HasPrefix(l.LogoutPath, "/"):
		v.Add("login.logout_path", "is no path; it begins with /")
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

// Build makes it, of the part of the sessions and that of the sessions of Kratos; nil: for
// tools, which call nobody.
func (l *Login) Build(part, kratos *section.Part, log *slog.Logger) (b Built, err error) {
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
	if l.LogoutPath == "" {
		return b, nil
	}
	if kratos == nil {
		b.Endpoints = l.Offline()
		return b, nil
	}
	b.Endpoints, err = l.kratosLogout(kratos, log)
	return b, err
}

func (l *Login) kratosLogout(part *section.Part, log *slog.Logger) ([]core.Endpoint, error) {
	sessions, ok := part.Made.(*section.KratosSessions)
	if !ok {
		return nil, errors.New("login.logout_path: the part has no sessions of Kratos")
	}
	endpoint, err := flow.KratosLogout(flow.KratosOptions{
		Path: l.LogoutPath, After: l.AfterLogout, CookieName: sessions.CookieName, Log: log,
		Identify: part.Guard.AuthenticateToken, End: sessions.Logout,
		Revoke: func(ctx context.Context, p *core.Principal) error {
			e := revocation.Event{Kind: revocation.Session, Value: p.SessionID, Until: p.Expiry, Source: "sign-out", Reason: "logout"}
			return sessions.Publisher.Publish(ctx, revocation.Identified([]revocation.Event{e})...)
		},
	})
	return []core.Endpoint{endpoint}, err
}
