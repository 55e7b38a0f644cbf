package signinimport

import (
	"cmp"
	"errors"
	"net/url"
	"strings"
)

// apisix reads the configuration of APISIX's openid-connect.
type apisix struct {
	*source
	clientID, discovery, secret string
	// tokens says that access tokens are looked at.
	tokens, browser bool
}

// APISIX turns a configuration of APISIX's plugin openid-connect into a draft.
func APISIX(values map[string]any, o Options) (*Draft, error) {
	a := &apisix{source: newSource(values, APISIXSettings, apisixDefaults)}
	if a.clientID, a.discovery = a.text("client_id"), a.text("discovery"); a.clientID == "" || a.discovery == "" {
		return nil, errors.New("client_id and discovery: one of them is missing")
	}
	a.discovery = discovery(a.discovery)
	a.secret = a.secretOf()
	if realm := a.text("realm"); realm != "" {
		a.settings["realm"] = realm
	}
	a.browser = !a.flag("bearer_only", false)
	a.tokens = !a.browser || a.text("introspection_endpoint") != "" || a.text("public_key") != "" || a.flag("use_jwks", false)
	if a.browser {
		if err := a.login(o); err != nil {
			return nil, err
		}
	}
	if a.tokens {
		a.bearer()
	}
	a.demands()
	a.headers()
	if err := a.rest(); err != nil {
		return nil, err
	}
	if !a.browser && a.settings["jwt"] == nil && a.settings["introspection"] == nil {
		return nil, errors.New("bearer_only: no kind of access token is left that could be taken; see introspection_endpoint and use_jwks")
	}
	return a.Draft, nil
}

func (a *apisix) secretOf() string {
	return a.source.secret("client_secret", "OIDC_CLIENT_SECRET", "the client_secret")
}

func (a *apisix) login(o Options) error {
	redirect := cmp.Or(a.text("redirect_uri"), o.RedirectURI)
	if u, err := url.Parse(redirect); redirect == "" || err != nil || u.Host == "" {
		return errors.New("redirect_uri: is missing, or is a path; APISIX then takes the address of each request. Register one address with the provider, and name it with --redirect-uri https://app.example.com/callback")
	}
	oidc := a.settings.sub("login").sub("oidc")
	oidc["providers"] = []section{a.provider()}
	oidc["redirect_uri"] = redirect
	if path := a.text("logout_path"); path != "" {
		oidc["logout_path"] = path
	}
	oidc.set("post_logout_redirect_uri", a.text("post_logout_redirect_uri"))
	switch action := a.text("unauth_action"); action {
	case "", "auth":
	case "deny":
		oidc["unauth_action"] = "deny"
	case "pass":
		a.optional = true
		a.note("unauth_action", "pass: calls without a session go on without an identity, and so they do here, as optional activities; a session or token that does not hold is refused")
	default:
		a.note("unauth_action", "%s is not known; it is auth here", action)
	}
	if !a.flag("renew_access_token_on_expiry", true) {
		oidc["renew_access_token_on_expiry"] = false
	}
	a.outbound(oidc)
	a.session(oidc)
	return nil
}

// signs says by which key assertions are signed, of a setting with the method.
func (a *apisix) signs(setting string, p section) {
	if p["client_private_key"] != nil {
		a.text("client_rsa_private_key") // by reference
		p.set("client_private_key_id", a.text("client_rsa_private_key_id"))
	}
	a.signsBy("client_jwt_assertion_alg", a.text("client_jwt_assertion_alg"), setting, p)
}

func (a *apisix) provider() section {
	p := section{"discovery": a.discovery, "client_id": a.clientID, "scope": cmp.Or(a.text("scope"), "openid")}
	p.set("client_secret", a.secret)
	a.authenticates("token_endpoint_auth_method", a.text("token_endpoint_auth_method"), "token_endpoint_auth_method", p)
	a.signs("token_endpoint_auth_method", p)
	for _, name := range []string{"use_pkce", "use_nonce"} { // always, as is the default of neither
		a.flag(name, false)
	}
	params := map[string]string{}
	given, _ := a.get("authorization_params").(map[string]any)
	inner := newSource(given, nil, nil)
	for name := range given {
		params[name] = inner.text(name)
	}
	a.errs = append(a.errs, inner.errs...)
	a.parameters("authorization_params", p, params)
	if a.flag("par.enabled", false) {
		p["pushed_authorization_requests"] = "always"
	}
	if a.get("iat_slack") != nil {
		p["leeway"] = seconds(a.within("iat_slack", a.number("iat_slack", 120), 0, 300))
	}
	return p
}

func (a *apisix) outbound(to section) {
	timeout := 0.0
	if a.get("timeout") != nil {
		n := a.number("timeout", 3)
		if n >= 1000 { // milliseconds, which the plugin takes, too
			n /= 1000
		}
		timeout = a.within("timeout", n, 0.05, 30)
	}
	a.calls(to, timeout)
}

func (a *apisix) session(o section) {
	s := o.sub("session")
	s["secret"] = []string{a.export("SESSION_SECRET", "a new secret for sessions, such as of openssl rand -base64 32")}
	a.text("session.secret") // a new one is taken
	a.cookie(s, "session.cookie_name", "session.cookie_domain", "session.cookie_same_site", "session.cookie_secure")
	absolute := "session.absolute_timeout"
	if a.get(absolute) == nil && a.get("session.cookie.lifetime") != nil {
		absolute = "session.cookie.lifetime"
	}
	a.lifetimes(s, "session.idling_timeout", "session.rolling_timeout", absolute)
	if a.text("session.storage") == "redis" {
		s["storage"] = "redis"
		a.redis("session.redis")
	}
}

func (a *apisix) bearer() {
	audience := []string{a.clientID}
	if !a.flag("claim_validator.audience.match_with_client_id", false) {
		a.note("claim_validator.audience", "match_with_client_id is not set, and access tokens for anybody pass; here they must be for %s", a.clientID)
	}
	if claim := a.text("claim_validator.audience.claim"); claim != "" && claim != "aud" {
		a.note("claim_validator.audience.claim", "the audience is looked up in aud; audience_claim names another claim")
	}
	a.flag("claim_validator.audience.required", false) // always
	endpoint := a.text("introspection_endpoint")
	switch {
	case a.text("public_key") != "":
		a.note("public_key", "a key is given as a key set (RFC 7517) in jwt.issuers[].jwks_file; JWTs are refused until it is")
	case a.flag("use_jwks", false):
		a.jwt(audience)
	case endpoint == "":
		a.note("introspection_endpoint", "is not discovered; access tokens are refused until a section introspection names it")
	default:
		i := a.settings.sub("introspection")
		i["introspection_endpoint"], i["audience"], i["client_id"] = endpoint, audience, a.clientID
		i.set("client_secret", a.secret)
		i["jwt_tokens"] = "always"
		method := cmp.Or(a.text("introspection_endpoint_auth_method"), "client_secret_basic")
		if a.secret == "" && strings.HasPrefix(method, "client_secret_") {
			method = "none"
		}
		a.introspects(method, i)
		a.signs("introspection_endpoint_auth_method", i)
		if a.get("introspection_interval") != nil {
			i["cache_ttl"] = seconds(a.within("introspection_interval", a.number("introspection_interval", 0), 0, 3600))
		}
		a.outbound(i)
	}
}

func (a *apisix) jwt(audience []string) {
	issuers := a.texts("claim_validator.issuer.valid_issuers")
	if len(issuers) == 0 {
		issuers = []string{strings.TrimSuffix(a.discovery, wellKnown)}
	}
	var list []section
	for _, issuer := range issuers {
		i := section{"issuer": issuer, "audience": audience}
		if alg := a.text("token_signing_alg_values_expected"); strings.HasPrefix(alg, "HS") {
			a.note("token_signing_alg_values_expected", "keys of signatures are public keys, never %s", alg)
		} else if alg != "" {
			i["algorithms"] = []string{alg}
		}
		list = append(list, i)
	}
	j := a.settings.sub("jwt")
	j["issuers"] = list
	a.outbound(j)
}

func (a *apisix) demands() {
	if required := a.texts("required_scopes"); len(required) > 0 {
		a.scopes = [][]string{required}
		if a.optional {
			a.optional = false
			a.note("unauth_action", "pass goes with no required_scopes; a credential is needed here")
		}
	}
	if !isEmpty(a.get("claim_schema")) {
		a.optional = false
		a.close("claim_schema", "write it as a condition of the permission table")
	}
}

// apisixHeaders are the headers that APISIX's plugin removes from a client's request, and
// those that it sets unless the switch says otherwise.
var apisixHeaders = []struct {
	name, setting string
	on            bool
}{
	{"X-Access-Token", "set_access_token_header", true}, {"X-ID-Token", "set_id_token_header", true}, {"X-Userinfo", "set_userinfo_header", true},
	{"X-Refresh-Token", "set_refresh_token_header", false}, {"X-Raw-ID-Token", "set_raw_id_token_header", false},
}

func (a *apisix) headers() {
	var strip []string
	for _, h := range apisixHeaders {
		strip = append(strip, h.name)
		if a.flag(h.setting, h.on) {
			a.note(h.setting, "the upstream gets no %s; upstream_token sends a token of the gate's own, upstream_headers single claims", h.name)
		}
	}
	a.settings["strip_headers"] = strip
	a.settings["upstream_headers"] = section{"X-User-Id": "sub"}
}
