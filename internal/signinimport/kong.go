package signinimport

import (
	"cmp"
	"errors"
	"net/url"
	"slices"
	"strings"
)

// Options are what a configuration of another program does not say.
type Options struct {
	// RedirectURI is used where the configuration has none.
	RedirectURI string
}

// kong reads the configuration of Kong's openid-connect.
type kong struct {
	*source
	options  Options
	issuer   string
	clientID string
	secret   string
	// The kinds of credentials that are taken.
	browser, jwt, introspected bool
}

// Kong turns a configuration of Kong's plugin openid-connect into a draft.
func Kong(values map[string]any, o Options) (*Draft, error) {
	k := &kong{source: newSource(values, KongSettings, kongDefaults), options: o}
	if err := k.who(); err != nil {
		return nil, err
	}
	k.methods()
	if k.browser {
		if err := k.login(); err != nil {
			return nil, err
		}
	}
	if k.jwt || k.introspected {
		k.bearer()
	}
	k.demands()
	k.refusals()
	k.headers()
	if err := k.rest(); err != nil {
		return nil, err
	}
	if !k.browser && !k.jwt && !k.introspected {
		return nil, errors.New("auth_methods: no kind of credential is left that could be taken")
	}
	return k.Draft, nil
}

func (k *kong) who() error {
	k.issuer = strings.TrimSuffix(k.text("issuer"), wellKnown)
	if k.issuer == "" {
		return errors.New("issuer: is missing; it is the URL of the OpenID provider")
	}
	if k.flag("using_pseudo_issuer", false) {
		k.note("using_pseudo_issuer", "the provider is always discovered")
	}
	k.clientID = k.first("client_id")
	if k.clientID == "" {
		return errors.New("client_id: is missing")
	}
	if secret := k.first("client_secret"); secret != "" {
		k.secret = k.reference(secret, "OIDC_CLIENT_SECRET", "the client_secret")
	}
	return nil
}

// first is the first of several values, with a note where there are more.
func (k *kong) first(name string) string {
	list := k.texts(name)
	if len(list) == 0 {
		return ""
	}
	if len(list) > 1 {
		k.note(name, "the first of %d is taken", len(list))
	}
	return list[0]
}

var kongMethods = []string{"authorization_code", "bearer", "client_credentials", "introspection", "kong_oauth2", "password", "refresh_token", "session", "userinfo"}

func (k *kong) methods() {
	said := k.texts("auth_methods")
	methods := said
	if len(methods) == 0 {
		methods = kongMethods
	}
	has := func(name string) bool { return slices.Contains(methods, name) }
	k.browser, k.jwt, k.introspected = has("authorization_code") || has("session"), has("bearer"), has("introspection")
	for _, method := range []string{"client_credentials", "password", "refresh_token", "kong_oauth2", "userinfo"} {
		if slices.Contains(said, method) {
			k.note("auth_methods", "%s has no counterpart: clients get an access token first and send it", method)
		}
	}
	if k.jwt && k.flag("introspect_jwt_tokens", false) {
		k.jwt, k.introspected = false, true
	}
	for _, name := range []string{"proof_of_possession_mtls", "proof_of_possession_dpop"} {
		if k.text(name) == "strict" && (k.jwt || k.introspected) {
			k.note(name, "tokens that are bound to a key cannot be demanded; no access token is taken")
			k.jwt, k.introspected = false, false
		}
	}
	if k.introspected && k.text("introspection_endpoint") == "" {
		k.note("introspection_endpoint", "is not discovered; opaque tokens are refused until a section introspection names it")
		k.introspected = false
	}
}

func (k *kong) login() error {
	redirect := cmp.Or(k.first("redirect_uri"), k.options.RedirectURI)
	u, err := url.Parse(redirect)
	if redirect == "" || err != nil {
		return errors.New("redirect_uri: is missing; Kong then takes the address of each request. Register one address with the provider, and name it with --redirect-uri https://app.example.com/callback")
	}
	o := k.settings.sub("login").sub("oidc")
	o["providers"] = []section{k.provider()}
	o["redirect_uri"] = redirect
	if !slices.Contains(k.methodsSaid(), "authorization_code") {
		o["unauth_action"] = "deny"
	}
	o["authorization_rolling_timeout"] = seconds(k.within("authorization_rolling_timeout", k.number("authorization_rolling_timeout", 600), 60, 7200))
	if !k.flag("refresh_tokens", true) {
		o["renew_access_token_on_expiry"] = false
	}
	if suffix := k.text("logout_uri_suffix"); suffix != "" {
		o["logout_path"] = "/" + strings.TrimPrefix(suffix, "/")
		k.note("logout_uri_suffix", "is one path here, on the host of redirect_uri")
	}
	o.set("post_logout_redirect_uri", k.first("logout_redirect_uri"))
	k.afterLogin(o, u)
	k.outbound(o)
	k.session(o)
	return nil
}

func (k *kong) methodsSaid() []string {
	if said := k.texts("auth_methods"); len(said) > 0 {
		return said
	}
	return kongMethods
}

func (k *kong) afterLogin(o section, redirect *url.URL) {
	action := cmp.Or(k.text("login_action"), "upstream")
	if action == "response" {
		k.note("login_action", "the browser returns to the page that it asked for; no response has tokens")
	}
	to := k.first("login_redirect_uri")
	if action != "redirect" || to == "" {
		return
	}
	if u, err := url.Parse(to); err == nil && u.Scheme == redirect.Scheme && u.Host == redirect.Host && strings.HasPrefix(u.Path, "/") {
		o["login_redirect_path"] = u.Path
	}
	k.note("login_redirect_uri", "the browser returns to the page that it asked for; login_redirect_path is for one that has asked for none")
}

func (k *kong) provider() section {
	p := section{"discovery": discovery(k.issuer), "client_id": k.clientID, "scope": strings.Join(append(k.texts("scopes"), k.defaultScopes()...), " ")}
	p.set("client_secret", k.secret)
	k.clientAuthentication(p)
	params := map[string]string{}
	names, values := k.texts("authorization_query_args_names"), k.texts("authorization_query_args_values")
	for i, name := range names {
		if i < len(values) {
			params[name] = values[i]
		}
	}
	if audience := k.texts("audience"); len(audience) > 0 {
		params["audience"] = strings.Join(audience, " ")
	}
	k.parameters("authorization_query_args_names", p, params)
	switch mode := k.text("response_mode"); mode {
	case "", "query", "form_post":
		p.set("response_mode", mode)
	default:
		k.note("response_mode", "%s has no counterpart; the response is asked for as query", mode)
	}
	if _, said := k.get("require_pushed_authorization_requests").(bool); said {
		p["pushed_authorization_requests"] = map[bool]string{true: "always", false: "never"}[k.flag("require_pushed_authorization_requests", false)]
	}
	if k.flag("search_user_info", false) {
		p["userinfo"] = true
	}
	p["leeway"] = seconds(k.within("leeway", k.number("leeway", 0), 0, 300))
	return p
}

func (k *kong) defaultScopes() []string {
	if len(k.texts("scopes")) > 0 {
		return nil
	}
	return []string{"openid"}
}

// ownParameters are those of the authorization request that the gate sets itself.
var ownParameters = []string{"client_id", "redirect_uri", "response_type", "response_mode", "scope", "resource", "state", "nonce", "code_challenge", "code_challenge_method", "request", "request_uri", "client_secret", "client_assertion", "client_assertion_type"}

func (s *source) parameters(name string, p section, params map[string]string) {
	for _, own := range ownParameters {
		if _, set := params[own]; set {
			s.note(name, "%s is set by the gate itself", own)
			delete(params, own)
		}
	}
	if len(params) > 0 {
		p["authorization_params"] = params
	}
}

func (k *kong) clientAuthentication(p section) {
	name := "client_auth"
	method := k.first(name)
	if said := k.text("token_endpoint_auth_method"); said != "" {
		name, method = "token_endpoint_auth_method", said
	}
	k.authenticates(name, method, "token_endpoint_auth_method", p)
	k.signsBy("client_alg", k.first("client_alg"), "token_endpoint_auth_method", p)
}

// authenticates says by a setting how the client authenticates itself at an endpoint.
func (s *source) authenticates(name, method, setting string, p section) {
	switch method {
	case "":
		return
	case "none":
		delete(p, "client_secret")
	case "client_secret_basic", "client_secret_post":
	case "client_secret_jwt":
		if p["client_secret"] == nil {
			s.note(name, "%s needs a client_secret; choose another %s", method, setting)
			return
		}
		p["allow_client_secret_jwt"] = true
	case "private_key_jwt":
		delete(p, "client_secret")
		p["client_private_key"] = s.export("OIDC_CLIENT_PRIVATE_KEY", "the private key of the client, as PEM or JWK")
	case "tls_client_auth", "self_signed_tls_client_auth":
		s.note(name, "set %s: %s with tls_client_cert_file and tls_client_key_file, the certificate and its key as files", setting, method)
		return
	default:
		s.note(name, "%s has no counterpart; choose a %s", method, setting)
		return
	}
	p[setting] = method
}

// signsBy says by which algorithm assertions are signed, where the method makes some.
func (s *source) signsBy(name, algorithm, setting string, p section) {
	symmetric := strings.HasPrefix(algorithm, "HS")
	if algorithm == "" || p[setting] != "private_key_jwt" && p[setting] != "client_secret_jwt" {
		return
	}
	if symmetric != (p[setting] == "client_secret_jwt") {
		s.note(name, "%s does not sign for %s", algorithm, p[setting])
		return
	}
	p["client_alg"] = algorithm
}

// outbound says how the provider is called.
func (k *kong) outbound(to section) {
	timeout := 0.0
	if k.get("timeout") != nil {
		timeout = k.within("timeout", k.number("timeout", 10000)/1000, 0.05, 30)
	}
	k.calls(to, timeout)
}

func (k *kong) session(o section) {
	s := o.sub("session")
	s["secret"] = []string{k.export("SESSION_SECRET", "a new secret for sessions, such as of openssl rand -base64 32")}
	k.text("session_secret") // a new one is taken
	k.cookie(s, "session_cookie_name", "session_cookie_domain", "session_cookie_same_site", "session_cookie_secure")
	k.lifetimes(s, "session_idling_timeout", "session_rolling_timeout", "session_absolute_timeout")
	if k.flag("session_remember", false) {
		s["remember"] = true
		k.note("session_remember", "the session of a browser that is closed lasts as long as any other: session.absolute_timeout")
	}
	switch storage := k.text("session_storage"); storage {
	case "", "cookie":
	case "redis":
		s["storage"] = "redis"
		k.redis("redis")
	default:
		k.note("session_storage", "%s has no counterpart; sessions are in cookies, or in Redis", storage)
	}
	for _, name := range []string{"session_bind", "jwt_session_cookie"} {
		if !isEmpty(k.get(name)) {
			k.close(name, "sessions are bound to nothing but their cookie")
		}
	}
}

// cookie carries over what the cookie of a session is like.
func (s *source) cookie(to section, name, domain, sameSite, secure string) {
	c := section{}
	c.set("domain", strings.TrimPrefix(s.text(domain), "."))
	if text := s.text(name); text != "" && text != s.defaults[name] {
		if c["domain"] != nil && strings.HasPrefix(text, "__Host-") {
			s.note(name, "a cookie with a domain cannot be called __Host-; it has another name")
		} else {
			c["name"] = text
		}
	}
	switch text := s.text(sameSite); strings.ToLower(text) {
	case "lax", "strict", "none":
		c["same_site"] = strings.ToUpper(text[:1]) + strings.ToLower(text[1:])
	case "":
	default:
		s.note(sameSite, "%s is Lax here", text)
	}
	if !s.flag(secure, true) {
		s.note(secure, "the cookie is sent by HTTPS alone; session.cookie.secure is for development")
	}
	if len(c) > 0 {
		to["cookie"] = c
	}
}

// lifetimes carries over how long a session lasts. Zero is no limit.
func (s *source) lifetimes(to section, idling, rolling, absolute string) {
	idle := s.number(idling, 900)
	if roll := s.number(rolling, 3600); roll > 0 && (idle <= 0 || roll < idle) {
		idle = roll
	}
	whole := s.number(absolute, 86400)
	if whole <= 0 {
		whole = 86400
		s.note(absolute, "there is no session without an end; it is a day here")
	}
	whole = s.within(absolute, whole, 60, 31536000)
	to["absolute_timeout"] = seconds(whole)
	to["idling_timeout"] = seconds(min(max(idle, 0), whole))
}

// redis carries over the servers of sessions.
func (s *source) redis(at string) {
	r := s.settings.sub("redis")
	r["secret"] = s.export("GATEHOUSE_FLEET_SECRET", "a new secret of all nodes, such as of openssl rand -base64 32")
	r.set("sentinel_nodes", s.nodes(at+".sentinel_nodes", "host"))
	r.set("sentinel_master", s.text(at+".sentinel_master"))
	r.set("cluster_nodes", s.nodes(at+".cluster_nodes", "ip"))
	if r["sentinel_nodes"] == nil && r["cluster_nodes"] == nil {
		r["host"] = cmp.Or(s.text(at+".host"), "127.0.0.1")
		r["port"] = seconds(s.number(at+".port", 6379))
	}
	r.set("username", s.text(at+".username"))
	r.set("password", s.secret(at+".password", "REDIS_PASSWORD", "the password of Redis"))
	r.set("sentinel_username", s.text(at+".sentinel_username"))
	r.set("sentinel_password", s.secret(at+".sentinel_password", "REDIS_SENTINEL_PASSWORD", "the password of the sentinels"))
	if n := s.number(at+".database", 0); n != 0 {
		r["database"] = seconds(n)
	}
	if s.flag(at+".ssl", false) {
		r["ssl"] = true
		if !s.flag(at+".ssl_verify", true) {
			s.note(at+".ssl_verify", "the certificate of Redis is verified; redis.ssl_verify is for development")
		}
	}
	r.set("server_name", s.text(at+".server_name"))
}

// nodes are HOST:PORT of a list of mappings.
func (s *source) nodes(name, host string) (nodes []string) {
	list, _ := s.get(name).([]any)
	for _, member := range list {
		if m, ok := member.(map[string]any); ok {
			inner := newSource(m, nil, nil)
			nodes = append(nodes, cmp.Or(inner.text(host), "127.0.0.1")+":"+itoa(inner.number("port", 6379)))
		}
	}
	return nodes
}

// bearer are the sections that judge access tokens.
func (k *kong) bearer() {
	audience := k.audience()
	if k.jwt {
		j := k.settings.sub("jwt")
		issuers := k.texts("issuers_allowed")
		if len(issuers) == 0 {
			issuers = []string{k.issuer}
		}
		var list []section
		for _, issuer := range issuers {
			list = append(list, section{"issuer": issuer, "audience": audience})
		}
		j["issuers"] = list
		j["leeway"] = seconds(k.within("leeway", k.number("leeway", 0), 0, 300))
		k.outbound(j)
	}
	if k.introspected {
		i := k.settings.sub("introspection")
		i["introspection_endpoint"] = k.text("introspection_endpoint")
		i["audience"] = audience
		i["client_id"] = k.clientID
		i.set("client_secret", k.secret)
		method := k.text("introspection_endpoint_auth_method")
		switch {
		case method == "" && k.secret != "":
			method = "client_secret_basic"
		case method == "":
			method = "none"
		}
		k.introspects(method, i)
		k.signsBy("client_alg", k.first("client_alg"), "introspection_endpoint_auth_method", i)
		if k.text("introspection_accept") == "application/token-introspection+jwt" {
			i["introspection_accept"], i["issuer"] = "application/token-introspection+jwt", k.issuer
		}
		if k.flag("introspect_jwt_tokens", false) {
			i["jwt_tokens"] = "always"
		}
		k.outbound(i)
	}
	if slices.Contains(k.texts("bearer_token_param_type"), "cookie") {
		k.settings.set("token_cookie", k.text("bearer_token_cookie_name"))
	}
	if name := k.text("bearer_token_header_name"); name != "" && !strings.EqualFold(name, "authorization") {
		k.settings["token_headers"] = []section{{"name": name}}
	}
}

// introspects says how the client authenticates itself at the introspection endpoint. An
// assertion is for that endpoint, whose issuer is not looked at.
func (s *source) introspects(method string, i section) {
	const name = "introspection_endpoint_auth_method"
	s.authenticates(name, method, name, i)
	switch {
	case i[name] == "private_key_jwt" || i[name] == "client_secret_jwt":
		i["assertion_audience"] = "introspection_endpoint"
	case i[name] == nil && i["client_secret"] != nil:
		i[name] = "client_secret_basic"
	case i[name] == nil:
		i[name] = "none"
	}
}

// audience is what an access token has to name. One that Kong does not look at is that of
// the client.
func (k *kong) audience() []string {
	var plain []string
	for _, entry := range k.texts("audience_required") {
		if words := strings.Fields(entry); len(words) > 0 {
			plain = append(plain, words[0])
		}
	}
	if claim := k.texts("audience_claim"); len(plain) > 0 && len(claim) > 0 && !slices.Equal(claim, []string{"aud"}) {
		k.note("audience_claim", "the audience is looked up in aud; jwt.issuers[].audience_claim names another claim")
	}
	if len(plain) == 0 {
		k.note("audience_required", "is not set, and any access token of the issuer passes; here it must be for %s", k.clientID)
		return []string{k.clientID}
	}
	return plain
}

// demands are what every credential has to meet.
func (k *kong) demands() {
	if required := k.texts("audience_required"); len(required) > 0 {
		k.restrict("audience_required", required, k.path("audience_claim", "aud"))
		switch {
		case k.browser && (k.jwt || k.introspected):
			k.require["credentials"] = []string{"jwt", "introspection"}
			k.note("audience_required", "is of access tokens, which a session does not show: sessions are refused until require.credentials has oidc")
		case k.browser:
			k.close("audience_required", "is of access tokens, which a session does not show")
		}
	}
	scopes := k.texts("scopes_required")
	if claim := k.path("scopes_claim", "scope"); len(claim) == 1 && claim[0] == "scope" {
		for _, entry := range scopes {
			if words := strings.Fields(entry); len(words) > 0 {
				k.scopes = append(k.scopes, words)
			}
		}
		if len(scopes) > 0 && len(k.scopes) == 0 {
			k.close("scopes_required", "demands nothing that a token could have")
		}
	} else {
		k.restrict("scopes_required", scopes, claim)
	}
	for _, name := range []string{"roles", "groups"} {
		required := k.texts(name + "_required")
		k.restrict(name+"_required", required, k.path(name+"_claim", name))
		if len(required) > 0 && k.browser {
			k.note(name+"_required", "of a session it is looked up in the ID token and in UserInfo, not in the access token")
		}
	}
	for _, name := range k.texts("claims_forbidden") {
		k.restrictions = append(k.restrictions, "!("+quote(name)+" in raw)")
	}
	if domains := k.texts("domains"); len(domains) > 0 {
		k.restrictions = append(k.restrictions, raw("hd")+" in "+listOf(domains))
	}
	if age := k.number("max_age", 0); k.get("max_age") != nil {
		k.require["max_age"] = itoa(age) + "s"
	}
}

// path is the path to a claim.
func (k *kong) path(name, otherwise string) []string {
	if path := k.texts(name); len(path) > 0 {
		return path
	}
	return []string{otherwise}
}

// restrict demands one of several entries, and of each all of its words.
func (k *kong) restrict(name string, entries, claim []string) {
	var alternatives []string
	for _, entry := range entries {
		if words := strings.Fields(entry); len(words) > 0 {
			alternatives = append(alternatives, allOf(raw(claim...), words))
		}
	}
	switch {
	case len(entries) == 0:
	case len(alternatives) == 0:
		k.close(name, "demands nothing that a claim could have")
	case len(alternatives) == 1:
		k.restrictions = append(k.restrictions, alternatives[0])
	default:
		k.restrictions = append(k.restrictions, "("+strings.Join(alternatives, " || ")+")")
	}
}

// refusals are restrictions without a counterpart.
func (k *kong) refusals() {
	consumers := !isEmpty(k.get("consumer_claim")) || !isEmpty(k.get("consumer_claims"))
	if consumers && !k.flag("consumer_optional", false) {
		k.close("consumer_claim", "only callers with a consumer pass at Kong; write a rule of consumers, which works with the Lua file, or decide by the permission table")
	} else if consumers {
		k.note("consumer_claim", "is not carried over; a rule of consumers, which works with the Lua file, makes callers consumers")
	}
	if groups := !isEmpty(k.get("consumer_groups_claim")); groups && !k.flag("consumer_groups_optional", false) {
		k.close("consumer_groups_claim", "only callers with a consumer group pass at Kong; there are none here")
	} else if groups {
		k.note("consumer_groups_claim", "there are no consumer groups here")
	}
	if k.flag("principals.enabled", false) {
		k.close("principals", "principals of Kong have no counterpart")
	}
	for _, name := range []string{"verify_signature", "verify_claims", "verify_nonce", "require_proof_key_for_code_exchange", "introspection_check_active"} {
		if !k.flag(name, true) {
			k.note(name, "is always done")
		}
	}
}

func (k *kong) headers() {
	to := section{}
	names, claims := k.texts("upstream_headers_names"), k.texts("upstream_headers_claims")
	for i, name := range names {
		if i < len(claims) {
			to[name] = claimPath([]string{claims[i]})
		}
	}
	list, _ := k.get("upstream_headers").([]any)
	for _, member := range list {
		if m, ok := member.(map[string]any); ok {
			inner := newSource(m, nil, nil)
			if name := inner.text("header"); name != "" {
				to[name] = claimPath(inner.texts("path"))
			}
		}
	}
	if len(to) > 0 {
		k.settings["upstream_headers"] = to
	}
	k.settings["hide_credentials"] = k.flag("hide_credentials", true)
	if groups := k.texts("authenticated_groups_claim"); len(groups) > 0 {
		k.settings["authenticated_groups_claim"] = claimPath(groups)
	}
	k.tokenHeaders(to)
}

// tokenHeaders strips the headers in which Kong's plugin sends tokens on: it is no longer
// there to replace those that a client sends.
func (k *kong) tokenHeaders(set section) {
	var strip []string
	for _, name := range []string{"access_token", "access_token_jwk", "id_token", "id_token_jwk", "introspection", "introspection_jwt", "refresh_token", "session_id", "user_info", "user_info_jwt"} {
		setting := "upstream_" + name + "_header"
		value := k.text(setting)
		header, _, _ := strings.Cut(value, ":")
		if value == "" {
			continue
		}
		if !strings.EqualFold(header, "authorization") && set[header] == nil && !slices.Contains(strip, header) {
			strip = append(strip, header)
		}
		if value != kongDefaults[setting] {
			k.note(setting, "the upstream does not get it; upstream_token sends a token of the gate's own, upstream_headers single claims. The header is removed from requests")
		}
	}
	access, said := k.values["upstream_access_token_header"]
	if k.browser && (!said || !isEmpty(access)) {
		k.note("upstream_access_token_header", "the upstream gets no access token of a session; upstream_token sends a token of the gate's own")
	}
	k.settings.set("strip_headers", strip)
}

// claimPath writes a path to a claim: with dots, or as a JSON pointer where a name has
// signs of its own.
func claimPath(path []string) string {
	simple := !slices.ContainsFunc(path, func(step string) bool { return step == "" || strings.ContainsAny(step, "./~[]()+ ") })
	if simple {
		return strings.Join(path, ".")
	}
	var b strings.Builder
	for _, step := range path {
		b.WriteString("/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(step))
	}
	return b.String()
}
