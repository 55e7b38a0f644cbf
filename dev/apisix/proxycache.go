package apisix

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"gatehouse/dev/front"
	"gatehouse/dev/responsecache"

	"go.yaml.in/yaml/v3"
)

// proxyCache is APISIX's plugin, which keeps responses in memory here whatever the
// strategy. What it keeps a response by is what apisix/plugins/proxy-cache of 3.18
// makes: the values of cache_key one after the other, an unknown variable being
// empty, with the consumer in front where one is known and the key names none. Vary
// counts for nothing here. With the strategy memory a response is given before the
// plugins that come later, with disk after all of them.
type proxyCache struct {
	key, methods, bypass, none []string
	statuses                   []int
	zone                       string
	ttl                        time.Duration
	isolation, disk, cookies   bool
}

var (
	cacheKeyPart = regexp.MustCompile(`^([^$].+|\$[0-9a-zA-Z_]+)$`)
	// identityVars are those with which APISIX leaves the consumer out of the key.
	identityVars = []string{"$consumer_name", "$consumer_group_id", "$remote_user", "$http_authorization"}
)

func parseProxyCache(r *reader, p *plugin, n *yaml.Node, path string) {
	c := proxyCache{
		key: []string{"$host", "$request_uri"}, methods: []string{"GET", "HEAD"}, statuses: []int{200, 301, 404}, zone: "disk_cache_one",
		isolation: true,
	}
	strategy, ttl, ignored, hidden, control := "disk", 300, 0, false, false
	r.plugin(p, n, path, map[string]field{
		"cache_strategy": r.text(&strategy), "cache_zone": r.text(&c.zone), "cache_key": r.texts(&c.key), "cache_method": r.texts(&c.methods),
		"cache_bypass": r.texts(&c.bypass), "no_cache": r.texts(&c.none), "cache_ttl": r.integer(&ttl), "consumer_isolation": r.boolean(&c.isolation),
		"cache_set_cookie": r.boolean(&c.cookies), "max_resp_body_size": r.integer(&ignored), "hide_cache_headers": r.boolean(&hidden),
		"cache_control": r.boolean(&control),
		"cache_http_status": func(n *yaml.Node, path string) {
			c.statuses = nil
			r.list(n, path, func(item *yaml.Node, path string) {
				var status int
				r.integer(&status)(item, path)
				c.statuses = append(c.statuses, status)
			})
		},
	})
	for _, part := range c.key {
		if !cacheKeyPart.MatchString(part) || part == "$request_method" {
			r.problem(n, join(path, "cache_key"), "%q is not supported", part)
		}
	}
	if control || strategy != "disk" && strategy != "memory" {
		r.problem(n, path, "the local gateway knows cache_strategy disk and memory, and no cache_control")
	}
	c.ttl, c.disk = time.Duration(ttl)*time.Second, strategy == "disk"
	p.access, p.header = c.access, c.header
}

func (c *proxyCache) access(x *exchange) *reply {
	key := c.zone + "\x00" + c.keyOf(x)
	bypass := c.isSet(x, c.bypass) || !slices.Contains(c.methods, x.method)
	x.kept = &keeping{cache: c, key: key, status: "MISS"}
	if bypass {
		x.kept.status = "BYPASS"
		return nil
	}
	if c.disk {
		return nil
	}
	return x.hit()
}

// hit is the response that is kept, or nil.
func (x *exchange) hit() *reply {
	entry, ok := x.gateway.kept.Get(x.kept.key, x.gateway.now(), x.kept.cache.ttl)
	if !ok || x.kept.status == "BYPASS" {
		return nil
	}
	x.kept.status = "HIT"
	x.respHeader = slices.Concat(entry.Header, x.respHeader)
	return &reply{entry.Status, entry.Body}
}

func (c *proxyCache) keyOf(x *exchange) string {
	key := x.values(c.key)
	if !c.isolation || slices.ContainsFunc(c.key, func(part string) bool { return slices.Contains(identityVars, part) }) {
		return key
	}
	if consumer, _ := x.variable("consumer_name"); consumer != "" {
		return consumer + "\x01" + key
	}
	return key
}

func (x *exchange) values(parts []string) string {
	var all strings.Builder
	for _, part := range parts {
		if name, ok := strings.CutPrefix(part, "$"); ok {
			part, _ = x.variable(name)
		}
		all.WriteString(part)
	}
	return all.String()
}

func (c *proxyCache) isSet(x *exchange, parts []string) bool {
	value := x.values(parts)
	return value != "" && value != "0"
}

func (c *proxyCache) header(x *exchange, head *responseHead) {
	if x.kept != nil {
		head.header.Set("Apisix-Cache-Status", x.kept.status)
	}
}

// keeping is what the cache does with a request and its response.
type keeping struct {
	cache  *proxyCache
	key    string
	status string // of the cache: HIT, MISS or BYPASS
	entry  *responsecache.Entry
}

// keepHead notes the head of the upstream's response, if it is to be kept.
func (x *exchange) keepHead(resp *front.Response) {
	k := x.kept
	if k == nil || !slices.Contains(k.cache.methods, x.method) || !slices.Contains(k.cache.statuses, resp.Status) || k.cache.isSet(x, k.cache.none) {
		return
	}
	control, _ := resp.Header.Get("Cache-Control")
	private := slices.ContainsFunc([]string{"private", "no-store", "no-cache"}, func(word string) bool { return strings.Contains(strings.ToLower(control), word) })
	if private || resp.Header.Has("Set-Cookie") && !k.cache.cookies {
		return
	}
	k.entry = &responsecache.Entry{Status: resp.Status, Header: resp.Header.Clone(), Stored: x.gateway.now()}
}

func (x *exchange) keepBody(body []byte) {
	if x.kept.entry != nil && len(body) <= responsecache.MaxBody {
		x.kept.entry.Body = body
		x.kept.entry.Header.Set("Content-Length", strconv.Itoa(len(body)))
		x.gateway.kept.Put(x.kept.key, *x.kept.entry)
	}
}
