package signin

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"gatehouse/core"
	"gatehouse/core/config/section"
	"gatehouse/core/extract"
	"gatehouse/core/fleet/seal"
	"gatehouse/core/gatewaytoken"
	"gatehouse/core/revocation"
	"gatehouse/core/setting"
	"gatehouse/core/signin/session"
)

// Session is how the sessions of browsers that signed in at the gate are kept. Its names
// are those of Kong's and APISIX's openid-connect.
type Session struct {
	Secret           []setting.Secret `config:"secret" required:"true" secret:"true" doc:"Secrets of at least 32 bytes, such as of openssl rand -base64 32, each a literal value, $env://NAME or $file:///path. The first one encrypts sessions, all of them decrypt: to change it, put the new one in front, and take the old one out after absolute_timeout."`
	Storage          string           `config:"storage" default:"cookie" one_of:"cookie,redis,jwt" doc:"Where sessions are: cookie, encrypted in the cookies themselves; redis, in the section redis, with a random name in the cookie: they can be listed and ended for a user and have no limit in size, and while Redis is away requests with such a cookie get 503; jwt: the cookie holds a token of gateway_token that lasts for its ttl and is issued anew while it is used, until absolute_timeout. It holds nothing of the provider: keep_id_token and renew_access_token_on_expiry do nothing."`
	Cookie           SessionCookie    `config:"cookie" doc:"The cookie of a session."`
	IdlingTimeout    setting.Seconds  `config:"idling_timeout" default:"3600" between:"0,31536000" doc:"How long a session may go unused, in seconds; 0 for as long as absolute_timeout. It is counted by tenths, and with storage: cookie only where the gateway can hand a new cookie to the browser."`
	AbsoluteTimeout  setting.Seconds  `config:"absolute_timeout" default:"86400" between:"60,31536000" doc:"How long a session lasts after the sign-in, however much it is used, in seconds. With revocation it can be as long as revocation.retention."`
	Remember         bool             `config:"remember" default:"false" doc:"Whether browsers keep the cookie when they are closed, until the session ends."`
	Claims           []string         `config:"claims" doc:"Names of the claims that are kept of the ID token, of UserInfo and, as access_token, of the access token. Without it: all of them."`
	KeepIDToken      bool             `config:"keep_id_token" default:"true" doc:"Whether the ID token is kept, which the logout at the provider takes (id_token_hint)."`
	KeepAccessToken  bool             `config:"keep_access_token" default:"false" doc:"Whether the access token is kept."`
	RequiredAAL      string           `config:"required_aal" one_of:"aal1,aal2,aal3" doc:"Least assurance level of a session. Without it: none."`
	RolesClaim       string           `config:"roles_claim" default:"roles,ext.roles" doc:"Claims with the roles of the user. Of several claims, separated by commas, the first that is present counts."`
	PermissionsClaim string           `config:"permissions_claim" default:"permissions,ext.permissions" doc:"The same for permissions."`
	CacheTTL         setting.Seconds  `config:"cache_ttl" default:"30" between:"0,300" doc:"How long a valid session is cached, in seconds. A session in Redis is cached only beside a section revocation, by which nodes learn at once which sessions have been ended; without it every request looks into Redis."`
	NegativeCacheTTL setting.Seconds  `config:"negative_cache_ttl" default:"5" between:"0,300" doc:"How long the refusal of a session is cached, in seconds."`
}

// SessionCookie is what the cookie of a session is like.
type SessionCookie struct {
	Name     string `config:"name" doc:"Name of the cookie. Without it: __Host-gatehouse, with domain __Secure-gatehouse, and with secure: false gatehouse. A session that is too long for one cookie is split into NAME.0, NAME.1 and so on."`
	Domain   string `config:"domain" doc:"Parent domain, such as example.com, all of whose hosts share the session and receive its cookie. Without it: the host of the sign-in alone."`
	Secure   bool   `config:"secure" default:"true" doc:"Whether browsers send the cookie over HTTPS only. Switch off in development only."`
	SameSite string `config:"same_site" default:"Lax" one_of:"Lax,Strict,None" doc:"SameSite attribute of the cookie. With Strict no link of another site shows a page of somebody who is signed in."`
	MaxSize  int    `config:"max_size" default:"7168" between:"1024,16384" doc:"How many bytes of cookies a session may take. A sign-in with a larger one is refused, and the log names what to leave out. nginx, and so Kong and APISIX, takes 8 KiB as one line of a header, other cookies included (large_client_header_buffers)."`
}

// cookie has the defaults that depend on other settings.
func (s *Session) cookie() session.Cookie {
	c := s.Cookie
	name := "__Host-gatehouse"
	switch {
	case !c.Secure:
		name = "gatehouse"
	case c.Domain != "":
		name = "__Secure-gatehouse"
	}
	return session.Cookie{Name: cmp.Or(c.Name, name), Domain: c.Domain, Insecure: !c.Secure, SameSite: c.SameSite, Persistent: s.Remember, MaxSize: c.MaxSize, Whole: s.inToken()}
}

func (s *Session) inRedis() bool { return s.Storage == "redis" }
func (s *Session) inToken() bool { return s.Storage == "jwt" }

// Place is where the credential is found.
func (s *Session) Place() extract.Place { return s.cookie().Place() }

// Cookies are the names of those that responses set for sessions of the gate's own
// sign-in.
func (l *Login) Cookies() []string {
	if l == nil || l.OIDC == nil || l.OIDC.Session == nil {
		return nil
	}
	return l.OIDC.Session.cookie().Names()
}

// Around are the sections that are set beside the one of sessions.
type Around struct {
	Redis bool
	// Retention is that of revocations; 0: there are none.
	Retention setting.Seconds
	// Renews says that tokens are renewed.
	Renews bool
	// Kratos says that sessions of Ory Kratos count.
	Kratos bool
	// TokenTTL is that of the tokens that the gate issues for itself; 0: there are none.
	TokenTTL setting.Seconds
}

// Check reports what no single tag can say, of a section at a path.
func (s *Session) Check(v section.Validator, path string, around Around) {
	for i, reference := range s.Secret {
		if !strings.HasPrefix(string(reference), "$") && len(reference) < seal.MinSecret {
			v.Add(section.Item(path+".secret", i), "has %d bytes; want at least %d, such as of openssl rand -base64 32", len(reference), seal.MinSecret)
		}
	}
	switch {
	case s.inRedis() && !around.Redis:
		v.Add(path+".storage", "is redis, but there is no section redis")
	case s.inToken():
		s.checkToken(v, path, around)
	case !s.inRedis() && around.Redis && around.Renews:
		v.Add(path+".storage", "is cookie, and the section redis tells of several nodes: two of them would use one refresh token, and the provider would end the session; write redis, or renew_access_token_on_expiry: false")
	}
	if s.IdlingTimeout > s.AbsoluteTimeout {
		v.Add(path+".idling_timeout", "is longer than absolute_timeout, which ends the session before; write 0 for no other end")
	}
	if around.Retention > 0 && s.AbsoluteTimeout > around.Retention && !s.inRedis() {
		v.Add(path+".absolute_timeout", "is longer than revocation.retention: a session would outlive its revocation")
	}
	if d := s.Cookie.Domain; d != "" && (strings.Trim(d, ".") != d || !strings.Contains(d, ".") || net.ParseIP(d) != nil || strings.ContainsAny(d, " ;,:/*")) {
		v.Add(path+".cookie.domain", "is no parent domain; write one such as example.com")
	}
	if _, err := session.NewSealed(s.cookie(), s.life(nil, nil), strings.Repeat("x", seal.MinSecret)); err != nil {
		v.Add(path+".cookie", "%v", err)
	}
	v.Claims(path+".roles_claim", s.RolesClaim)
	v.Claims(path+".permissions_claim", s.PermissionsClaim)
}

// Sessions are what a section keeps sessions in, and who judges them.
type Sessions struct {
	Store         session.Store
	Authenticator *session.Authenticator
	// Renewer is the one that the sessions were built with.
	Renewer  session.Renewer
	revoked  revocation.Publisher
	builder  *section.Builder
	settings *Session
	secrets  []string
}

// Revoke ends a session on every node: no copy of its cookie holds any more, and what a
// cache knows of it counts no more.
func (s *Sessions) Revoke(ctx context.Context, of *session.Session, reason string) error {
	now := s.builder.Now()()
	e := revocation.Event{Kind: revocation.Session, Value: of.ID, At: now, Until: now.Add(s.settings.AbsoluteTimeout.Duration()), Source: "sign-out", Reason: reason}
	return s.revoked.Publish(ctx, revocation.Identified([]revocation.Event{e})...)
}

// Build finds or makes the sessions of a section at a path. The renewer depends on what
// of says; it is kept where tokens are not renewed, too. Where no revocations are
// configured the list of them is this process's.
func (s *Session) Build(b *section.Builder, c section.Caching, path string, renewer func() (session.Renewer, error), renews bool, of ...any) (*section.Part, error) {
	secrets, err := s.resolved(path)
	if err != nil {
		return nil, err
	}
	if s.inRedis() && c.Redis == nil {
		return nil, section.At(path+".storage", errors.New("is redis, but there is no section redis"))
	}
	storeKey := c.SharedKey
	if !s.inRedis() {
		storeKey = [len(storeKey)]byte{}
	}
	tokens, tokenKey, err := s.tokens(c)
	if err != nil {
		return nil, section.At(path+".storage", err)
	}
	publisher, ttl := c.Publisher, s.CacheTTL
	if c.Revoked == nil || publisher == nil {
		if s.inRedis() {
			ttl = 0 // nothing else tells this node of a session that another one has ended
		}
		list := revocation.New(revocation.Options{Retention: s.AbsoluteTimeout.Duration(), Now: b.Now(), Log: b.Log()})
		c.Revoked, publisher = list, list
	}
	return b.Own(section.Own{
		Kind: core.KindOIDC, Title: "sessions of the sign-in", Judges: session.Judges, Local: !s.inRedis(), TTL: ttl, NegativeTTL: s.NegativeCacheTTL,
		Others: others,
		Make: func() (core.TokenAuthenticator, any, error) {
			made, err := renewer()
			if err != nil {
				return nil, nil, err
			}
			by := made
			if !renews || s.inToken() {
				by = nil
			}
			var a *session.Authenticator
			principal := func(of *session.Session) (*core.Principal, error) { return a.Principal(of) }
			store, err := s.store(b, c, secrets, made, principal)
			if err != nil {
				return nil, nil, section.At(path, err)
			}
			a, err = session.New(session.Options{
				Store: store, Renewer: by, Life: s.life(b, tokens), RequiredAAL: s.RequiredAAL,
				Claims: section.Grants(*s, s.RolesClaim, s.PermissionsClaim), Log: b.Log(),
			})
			return a, &Sessions{store, a, made, publisher, b, s, secrets}, err
		},
	}, c, append([]any{s, secrets, storeKey, tokenKey}, of...)...)
}

// InRedis opens the sessions of a configuration in the Redis of its fleet, for tools. How
// long a session lasts is beside it.
func (l *Login) InRedis(c section.Caching) (*session.InRedis, time.Duration, error) {
	if l == nil || l.OIDC == nil || l.OIDC.Session == nil || !l.OIDC.Session.inRedis() {
		return nil, 0, errors.New("the configuration keeps no sessions in Redis (login.oidc.session.storage: redis): nobody has a list of those in cookies; gatehouse revoke --subject ends them")
	}
	s := l.OIDC.Session
	secrets, err := s.resolved(at + ".session")
	if err != nil {
		return nil, 0, err
	}
	store, err := session.NewInRedis(c.Redis, c.RedisPrefix, s.cookie(), s.life(nil, nil), secrets...)
	return store, s.AbsoluteTimeout.Duration(), err
}

// resolved are the secrets.
func (s *Session) resolved(path string) ([]string, error) {
	secrets := make([]string, len(s.Secret))
	for i, reference := range s.Secret {
		var err error
		if secrets[i], err = setting.Resolve(string(reference)); err == nil && len(secrets[i]) < seal.MinSecret {
			err = fmt.Errorf("has %d bytes; want at least %d", len(secrets[i]), seal.MinSecret)
		}
		if err != nil {
			return nil, section.At(section.Item(path+".secret", i), err)
		}
	}
	return secrets, nil
}

// source makes sessions and completes those that get a new token.
type source interface {
	Provider(issuer, client string) string
	Enrich(ctx context.Context, s *session.Session) error
}

func (s *Session) store(b *section.Builder, c section.Caching, secrets []string, by session.Renewer, principal func(*session.Session) (*core.Principal, error)) (session.Store, error) {
	switch {
	case s.inRedis():
		return session.NewInRedis(c.Redis, c.RedisPrefix, s.cookie(), s.life(b, nil), secrets...)
	case s.inToken():
		return s.inTokens(b, c, by, principal)
	}
	return session.NewSealed(s.cookie(), s.life(b, nil), secrets...)
}

func (s *Session) life(b *section.Builder, tokens *gatewaytoken.Tokens) session.Life {
	life := session.Life{Idle: s.IdlingTimeout.Duration(), Absolute: s.AbsoluteTimeout.Duration()}
	if b != nil {
		life.Now = b.Now()
	}
	if tokens != nil && (life.Idle == 0 || tokens.Lifetime() < life.Idle) {
		life.Idle = tokens.Lifetime()
	}
	return life
}
