package check

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"gatehouse/core/config"
	"gatehouse/core/httpsyntax"
	"gatehouse/internal/check/document"
	"gatehouse/internal/check/gate"
)

// sharedCache is a cache of responses in front of the upstream.
type sharedCache struct {
	at document.Place
	// key are the headers by which it keeps responses apart; setting is where they are
	// named, and as the form of one there.
	key         []string
	setting, as string
	// gate is what decides the requests that it sees, where it stands beside one: the
	// content. Empty: any of the gates.
	gate string
	// cookies says that it keeps those of a response, too; apart, that callers have
	// responses of their own in another way.
	cookies, apart bool
}

// notOneCaller are claims that several callers have in common.
var notOneCaller = []string{
	"actor", "roles", "role", "permissions", "scope", "scp", "groups", "kind", "iss", "aud", "aal", "acr", "amr", "tenant", "tid", "org", "org_id", "azp",
}

// identities are the headers by which a gate tells the upstream who calls. Each is
// removed from what the client sent.
func identities(cfg *config.Config) (names []string) {
	for _, name := range slices.Sorted(maps.Keys(cfg.UpstreamHeaders)) {
		shared := func(claim string) bool {
			claim = strings.TrimSpace(claim)
			last := claim[strings.LastIndexByte(claim, '.')+1:]
			return slices.Contains(notOneCaller, last) || strings.HasSuffix(claim, "[]")
		}
		if !slices.ContainsFunc(strings.Split(cfg.UpstreamHeaders[name], ","), shared) {
			names = append(names, name)
		}
	}
	return names
}

// sharedCaches warns of those that may give one caller the response of another. The
// credential is no part of a key: with hide_credentials it is gone before the key is
// made, and not every place of one is in Authorization or Cookie.
func (c *checker) sharedCaches() {
	for _, cache := range c.caches {
		for _, cfg := range c.configsOf(cache.gate) {
			if cache.cookies && keptInCookies(cfg) {
				c.Add("shared-cache", cache.at, "one browser may get another's session: the cache keeps the cookies of a response, and with it those of a session of login.oidc that is renewed; cache nothing on this route, or write login.oidc.session.storage: redis, whose cookies never change")
			}
			if wanted, bad := cache.lacks(cfg); bad && !cache.apart {
				c.Add("shared-cache", cache.at, "one caller may get another's response: %s has no header by which Gatehouse says who calls; %s, or cache only responses that are the same for every caller", cache.setting, wanted)
				break
			}
		}
	}
}

// keptInCookies reports whether responses of upstreams carry sessions that are renewed.
func keptInCookies(cfg *config.Config) bool {
	return cfg != nil && cfg.Login != nil && cfg.Login.OIDC != nil && cfg.Login.OIDC.Session != nil && cfg.Login.OIDC.Session.Storage != "redis"
}

// configsOf are the configurations of a gate, or of all; nil stands for one that is
// not known.
func (c *checker) configsOf(gate string) []*config.Config {
	if gate != "" {
		return []*config.Config{c.gateConfigs[gate]}
	}
	all := []*config.Config{}
	for _, name := range slices.Sorted(maps.Keys(c.gateConfigs)) {
		all = append(all, c.gateConfigs[name])
	}
	if len(all) == 0 {
		all = append(all, nil)
	}
	return all
}

// lacks tells what a key needs so that it differs by caller.
func (s sharedCache) lacks(cfg *config.Config) (advice string, bad bool) {
	as := func(header string) string {
		if s.as == "" {
			return header
		}
		return s.as + strings.ToLower(strings.ReplaceAll(header, "-", "_"))
	}
	if cfg == nil {
		ours := func(name string) bool {
			return !slices.Contains([]string{"authorization", "cookie", "x-session-token"}, name)
		}
		return "add that of upstream_headers, such as " + as("X-User-Id"), !slices.ContainsFunc(s.key, ours)
	}
	names := identities(cfg)
	if len(names) == 0 {
		return "send sub in upstream_headers, as X-User-Id, and add " + as("X-User-Id"), true
	}
	set := func(name string) bool {
		return slices.ContainsFunc(s.key, func(key string) bool { return httpsyntax.FoldEqual(key, name) })
	}
	return "add " + as(names[0]), !slices.ContainsFunc(names, set)
}

// kongCache notes a plugin of Kong that keeps responses.
func (c *checker) kongCache(p document.Node, at document.Place, gate string) {
	c.caches = append(c.caches, sharedCache{at: at, key: texts(p.Get("config", "vary_headers")), setting: "vary_headers", gate: gate, cookies: true})
}

func isCache(name string) bool { return strings.Contains(name, "proxy-cache") }

// apisixCache notes one of APISIX. Behind a function that tells APISIX who calls, the
// plugin keeps callers apart itself.
func (c *checker) apisixCache(p document.Pair, beside guard, function document.Node) {
	gate, lua := beside.first().gate, beside[plugin].closes
	setsConsumer := slices.ContainsFunc(function.Get("functions").Items(), func(f document.Node) bool { return strings.Contains(f.Text(), "consumer_name") })
	key := texts(p.Value.Get("cache_key"))
	named := slices.Contains(key, "$consumer_name")
	if setsConsumer && !metaDisabled(function) && (named || !p.Value.Get("consumer_isolation").False() && !slices.Contains(key, "$http_authorization")) {
		return
	}
	c.caches = append(c.caches, sharedCache{at: p.Key.Place(), key: cacheKey(p.Value), setting: "cache_key", as: "$http_", gate: gate, cookies: p.Value.Get("cache_set_cookie").True(), apart: lua && slices.Contains(key, "$gatehouse_sub")})
}

// cacheKey reads a key of APISIX's proxy-cache as names of headers.
func cacheKey(p document.Node) []string {
	var key []string
	for _, part := range texts(p.Get("cache_key")) {
		if name, isHeader := strings.CutPrefix(part, "$http_"); isHeader {
			key = append(key, strings.ReplaceAll(name, "_", "-"))
		}
	}
	return key
}

// noted checks the configuration of a gate and returns its name among the gates.
func (c *checker) noted(s gate.Settings) (name string) {
	cfg, own := c.Check(s)
	name = c.own.gateAt(s.Raw, s.Place, own)
	if c.gateConfigs == nil {
		c.gateConfigs = map[string]*config.Config{}
	}
	c.gateConfigs[name] = cmp.Or(cfg, c.gateConfigs[name])
	if cfg != nil && cfg.Demands().ClientCertificate != "" {
		c.clientCertificate(s, cfg.Demands().ClientCertificate)
	}
	return name
}

// certificateNotAsked is the rule about gateways that ask no client for a certificate.
const certificateNotAsked = "certificate-not-asked"

// clientCertificate reports a gate that needs the client's certificate where the file does not
// have the gateway ask for it.
func (c *checker) clientCertificate(s gate.Settings, needs string) {
	switch {
	case s.Reader == gate.ByKong:
		c.Add(certificateNotAsked, s.Place, "%s needs the client's certificate: kong.conf has to say nginx_proxy_ssl_verify_client = optional_no_ca, unless the plugin is global and runs by the Lua file", needs)
	case s.Reader == gate.ByAPISIX && c.asksNobody:
		c.Add(certificateNotAsked, s.Place, "%s needs the client's certificate, and none of ssls has client.ca, by which APISIX asks for it", needs)
	}
}
