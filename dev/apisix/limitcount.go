package apisix

import (
	"math"
	"slices"
	"strconv"
	"sync"
	"time"

	"go.yaml.in/yaml/v3"
)

// parseLimitCount reads limit-count with the policy local and a fixed window.
func parseLimitCount(r *reader, p *plugin, n *yaml.Node, path string) {
	c := limitCount{key: "remote_addr", kind: "var", status: 503, tell: true, windows: map[string]window{}}
	policy, windowType := "local", "fixed"
	r.plugin(p, n, path, map[string]field{
		"count": r.integer(&c.count), "time_window": r.integer(&c.seconds), "key": r.text(&c.key), "key_type": r.text(&c.kind),
		"rejected_code": r.integer(&c.status), "rejected_msg": r.text(&c.message), "policy": r.text(&policy),
		"window_type": r.text(&windowType), "show_limit_quota_header": r.boolean(&c.tell), "allow_degradation": ignored,
	})
	r.oneOf(n, join(path, "policy"), policy, "local")
	r.oneOf(n, join(path, "window_type"), windowType, "fixed")
	r.oneOf(n, join(path, "key_type"), c.kind, "var", "var_combination", "constant")
	if c.count <= 0 || c.seconds <= 0 {
		r.problem(n, path, "want count and time_window above 0")
	}
	p.access = c.access
}

type limitCount struct {
	count, seconds, status int
	key, kind, message     string
	tell                   bool

	mu      sync.Mutex
	windows map[string]window
}

// window counts the requests of one key until it ends.
type window struct {
	used int
	ends time.Time
}

// counted is the key of a request. Without a value it is the client's address.
func (c *limitCount) counted(x *exchange) string {
	key, ok := c.key, true
	switch c.kind {
	case "var":
		key, ok = x.variable(c.key)
	case "var_combination":
		key = x.resolve(c.key, nil)
		ok = slices.ContainsFunc(varReference.FindAllStringSubmatch(c.key, -1), func(m []string) bool {
			_, known := x.variable(m[1] + m[2])
			return known
		})
	}
	if !ok {
		return x.remote.Addr().String()
	}
	return key
}

func (c *limitCount) access(x *exchange) *reply {
	w, within := c.take(c.counted(x), x.gateway.now())
	if c.tell {
		left := w.ends.Sub(x.gateway.now()).Seconds()
		x.respHeader.Set("X-RateLimit-Limit", strconv.Itoa(c.count))
		x.respHeader.Set("X-RateLimit-Remaining", strconv.Itoa(c.count-w.used))
		x.respHeader.Set("X-RateLimit-Reset", strconv.FormatFloat(math.Floor(left*100)/100, 'f', -1, 64))
	}
	switch {
	case within:
		return nil
	case c.message != "":
		return jsonReply(c.status, map[string]any{"error_msg": c.message})
	}
	return &reply{status: c.status}
}

// maxWindows is how many keys are remembered before those whose time is over go.
const maxWindows = 10_000

func (c *limitCount) take(key string, now time.Time) (w window, within bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.windows) >= maxWindows {
		for key, w := range c.windows {
			if !now.Before(w.ends) {
				delete(c.windows, key)
			}
		}
	}
	w = c.windows[key]
	if !now.Before(w.ends) {
		w = window{ends: now.Add(time.Duration(c.seconds) * time.Second)}
	}
	if within = w.used < c.count; within {
		w.used++
	}
	c.windows[key] = w
	return w, within
}
