package section

import (
	"time"

	"gatehouse/core"
	"gatehouse/core/authn"
	"gatehouse/core/authn/idp"
	"gatehouse/core/authn/session"
	"gatehouse/core/extract"
	"gatehouse/core/revocation"
	"gatehouse/core/setting"
)

// Session verifies Ory Kratos sessions.
type Session struct {
	KratosURL        string          `config:"kratos_url" required:"true" starts_with:"http" doc:"URL of the public API of Ory Kratos, such as http://kratos:4433."`
	CookieName       string          `config:"cookie_name" default:"ory_kratos_session" doc:"Name of the session cookie."`
	SessionToken     bool            `config:"session_token" default:"true" doc:"Whether session tokens are accepted in X-Session-Token, as native apps send them."`
	BearerToken      bool            `config:"bearer_token" default:"false" doc:"Whether session tokens (ory_st_...) are also accepted in the Authorization header."`
	RequiredAAL      string          `config:"required_aal" one_of:"aal1,aal2" default:"aal1" doc:"Lowest authenticator assurance level that is accepted (NIST SP 800-63B)."`
	RolesClaim       string          `config:"roles_claim" len_min:"0" default:"identity.metadata_public.roles" doc:"Where the roles are in the session document. Empty for none."`
	PermissionsClaim string          `config:"permissions_claim" len_min:"0" default:"identity.metadata_public.permissions" doc:"Where permissions are in the session document. Empty for none."`
	CacheTTL         setting.Seconds `config:"cache_ttl" default:"30" between:"0,3600" doc:"How long a valid session is cached, in seconds. A revoked session may be accepted for that long. 0 calls Kratos on every request."`
	NegativeCacheTTL setting.Seconds `config:"negative_cache_ttl" default:"5" between:"0,300" doc:"How long the refusal of a session is cached, in seconds."`
	Outbound         Outbound        `config:"http" doc:"How Kratos is called."`
}

// KratosSessions end sessions. Where no revocations are configured the list of those that
// were ended is this process's.
type KratosSessions struct {
	*session.Authenticator
	Publisher  revocation.Publisher
	CookieName string
}

var _ Section = (*Session)(nil)

func (*Session) Kind() core.Kind { return core.KindSession }

func (s *Session) Places() []extract.Place {
	var places []extract.Place
	if s.CookieName != "" {
		places = append(places, extract.Place{Name: core.SessionCookie, Cookie: s.CookieName})
	}
	if s.SessionToken {
		places = append(places, extract.SessionTokenPlace)
	}
	return places
}

func (s *Session) JudgesBearer() bool { return s.BearerToken }

func (s *Session) Check(v Validator) {
	v.Claims("session.roles_claim", s.RolesClaim)
	v.Claims("session.permissions_claim", s.PermissionsClaim)
}

func (s *Session) Build(b *Builder, c Caching) (*Part, error) {
	trust, err := s.Outbound.trust(s.Kind())
	if err != nil {
		return nil, err
	}
	if c.Revoked == nil || c.Publisher == nil {
		list := revocation.New(revocation.Options{Now: b.options.Now, Log: b.options.Log})
		c.Revoked, c.Publisher = list, list
	}
	k := c.key(s.Kind(), s, trust)
	return b.part(k, c, func() (*Part, error) {
		client, err := b.client(s.Kind(), s.Outbound, trust, nil)
		if err != nil {
			return nil, err
		}
		next, err := session.New(s.options(client, b.options.Now))
		if err != nil {
			return nil, err
		}
		memo, err := b.memo(next, k, c, s.CacheTTL, s.NegativeCacheTTL, s.Outbound, nil)
		if err != nil {
			return nil, err
		}
		return &Part{Memo: memo, Client: client, Kind: s.Kind(), Issuer: s.KratosURL, Order: sessionsFirst, Route: authn.Route{Title: "sessions", Judges: session.Judges(s.BearerToken)}, Made: &KratosSessions{next, c.Publisher, s.CookieName}}, nil
	})
}

func (s *Session) options(client *idp.Client, now func() time.Time) session.Options {
	return session.Options{
		URL:         s.KratosURL,
		Client:      client,
		CookieName:  s.CookieName,
		RequiredAAL: s.RequiredAAL,
		Claims:      grants(*s, s.RolesClaim, s.PermissionsClaim),
		Now:         now,
	}
}

// uncalled makes an authenticator that calls nothing.
func (s *Session) uncalled(now func() time.Time) (*session.Authenticator, error) {
	unused, err := idp.New(idp.Options{})
	if err != nil {
		return nil, err
	}
	return session.New(s.options(unused, now))
}

func (s *Session) Refused() error {
	_, err := s.uncalled(time.Now)
	return err
}

func (s *Session) Principal(b *Builder, document map[string]any, _ string) (*core.Principal, error) {
	a, err := s.uncalled(b.options.Now)
	if err != nil {
		return nil, err
	}
	return a.Principal(document)
}
