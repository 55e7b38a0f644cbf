package config

import (
	"maps"
	"slices"
	"strings"

	"gatehouse/core"
	"gatehouse/core/config/answer"
	"gatehouse/core/config/fleet"
	"gatehouse/core/config/section"
	"gatehouse/core/config/token"
	"gatehouse/core/httpsyntax"
	"gatehouse/core/identity"
	"gatehouse/core/setting"
)

// validator checks a configuration beyond its tags.
type validator struct{ section.Validator }

// config checks what no single tag can say.
func (v validator) config(c *Config) {
	if len(c.sections()) == 0 && !v.Mentions(core.KindNames()...) {
		v.Add("", "no way to authenticate: set %s", setting.Alternatives(core.KindNames()))
	}
	if c.Realm == "" {
		v.Add("realm", "is empty; leave it out, or name what the gate protects")
	}
	v.tableSource(c)
	if c.TokenCookie != "" && c.JWT == nil && c.Introspection == nil {
		v.Add("token_cookie", "needs jwt or introspection to verify the token")
	}
	if c.TokenCookie != "" && c.Session != nil && c.TokenCookie == c.Session.CookieName {
		v.Add("token_cookie", "is the session cookie's name; use two names")
	}
	v.tokenHeaders(c)
	v.tokenParameter(c)
	v.upstreamHeaders(c)
	c.CORS.Check(v.Validator)
	c.CrossSiteWrites.Check(v.Validator)
	v.Claims("authenticated_groups_claim", c.AuthenticatedGroupsClaim)
	if c.Redis != nil {
		c.Redis.Check(v.Validator)
	}
	if c.APIToken != nil && c.APIToken.InDatabase() && c.Postgres == nil {
		v.Add("api_token.token_store", "needs the section postgres")
	}
	if c.Postgres != nil {
		c.Postgres.Check(v.Validator)
	}
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
	c.SubjectRoles.Check(v.Validator, c.Postgres, c.Introspection)
	for _, s := range c.sections() {
		s.Check(v.Validator)
	}
	for _, s := range fieldsOf[answer.Endpoints](c) {
		s.CheckEndpoints(v.Validator)
	}
}

// tableSource wants one place for the permission table.
func (v validator) tableSource(c *Config) {
	var first string
	for _, s := range []struct {
		key string
		set bool
	}{{"permission_table_files", len(c.PermissionTableFiles) > 0}, {"permission_table_name", c.PermissionTableName != ""}, {"bundle", c.Bundle != nil}, {"classic_tables", c.ClassicTables != nil}} {
		switch {
		case !s.set:
		case c.PermissionTable != "":
			v.Add("permission_table", "cannot be set beside %s; put it into a file of its own", s.key)
		case first != "":
			v.Add(s.key, "cannot be set beside %s: a table has one source", first)
		default:
			first = s.key
		}
	}
	if first == "" && c.PermissionTable == "" && !v.Mentions("bundle", "classic_tables") {
		v.Add("permission_table", "is needed, or permission_table_files: without a table every request is denied")
	}
	if first == "" && len(c.ShadowTableFiles) > 0 {
		v.Add("shadow_table_files", "needs %s to be compared with", setting.Alternatives(tableSources[1:]))
	}
	if first == "" && c.ShadowTableName != "" {
		v.Add("shadow_table_name", "needs %s to be compared with", setting.Alternatives(tableSources[1:]))
	}
	if len(c.ShadowTableFiles) > 0 && c.ShadowTableName != "" {
		v.Add("shadow_table_name", "cannot be set beside shadow_table_files")
	}
	fleet.CheckTable(v.Validator, "permission_table_name", c.PermissionTableName, c.Postgres)
	fleet.CheckTable(v.Validator, "shadow_table_name", c.ShadowTableName, c.Postgres)
	if c.Bundle != nil {
		c.Bundle.Check(v.Validator)
	}
	if c.ClassicTables != nil {
		c.ClassicTables.Check(v.Validator, c.Postgres)
	}
}

// needsVerifier reports a place for tokens that nothing verifies.
func (v validator) needsVerifier(c *Config, path string, used bool) {
	if used && c.JWT == nil && c.Introspection == nil && (c.Session == nil || !c.Session.BearerToken) {
		v.Add(path, "needs jwt or introspection to verify the token")
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
