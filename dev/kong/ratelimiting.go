package kong

import (
	"cmp"
	"maps"
	"strconv"
	"strings"
	"sync"
	"time"

	"gatehouse/dev/front"
)

const rateLimitingSchema = `{"name": "rate-limiting", "fields": [
	{"config": {"type": "record", "fields": [
		{"second": {"type": "number", "gt": 0}}, {"minute": {"type": "number", "gt": 0}}, {"hour": {"type": "number", "gt": 0}},
		{"day": {"type": "number", "gt": 0}}, {"month": {"type": "number", "gt": 0}}, {"year": {"type": "number", "gt": 0}},
		{"limit_by": {"type": "string", "default": "consumer", "one_of": ["consumer", "credential", "ip", "service", "header", "path"]}},
		{"header_name": {"type": "string"}},
		{"path": {"type": "string", "starts_with": "/"}},
		{"policy": {"type": "string", "default": "local", "one_of": ["local"], "err": "the local gateway knows the policy local only"}},
		{"fault_tolerant": {"type": "boolean", "required": true, "default": true}},
		{"hide_client_headers": {"type": "boolean", "required": true, "default": false}},
		{"error_code": {"type": "number", "default": 429, "gt": 0}},
		{"error_message": {"type": "string", "default": "API rate limit exceeded"}},
		{"sync_rate": {"type": "number", "required": true, "default": -1}}]}}],
	"entity_checks": [
		{"at_least_one_of": ["config.second", "config.minute", "config.hour", "config.day", "config.month", "config.year"]},
		{"conditional": {"if_field": "config.limit_by", "if_match": {"eq": "header"}, "then_field": "config.header_name", "then_match": {"required": true}}},
		{"conditional": {"if_field": "config.limit_by", "if_match": {"eq": "path"}, "then_field": "config.path", "then_match": {"required": true}}}]}`

// period is a calendar window, with the length that Kong tells clients.
type period struct {
	name, title string
	seconds     int
	start       func(time.Time) time.Time
}

func truncated(d time.Duration) func(time.Time) time.Time {
	return func(t time.Time) time.Time { return t.Truncate(d) }
}

var periods = []period{
	{"second", "Second", 1, truncated(time.Second)},
	{"minute", "Minute", 60, truncated(time.Minute)},
	{"hour", "Hour", 3600, truncated(time.Hour)},
	{"day", "Day", 86_400, truncated(24 * time.Hour)},
	{"month", "Month", 2_592_000, func(t time.Time) time.Time { return time.Date(t.Year(), t.Month(), 1, 0, 0, 0, 0, time.UTC) }},
	{"year", "Year", 31_536_000, func(t time.Time) time.Time { return time.Date(t.Year(), 1, 1, 0, 0, 0, 0, time.UTC) }},
}

// rateLimiting is Kong's plugin with the policy local.
type rateLimiting struct {
	limits            map[string]float64
	by, header, path  string
	status            int
	message           string
	hideClientHeaders bool
	counters          *counters
}

func newRateLimiting(config map[string]any) accessPhase {
	c := rateLimiting{
		limits: map[string]float64{}, by: str(config, "limit_by"), header: str(config, "header_name"), path: str(config, "path"),
		status: integer(config, "error_code"), message: str(config, "error_message"), hideClientHeaders: boolean(config, "hide_client_headers"),
		counters: &counters{},
	}
	for _, p := range periods {
		if limit, ok := config[p.name].(float64); ok {
			c.limits[p.name] = limit
		}
	}
	return c.access
}

// identifier is who is counted. Nobody is a consumer here; as in Kong, whoever
// has no other name is counted by address.
func (c *rateLimiting) identifier(x *exchange) string {
	switch variable := strings.ToLower(strings.ReplaceAll(c.header, "-", "_")); {
	case c.by == "service" && x.match.route.service != nil:
		return x.match.route.service.id
	case c.by == "header" && len(valuesByVariable(x.headers, variable)) > 0:
		value, _ := getHeader(x, c.header)
		return value
	case c.by == "path" && x.path() == c.path:
		return c.path
	}
	return x.req.Remote.Addr().String()
}

func (c *rateLimiting) access(x *exchange) *front.OwnResponse {
	now := x.gateway.now().UTC()
	usage := c.counters.take(c.limits, c.identifier(x), now)
	if !c.hideClientHeaders {
		usage.tell(x, now)
	}
	if usage.exceeded == "" {
		return nil
	}
	response := x.gateway.runloopError(x.req, c.status, c.message)
	response.Header = append(response.Header, x.response...)
	return response
}

// usage is what is left of each limit.
type usage struct {
	limits, remaining map[string]float64
	// exceeded is a period whose limit has been reached.
	exceeded string
}

// tell sets the headers of the nearest limit and of each.
func (u usage) tell(x *exchange, now time.Time) {
	var nearest *period
	number := func(n float64) string { return strconv.FormatFloat(n, 'f', -1, 64) }
	for i, p := range periods {
		limit, limited := u.limits[p.name]
		if !limited {
			continue
		}
		x.response.Set("X-RateLimit-Limit-"+p.title, number(limit))
		x.response.Set("X-RateLimit-Remaining-"+p.title, number(u.remaining[p.name]))
		if nearest == nil || u.remaining[p.name] <= u.remaining[nearest.name] {
			nearest = &periods[i]
		}
	}
	passed := int(now.Sub(nearest.start(now)).Seconds())
	reset := strconv.Itoa(max(1, nearest.seconds-passed))
	x.response.Set("RateLimit-Limit", number(u.limits[nearest.name]))
	x.response.Set("RateLimit-Remaining", number(u.remaining[nearest.name]))
	x.response.Set("RateLimit-Reset", reset)
	if u.exceeded != "" {
		x.response.Set("Retry-After", reset)
	}
}

// counters are those of one config, by period, its start and who is counted.
type counters struct {
	mu    sync.Mutex
	count map[counted]float64
}

type counted struct {
	period int
	who    string
	start  int64
}

// maxCounters is when the counters of past periods are dropped.
const maxCounters = 10_000

// take counts a request, unless a limit has been reached.
func (c *counters) take(limits map[string]float64, who string, now time.Time) usage {
	c.mu.Lock()
	defer c.mu.Unlock()
	u := usage{limits: limits, remaining: map[string]float64{}}
	var current []counted
	for i, p := range periods {
		if limit, limited := limits[p.name]; limited {
			window := counted{i, who, p.start(now).Unix()}
			current = append(current, window)
			u.remaining[p.name] = limit - c.count[window]
			if u.remaining[p.name] <= 0 {
				u.exceeded = cmp.Or(u.exceeded, p.name)
			}
		}
	}
	for name, left := range u.remaining {
		if u.exceeded == "" || u.exceeded == name {
			u.remaining[name] = max(0, left-1)
		}
	}
	if u.exceeded == "" {
		c.add(current, now)
	}
	return u
}

func (c *counters) add(windows []counted, now time.Time) {
	if len(c.count) >= maxCounters {
		maps.DeleteFunc(c.count, func(k counted, _ float64) bool { return k.start != periods[k.period].start(now).Unix() })
	}
	if c.count == nil {
		c.count = map[counted]float64{}
	}
	for _, window := range windows {
		c.count[window]++
	}
}
