package kong

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"gatehouse/dev/front"
	"gatehouse/dev/responsecache"
)

const proxyCacheSchema = `{"name": "proxy-cache", "fields": [
	{"config": {"type": "record", "fields": [
		{"response_code": {"type": "array", "default": [200, 301, 404], "elements": {"type": "integer", "between": [100, 900]}, "len_min": 1, "required": true}},
		{"request_method": {"type": "array", "default": ["GET", "HEAD"], "elements": {"type": "string", "one_of": ["HEAD", "GET", "POST", "PATCH", "PUT"]}, "required": true}},
		{"content_type": {"type": "array", "default": ["text/plain", "application/json"], "elements": {"type": "string"}, "required": true}},
		{"cache_ttl": {"type": "integer", "default": 300, "gt": 0}},
		{"strategy": {"type": "string", "one_of": ["memory"], "required": true}},
		{"cache_control": {"type": "boolean", "default": false, "required": true, "eq": false, "err": "the local gateway knows false only"}},
		{"ignore_uri_case": {"type": "boolean", "default": false}},
		{"storage_ttl": {"type": "integer"}},
		{"memory": {"type": "record", "fields": [{"dictionary_name": {"type": "string", "required": true, "default": "kong_db_cache"}}]}},
		{"vary_query_params": {"type": "array", "elements": {"type": "string"}}},
		{"vary_headers": {"type": "array", "elements": {"type": "string"}}},
		{"response_headers": {"type": "record", "fields": [
			{"age": {"type": "boolean", "default": true}}, {"X-Cache-Status": {"type": "boolean", "default": true}},
			{"X-Cache-Key": {"type": "boolean", "default": true}}]}}]}}]}`

// proxyCache is Kong's plugin with the strategy memory. What it keeps a response by
// is what kong/plugins/proxy-cache/cache_key.lua of Kong 3.9 makes: consumer, route,
// method, request line up to the query, query, and the headers that vary_headers
// names. A header that is absent is not in it.
type proxyCache struct {
	methods, types, query, headers []string
	codes                          []int
	ttl                            time.Duration
	ignoreCase                     bool
}

func newProxyCache(config map[string]any) accessPhase {
	c := proxyCache{
		methods: stringList(config, "request_method"), types: stringList(config, "content_type"),
		query: stringList(config, "vary_query_params"), headers: stringList(config, "vary_headers"),
		ttl: time.Duration(integer(config, "cache_ttl")) * time.Second, ignoreCase: boolean(config, "ignore_uri_case"),
	}
	codes, _ := config["response_code"].([]any)
	for _, code := range codes {
		if n, ok := code.(float64); ok {
			c.codes = append(c.codes, int(n))
		}
	}
	return c.access
}

// access responds with what is kept, or has the response kept.
func (c *proxyCache) access(x *exchange) *front.OwnResponse {
	if !slices.Contains(c.methods, x.req.Method) {
		x.response.Set("X-Cache-Status", "Bypass")
		return nil
	}
	key := c.key(x)
	x.response.Set("X-Cache-Key", key)
	entry, hit := x.gateway.kept.Get(key, x.gateway.now(), c.ttl)
	if !hit {
		x.response.Set("X-Cache-Status", "Miss")
		x.keep = &keeping{cache: c, key: key}
		return nil
	}
	x.response.Set("X-Cache-Status", "Hit")
	header := slices.Concat(entry.Header, x.response)
	return x.gateway.finish(x.req, &front.OwnResponse{Status: entry.Status, Header: header, Body: entry.Body})
}

func (c *proxyCache) key(x *exchange) string {
	prefix := x.match.route.id
	if x.consumer != nil {
		prefix = string(x.consumer) + ":" + prefix
	}
	uri, _, _ := strings.Cut(x.req.Line, "?")
	if c.ignoreCase {
		uri = strings.ToLower(uri)
	}
	headers := func(field string) any {
		return headersMap(x.headers, defaultMaxHeaders)[strings.ToLower(strings.ReplaceAll(field, "_", "-"))]
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%s|%s|%s|%s|%s", prefix, x.req.Method, uri, c.queryKey(x), keyOf(c.headers, headers)))
	return hex.EncodeToString(sum[:])
}

func (c *proxyCache) queryKey(x *exchange) string {
	args := map[string]any{}
	for part := range strings.SplitSeq(x.req.Args, "&") {
		name, value, hasValue := strings.Cut(part, "=")
		name, value = unescaped(name), unescaped(value)
		switch before := args[name].(type) {
		case nil:
			if args[name] = any(value); !hasValue {
				args[name] = true
			}
		case []any:
			args[name] = append(before, value)
		default:
			args[name] = []any{before, value}
		}
	}
	delete(args, "")
	names := c.query
	if len(names) == 0 {
		names = slices.Sorted(maps.Keys(args))
	}
	return keyOf(names, func(name string) any { return args[name] })
}

func unescaped(text string) string {
	if plain, err := url.QueryUnescape(text); err == nil {
		return plain
	}
	return text
}

// keyOf joins the fields that are there.
func keyOf(fields []string, value func(string) any) string {
	var parts []string
	for _, field := range fields {
		switch v := value(field).(type) {
		case nil:
		case bool:
			parts = append(parts, field)
		case []any:
			texts := make([]string, len(v))
			for i := range v {
				texts[i] = fmt.Sprint(v[i])
			}
			slices.Sort(texts)
			parts = append(parts, field+"="+strings.Join(texts, ","))
		default:
			parts = append(parts, field+"="+fmt.Sprint(v))
		}
	}
	return strings.Join(parts, ":")
}

// keeping is a response on its way that is to be kept.
type keeping struct {
	cache *proxyCache
	key   string
	entry responsecache.Entry
}

// keepHead notes the head of the upstream's response; it forgets one that is not kept.
func (x *exchange) keepHead(resp *front.Response) {
	if x.keep == nil {
		return
	}
	kind, _ := resp.Header.Get("Content-Type")
	if !slices.Contains(x.keep.cache.codes, resp.Status) || !slices.Contains(x.keep.cache.types, kind) {
		x.response.Set("X-Cache-Status", "Bypass")
		x.keep = nil
		return
	}
	x.keep.entry = responsecache.Entry{Status: resp.Status, Header: resp.Header.Clone(), Stored: x.gateway.now()}
}

// keepBody keeps a response that has arrived whole.
func (x *exchange) keepBody(body []byte) {
	if x.keep != nil && len(body) <= responsecache.MaxBody {
		x.keep.entry.Body = body
		x.gateway.kept.Put(x.keep.key, x.keep.entry)
	}
}
