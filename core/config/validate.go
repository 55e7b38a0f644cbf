package config

import (
	"maps"
	"slices"
	"strings"

	"gatehouse/core"
	"gatehouse/core/config/answer"
	"gatehouse/core/config/consumer"
	"gatehouse/core/config/section"
	"gatehouse/core/config/signin"
	"gatehouse/core/config/token"
	"gatehouse/core/httpsyntax"
	"gatehouse/core/identity"
	"gatehouse/core/setting"
)

// validator checks a configuration beyond its tags.
type validator struct{ section.Validator }

// config checks what no single tag can say.
func (v validator) config(c *Config) {
	if len(c.sections()) == 0 && !v.Mentions(append(core.KindNames(), "gateway_token")...) {
		v.Add("", "no way to authenticate: set %s", setting.Alternatives(core.KindNames()))
	}
	if c.Realm == "" {
		v.Add("realm", "is empty; leave it out, or name what the gate protects")
	}
	c.tableSource().Check(v.Validator)
	c.AuthZEN.Check(v.Validator)
	if c.TokenCookie != "" && c.JWT == nil && c.Introspection == nil && c.GatewayToken == nil {
		v.Add("token_cookie", "needs jwt, introspection or gateway_token to verify the token")
	}
	if c.TokenCookie != "" && c.Session != nil && c.TokenCookie == c.Session.CookieName {
		v.Add("token_cookie", "is the session cookie's name; use two names")
	}
	v.tokenHeaders(c)
	v.tokenParameter(c)
	v.upstreamHeaders(c)
	c.CORS.Check(v.Validator)
	c.CrossSiteWrites.Check(v.Validator)
	c.Login.Check(v.Validator, c.around())
	v.Claims("authenticated_groups_claim", c.AuthenticatedGroupsClaim)
	c.Consumers.Check(v.Validator, consumer.Accepted{Session: c.Session, JWT: c.JWT, Introspection: c.Introspection, Others: c.APIToken != nil || c.Login != nil || c.GatewayToken != nil, Headers: c.UpstreamHeaders})
	if c.Redis != nil {
		c.Redis.Check(v.Validator)
	}
	if c.APIToken != nil && c.APIToken.InDatabase() && c.Postgres == nil {
		v.Add("api_token.token_store", "needs the section postgres")
	}
	if c.Postgres != nil {
		c.Postgres.Check(v.Validator)
	}
	c.Audit.Check(v.Validator)
	c.FailedAttempts.Check(v.Validator, c.Redis != nil)
	if c.Revocation != nil {
		c.Revocation.Check(v.Validator, c.Redis != nil || c.Postgres != nil, c.StateDir, section.Leeways(c.JWT, c.Introspection))
	}
	if c.RevocationEndpoints != nil {
		c.RevocationEndpoints.Check(v.Validator, c.Revocation != nil)
	}
	within := token.Context{Sessions: c.Session != nil, APITokens: c.APIToken != nil}
	if c.Revocation != nil {
		within.Retention = c.Revocation.Retention
	}
	c.UpstreamToken.Check(v.Validator, within)
	c.GatewayToken.CheckBeside(v.Validator, token.Beside{Upstream: c.UpstreamToken, JWT: c.JWT, Introspects: c.Introspection != nil, Retention: within.Retention})
	c.CertificateHeader.Check(v.Validator)
	c.DPoP.Check(v.Validator, c.Redis != nil, c.JWT, c.Introspection)
	c.ClientCertificate.Check(v.Validator, c.certificateSection() != "")
	c.SubjectRoles.Check(v.Validator, c.Postgres, c.Introspection)
	c.DecisionPoint.Check(v.Validator)
	for _, s := range c.sections() {
		s.Check(v.Validator)
	}
	for _, s := range fieldsOf[answer.Endpoints](c) {
		s.CheckEndpoints(v.Validator)
	}
}

// needsVerifier reports a place for tokens that nothing verifies.
func (v validator) needsVerifier(c *Config, path string, used bool) {
	if used && c.JWT == nil && c.Introspection == nil && c.GatewayToken == nil && (c.Session == nil || !c.Session.BearerToken) {
		v.Add(path, "needs jwt, introspection or gateway_token to verify the token")
	}
}

// tokenParameter wants a name that has one spelling in a query.
func (v validator) tokenParameter(c *Config) {
	v.needsVerifier(c, "token_query_parameter", c.TokenParameter != "")
	odd := func(r rune) bool { return r >= 0x80 || !httpsyntax.IsAlphanumeric(byte(r)) && r != '-' && r != '_' }
	if strings.ContainsFunc(c.TokenParameter, odd) {
		v.Add("token_query_parameter", "is not a name of letters, digits, '-' and '_'")
	}
}

func (v validator) tokenHeaders(c *Config) {
	v.needsVerifier(c, "token_headers", len(c.TokenHeaders) > 0 && c.APIToken == nil)
	for i, h := range c.TokenHeaders {
		if _, err := identity.New(identity.Options{Strip: []string{h.Name}}); err != nil && h.Name != "" {
			v.Add(section.Item("token_headers", i)+".name", "%v", err)
		}
		if h.Prefix != "" && !httpsyntax.IsToken(h.Prefix) {
			v.Add(section.Item("token_headers", i)+".prefix", "is not one word; leave out the space behind it")
		}
	}
	if v.Mentions("token_headers", "token_cookie", "session.cookie_name") {
		return
	}
	for i := range c.TokenHeaders {
		first := *c
		first.TokenHeaders = c.TokenHeaders[:i+1]
		if _, err := first.Extractor(); err != nil {
			v.Add(section.Item("token_headers", i)+".name", "%v", err)
			return
		}
	}
	if _, err := c.Extractor(); err != nil {
		v.Add("token_headers", "%v", err)
	}
}

func (v validator) upstreamHeaders(c *Config) {
	for _, name := range slices.Sorted(maps.Keys(c.UpstreamHeaders)) {
		if _, err := identity.New(identity.Options{Claims: map[string]string{name: c.UpstreamHeaders[name]}}); err != nil {
			v.Add(setting.Join("upstream_headers", setting.ShownKey(name)), "%v", err)
		}
	}
	for i, name := range c.StripHeaders {
		if _, err := identity.New(identity.Options{Strip: []string{name}}); err != nil && name != "" {
			v.Add(section.Item("strip_headers", i), "%v", err)
		}
	}
	if v.Mentions("upstream_headers", "strip_headers", "token_headers", "upstream_token.header") {
		return
	}
	if _, err := identity.New(identity.Options{Claims: c.UpstreamHeaders, Strip: c.stripped()}); err != nil {
		v.Add("upstream_headers", "%v", err)
		return
	}
	if _, err := identity.New(identity.Options{Claims: c.UpstreamHeaders, Sources: c.UpstreamToken.Offline().Sources(nil)}); err != nil {
		v.Add("upstream_token.header", "%v", err)
		return
	}
	if _, err := identity.New(identity.Options{Claims: c.UpstreamHeaders, Sources: c.UpstreamToken.Offline().Sources(nil), Strip: c.stripped(), Anonymous: c.AnonymousHeader}); err != nil {
		v.Add("anonymous_header", "%v", err)
	}
}

// around is what the sessions of a sign-in depend on.
func (c *Config) around() signin.Around {
	a := signin.Around{Redis: c.Redis != nil, Kratos: c.Session != nil}
	if c.GatewayToken != nil {
		a.TokenTTL = c.GatewayToken.TTL
	}
	if c.Revocation != nil {
		a.Retention = c.Revocation.Retention
	}
	return a
}
