package signinimport

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"
)

// proxy reads the configuration of oauth2-proxy.
type proxy struct {
	*source
	kind     string // of provider
	redirect *url.URL
}

// OAuth2Proxy turns a configuration of oauth2-proxy into a draft. Its values have the names
// of oauth2-proxy's configuration file.
func OAuth2Proxy(values map[string]any, o Options) (*Draft, error) {
	p := &proxy{source: newSource(values, OAuth2ProxySettings, oauth2ProxyDefaults())}
	redirect := cmp.Or(p.text("redirect_url"), o.RedirectURI)
	u, err := url.Parse(redirect)
	if redirect == "" || err != nil || u.Host == "" {
		return nil, errors.New("redirect_url: is missing; oauth2-proxy then takes the address of each request. Name the one that is registered with the provider with --redirect-uri https://app.example.com/oauth2/callback")
	}
	p.redirect = u
	provider, err := p.provider()
	if err != nil {
		return nil, err
	}
	oidc := p.settings.sub("login").sub("oidc")
	oidc["providers"] = []section{provider}
	oidc["redirect_uri"] = redirect
	prefix := "/" + strings.Trim(cmp.Or(p.text("proxy_prefix"), "/oauth2"), "/")
	oidc["start_path"], oidc["logout_path"] = prefix+"/start", prefix+"/sign_out"
	oidc.set("return_origins", p.origins())
	p.outbound(oidc)
	p.session(oidc)
	p.tokens(provider)
	p.people()
	p.open()
	p.headers()
	if err := p.rest(); err != nil {
		return nil, err
	}
	return p.Draft, nil
}

// issuers are those of providers that have one.
var issuers = map[string]string{"google": "https://accounts.google.com", "gitlab": "https://gitlab.com", "linkedin": "https://www.linkedin.com/oauth"}

func (p *proxy) provider() (section, error) {
	p.kind = cmp.Or(p.text("provider"), "google")
	issuer := p.text("oidc_issuer_url")
	switch p.kind {
	case "oidc", "adfs", "keycloak-oidc", "cidaas":
	case "google", "gitlab":
		issuer = cmp.Or(issuer, issuers[p.kind])
	case "azure", "entra-id":
		tenant := p.text("azure_tenant")
		if issuer == "" && tenant != "" && tenant != "common" {
			issuer = "https://login.microsoftonline.com/" + tenant + "/v2.0"
		}
	default:
		return nil, fmt.Errorf("provider: %.40q is not OpenID Connect, or is registered in another way; Gatehouse signs in at OpenID providers alone", p.kind)
	}
	if issuer == "" {
		return nil, errors.New("oidc_issuer_url: is missing, and the provider does not tell it; with several tenants, write the provider of one of them")
	}
	client := p.text("client_id")
	if client == "" {
		return nil, errors.New("client_id: is missing")
	}
	d := section{"discovery": discovery(issuer), "issuer": issuer, "client_id": client, "scope": cmp.Or(p.text("scope"), "openid email profile")}
	if file := p.text("client_secret_file"); file != "" {
		d["client_secret"] = "$file://" + file
	} else {
		d.set("client_secret", p.secret("client_secret", "OIDC_CLIENT_SECRET", "the client_secret"))
	}
	params := map[string]string{}
	for _, name := range []string{"prompt", "acr_values"} {
		if text := p.text(name); text != "" {
			params[name] = text
		}
	}
	p.parameters("prompt", d, params)
	if resource := p.text("resource"); resource != "" {
		d["resource"] = []string{resource}
	}
	if mode := p.text("auth_request_response_mode"); mode == "form_post" || mode == "query" {
		d["response_mode"] = mode
	} else if mode != "" {
		p.note("auth_request_response_mode", "%s has no counterpart; the response is asked for as query", mode)
	}
	if algorithms := p.texts("oidc_enabled_signing_algs"); len(algorithms) > 0 {
		kept := slices.DeleteFunc(slices.Clone(algorithms), func(alg string) bool { return strings.HasPrefix(alg, "HS") })
		if len(kept) < len(algorithms) {
			p.note("oidc_enabled_signing_algs", "keys of signatures are public keys, never HS256, HS384 and HS512")
		}
		d.set("algorithms", kept)
	}
	for _, name := range []string{"code_challenge_method", "force_code_challenge_method"} {
		if method := p.text(name); method != "" && method != "S256" {
			p.note(name, "it is always S256")
		}
	}
	p.flag("skip_provider_button", true) // always, with one provider
	d["userinfo"] = !p.flag("skip_claims_from_profile_url", false)
	return d, nil
}

// origins are those to which browsers may return.
func (p *proxy) origins() (list []string) {
	for _, domain := range p.texts("whitelist_domains") {
		host, port, hasPort := strings.Cut(domain, ":")
		host = strings.TrimPrefix(strings.TrimPrefix(host, "*"), ".")
		if port == "*" || host == "" || strings.Contains(port, ":") {
			p.note("whitelist_domains", "%s: is no origin; write those of it in return_origins, each with its port", domain)
			continue
		}
		if hasPort {
			port = ":" + port
		}
		list = append(list, p.redirect.Scheme+"://"+host+port)
		if strings.HasPrefix(domain, ".") || strings.HasPrefix(domain, "*.") {
			list = append(list, p.redirect.Scheme+"://*."+host+port)
		}
	}
	return list
}

func (p *proxy) outbound(to section) {
	if p.flag("ssl_insecure_skip_verify", false) {
		p.note("ssl_insecure_skip_verify", "certificates of the provider are verified; http.ssl_verify is for development")
	}
	files := p.texts("provider_ca_files")
	if len(files) == 0 {
		return
	}
	if len(files) > 1 || p.flag("use_system_trust_store", false) {
		p.note("provider_ca_files", "http.ca_file is one file, of all authorities that are trusted; put them together, those of the system, too, if they are meant")
	}
	to.sub("http")["ca_file"] = files[0]
}

func (p *proxy) session(o section) {
	s := o.sub("session")
	s["secret"] = []string{p.export("SESSION_SECRET", "a new secret for sessions, such as of openssl rand -base64 32")}
	p.text("cookie_secret") // a new one is taken
	p.text("cookie_secret_file")
	c := section{}
	if domains := p.texts("cookie_domains"); len(domains) == 1 {
		c.set("domain", strings.TrimPrefix(domains[0], "."))
	} else if len(domains) > 1 {
		p.note("cookie_domains", "one parent domain can be had; sessions are those of the host of redirect_uri")
	}
	p.values["cookie_domain"] = c["domain"]
	p.cookie(s, "cookie_name", "cookie_domain", "cookie_samesite", "cookie_secure")
	delete(p.values, "cookie_domain")
	expire := p.duration("cookie_expire", 168*time.Hour)
	if expire <= 0 {
		expire = 24 * time.Hour
		p.note("cookie_expire", "there is no session without an end; it ends with the browser, or after a day")
	} else {
		s["remember"] = true
	}
	whole := p.within("cookie_expire", expire.Seconds(), 60, 31536000)
	s["absolute_timeout"], s["idling_timeout"] = seconds(whole), 0
	if p.duration("cookie_refresh", 0) > 0 {
		p.note("cookie_refresh", "tokens are renewed when they are about to end; a session ends after cookie_expire however much it is used")
	}
	if p.text("session_store_type") == "redis" {
		s["storage"] = "redis"
		p.redis()
	}
}

func (p *proxy) redis() {
	r := p.settings.sub("redis")
	r["secret"] = p.export("GATEHOUSE_FLEET_SECRET", "a new secret of all nodes, such as of openssl rand -base64 32")
	password := p.text("redis_password") != ""
	servers := func(name string) (nodes []string) {
		for _, text := range p.texts(name) {
			u, err := url.Parse(text)
			if err != nil || u.Host == "" {
				p.note(name, "an entry is no URL such as redis://HOST:PORT")
				continue
			}
			if u.Port() == "" {
				u.Host += ":6379"
			}
			nodes = append(nodes, u.Host)
			if u.Scheme == "rediss" {
				r["ssl"] = true
			}
			r.set("username", u.User.Username())
			if _, set := u.User.Password(); set {
				password = true
			}
			if name == "redis_connection_url" && len(u.Path) > 1 {
				p.note(name, "the number of the database is redis.database")
			}
		}
		return nodes
	}
	switch {
	case p.flag("redis_use_sentinel", false):
		r.set("sentinel_nodes", servers("redis_sentinel_connection_urls"))
		r.set("sentinel_master", p.text("redis_sentinel_master_name"))
		r.set("sentinel_password", p.secret("redis_sentinel_password", "REDIS_SENTINEL_PASSWORD", "the password of the sentinels"))
	case p.flag("redis_use_cluster", false):
		r.set("cluster_nodes", servers("redis_cluster_connection_urls"))
	default:
		if nodes := servers("redis_connection_url"); len(nodes) > 0 {
			host, port, _ := strings.Cut(nodes[0], ":")
			r["host"], r["port"] = host, number(port)
		}
	}
	r.set("username", p.text("redis_username"))
	if password {
		r["password"] = p.export("REDIS_PASSWORD", "the password of Redis")
	}
	r.set("ca_file", p.text("redis_ca_path"))
	if p.flag("redis_insecure_skip_tls_verify", false) {
		p.note("redis_insecure_skip_tls_verify", "the certificate of Redis is verified; redis.ssl_verify is for development")
	}
}

// tokens are those that count beside the session.
func (p *proxy) tokens(provider section) {
	if !p.flag("skip_jwt_bearer_tokens", false) {
		return
	}
	client, _ := provider["client_id"].(string)
	audience := append([]string{client}, p.texts("oidc_extra_audiences")...)
	issuer, _ := provider["issuer"].(string)
	list := []section{{"issuer": issuer, "audience": audience}}
	for _, pair := range p.texts("extra_jwt_issuers") {
		for one := range strings.SplitSeq(pair, ",") {
			issuer, audience, found := strings.Cut(one, "=")
			if !found || issuer == "" || audience == "" {
				p.note("extra_jwt_issuers", "an entry is not issuer=audience")
				continue
			}
			list = append(list, section{"issuer": issuer, "audience": []string{audience}})
		}
	}
	p.settings.sub("jwt")["issuers"] = list
	p.note("skip_jwt_bearer_tokens", "access tokens count; oauth2-proxy takes ID tokens, which are refused here, because whoever has received one could call with it")
}

// people are those who may come in.
func (p *proxy) people() {
	email := raw(claimSteps(cmp.Or(p.text("oidc_email_claim"), p.text("user_id_claim"), "email"))...)
	p.addresses(email)
	verified := raw("email_verified")
	if p.flag("insecure_oidc_allow_unverified_email", false) {
		p.note("insecure_oidc_allow_unverified_email", "an address that the provider calls unverified is refused")
	}
	p.restrictions = append(p.restrictions, `(!("email_verified" in raw) || `+verified+` == true)`)
	groups := claimSteps(cmp.Or(p.text("oidc_groups_claim"), "groups"))
	for _, name := range []string{"allowed_groups", "keycloak_groups", "gitlab_groups"} {
		if list := p.texts(name); len(list) > 0 {
			p.restrictions = append(p.restrictions, oneOf(raw(groups...), list))
		}
	}
	p.roles()
	if tenants := p.texts("entra_id_allowed_tenants"); len(tenants) > 0 {
		p.restrictions = append(p.restrictions, raw("tid")+" in "+listOf(tenants))
	}
	for _, name := range []string{"google_group", "google_groups", "gitlab_projects"} {
		if len(p.texts(name)) > 0 {
			p.close(name, "memberships are asked for at a service of the provider, which Gatehouse does not ask; have them in a claim of the ID token, or grant roles by subject_roles")
		}
	}
}

// addresses are the domains and the addresses that may come in.
func (p *proxy) addresses(email string) {
	domains := p.texts("email_domains")
	file := p.text("authenticated_emails_file")
	if slices.Contains(domains, "*") {
		p.restrictions = append(p.restrictions, email+` != ""`)
		return
	}
	var any []string
	for _, domain := range domains {
		any = append(any, addressesOf(domain))
	}
	switch {
	case len(any) == 0 && file != "":
		p.close("authenticated_emails_file", "its addresses are not read; write them as a condition on the claim, or grant roles by subject_roles")
	case len(any) == 0:
		p.close("email_domains", "is not set, so that oauth2-proxy does not start")
	case file != "":
		p.note("authenticated_emails_file", "its addresses are not read: only email_domains count; write them as a condition on the claim, or grant roles by subject_roles")
		fallthrough
	default:
		p.restrictions = append(p.restrictions, email+".matches("+quote("^[^@]+@("+strings.Join(any, "|")+")$")+")")
	}
}

// addressesOf is a regex of what stands behind the @ of the addresses of a domain, in any
// case of its letters. A flag would take letters of other alphabets for them, too.
func addressesOf(domain string) string {
	text := strings.TrimPrefix(domain, "*")
	var b strings.Builder
	if text != domain && !strings.HasPrefix(text, ".") {
		text = domain
	}
	if strings.HasPrefix(text, ".") {
		b.WriteString("[^@]*")
	}
	for _, r := range text {
		if r < 0x80 && unicode.IsLetter(r) {
			fmt.Fprintf(&b, "[%c%c]", unicode.ToLower(r), unicode.ToUpper(r))
		} else {
			b.WriteString(regexp.QuoteMeta(string(r)))
		}
	}
	return b.String()
}

func (p *proxy) roles() {
	wanted := p.texts("allowed_roles")
	if len(wanted) == 0 {
		return
	}
	var any []string
	for _, role := range wanted {
		client, of, isClient := strings.Cut(role, ":")
		if isClient {
			any = append(any, oneOf(raw("resource_access", client, "roles"), []string{of}))
		} else {
			any = append(any, oneOf(raw("realm_access", "roles"), []string{role}))
		}
	}
	p.restrictions = append(p.restrictions, "("+strings.Join(any, " || ")+")")
	p.note("allowed_roles", "are looked up in the ID token and in UserInfo, not in the access token: have Keycloak add them there")
}

// open are the calls that need no credential.
func (p *proxy) open() {
	for _, regex := range p.texts("skip_auth_regex") {
		p.route("skip_auth_regex", "ANY", regex)
	}
	for _, route := range p.texts("skip_auth_routes") {
		method, regex := "ANY", route
		at := strings.Index(route, "=")
		if at > 0 && route[at-1] == '!' {
			p.note("skip_auth_routes", "%s: is left out, because it opens all paths but some; list those that are open", route)
			continue
		}
		if at >= 0 {
			method, regex = strings.ToUpper(route[:at]), route[at+1:]
		}
		if method == "" {
			method = "ANY"
		}
		p.route("skip_auth_routes", method, regex)
	}
	if p.flag("skip_auth_preflight", false) {
		p.public = append(p.public, activity{Methods: []string{"OPTIONS"}, Path: "/.*", Override: true})
	}
	if len(p.texts("trusted_ips")) > 0 {
		p.note("trusted_ips", "no address comes in without a credential; write public activities for what they need")
	}
}

func (p *proxy) route(name, method, regex string) {
	paths, loose, err := wholePaths(regex)
	if err == nil {
		for _, path := range paths {
			a := activity{Methods: []string{method}, Path: path, Override: true}
			if err = a.check(); err != nil {
				break
			}
		}
	}
	if err != nil {
		p.note(name, "%s: is left out, and needs a credential: %v", regex, err)
		return
	}
	if loose {
		p.note(name, "%s: is not tied to both ends of the path with ^ and $, and is open wherever it is found; tie it if that is not meant", regex)
	}
	for _, path := range paths {
		p.public = append(p.public, activity{Methods: []string{method}, Path: path, Override: true})
	}
}

// headers are what the upstream gets.
func (p *proxy) headers() {
	user := "sub"
	email := cmp.Or(p.text("oidc_email_claim"), "email")
	if p.flag("prefer_email_to_user", false) {
		user = email
	}
	groups := cmp.Or(p.text("oidc_groups_claim"), "groups")
	to := section{}
	names := func(prefix string) {
		to[prefix+"User"], to[prefix+"Email"], to[prefix+"Groups"], to[prefix+"Preferred-Username"] = user, email, groups, "preferred_username"
	}
	if p.flag("pass_user_headers", true) {
		names("X-Forwarded-")
	}
	if p.flag("set_xauthrequest", false) {
		names("X-Auth-Request-")
	}
	p.injected(to)
	if len(to) > 0 {
		p.settings["upstream_headers"] = to
	}
	var strip []string
	for _, prefix := range []string{"X-Forwarded-", "X-Auth-Request-"} {
		for _, name := range []string{"User", "Email", "Groups", "Preferred-Username", "Access-Token"} {
			if to[prefix+name] == nil {
				strip = append(strip, prefix+name)
			}
		}
	}
	p.settings["strip_headers"] = strip
}

// injected are the headers of the alpha configuration.
func (p *proxy) injected(to section) {
	list, _ := p.get("injectRequestHeaders").([]any)
	for _, member := range list {
		m, ok := member.(map[string]any)
		if !ok {
			continue
		}
		header := newSource(m, nil, nil)
		name := header.text("name")
		values, _ := header.get("values").([]any)
		claim := ""
		for _, value := range values {
			v, _ := value.(map[string]any)
			inner := newSource(v, nil, nil)
			claim = cmp.Or(inner.text("claimSource.claim"), inner.text("claim"))
			if inner.get("claimSource.prefix") != nil || inner.get("claimSource.basicAuthPassword") != nil || inner.get("prefix") != nil || inner.get("basicAuthPassword") != nil {
				claim = ""
			}
		}
		claim = map[string]string{"user": "sub", "email": "email", "groups": "groups", "preferred_username": "preferred_username"}[claim] + "" // only these are what they are called
		if len(values) != 1 || claim == "" {
			p.note("injectRequestHeaders", "%s has no counterpart: upstream_headers sends single claims, upstream_token a token", name)
			continue
		}
		to[name] = claim
	}
}

func claimSteps(text string) []string { return strings.Split(text, ".") }
