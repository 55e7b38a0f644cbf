package trail

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"gatehouse/core/audit"
)

// Field is something of a record that a filter can ask for.
type Field struct {
	Name, Usage string
	// of returns its texts; a record without it has none.
	of func(*audit.Record) []string
}

// Fields are those that a filter can ask for by texts.
func Fields() []Field {
	one := func(name, usage string, of func(*audit.Record) string) Field {
		return Field{name, usage, func(r *audit.Record) []string { return texts(of(r)) }}
	}
	mcp := func(name, usage string, of func(*audit.MCP) string) Field {
		return one(name, usage, func(r *audit.Record) string {
			if r.MCP == nil {
				return ""
			}
			return of(r.MCP)
		})
	}
	callers := func(name, usage string, of func(*audit.Caller) []string) Field {
		return Field{name, usage, func(r *audit.Record) []string {
			if r.Caller == nil {
				return nil
			}
			return of(r.Caller)
		}}
	}
	return []Field{
		one("decision", "`decision`: allow, deny or respond", func(r *audit.Record) string { return r.Decision }),
		one("reason", "`reason`, such as insufficient_scope", func(r *audit.Record) string { return r.Reason }),
		one("status", "`status` of the response where the gate made it: 403, or 4* for all of 400 to 499", status),
		one("method", "request `method`", func(r *audit.Record) string { return r.Method }),
		one("host", "`host` that the client asked for", func(r *audit.Record) string { return r.Host }),
		one("path", "`path`; /users/* is all below /users/", func(r *audit.Record) string { return r.Path }),
		mcp("mcp-method", "`method` of a call of the Model Context Protocol, such as tools/call", func(m *audit.MCP) string { return m.Method }),
		mcp("mcp-name", "`name` in such a call: tool, prompt or URI of the resource", func(m *audit.MCP) string { return m.Name }),
		one("rule", "`activity` that decided", func(r *audit.Record) string { return r.Rule }),
		one("permission", "`permission` that let the caller in, or would have", func(r *audit.Record) string { return r.Permission }),
		one("grant", "`grant` by which the caller holds it, such as 'role editor'", func(r *audit.Record) string { return r.Grant }),
		callers("subject", "`subject` of the caller", func(c *audit.Caller) []string { return texts(c.Subject) }),
		callers("issuer", "`issuer` of the caller's credential", func(c *audit.Caller) []string { return texts(c.Issuer) }),
		callers("client", "`client` (OAuth 2.0) of the caller", func(c *audit.Caller) []string { return texts(c.ClientID) }),
		callers("actor", "`actor` (subject or client) for the caller; * is any", actors),
		callers("kind", "`kind` of the credential, such as jwt", func(c *audit.Caller) []string { return texts(c.Kind) }),
		callers("role", "`role` that the credential states", func(c *audit.Caller) []string { return c.Roles }),
		callers("scope", "`scope` of the credential", func(c *audit.Caller) []string { return c.Scopes }),
		one("gateway", "`gateway`: kong, apisix, or the dialect of forward-auth", func(r *audit.Record) string { return r.Gateway }),
		one("route", "`route` of the gateway", func(r *audit.Record) string { return r.Route }),
		one("client-ip", "`address` of the client, or a network such as 203.0.113.0/24", func(r *audit.Record) string { return r.ClientIP }),
		one("request-id", "`id` of the request", func(r *audit.Record) string { return r.RequestID }),
		one("table-version", "`version` of the permission table", version),
	}
}

func texts(text string) []string {
	if text == "" {
		return nil
	}
	return []string{text}
}

func status(r *audit.Record) string {
	if r.Status == 0 {
		return ""
	}
	return strconv.Itoa(r.Status)
}

func version(r *audit.Record) string {
	if r.Table == nil {
		return ""
	}
	return r.Table.Version
}

func actors(c *audit.Caller) []string {
	if c.Actor == nil {
		return nil
	}
	return append(texts(c.Actor.Subject), texts(c.Actor.ClientID)...)
}

// Filter takes the records that have all that is asked for.
type Filter struct {
	// Since is the first moment that counts, Until the first that no longer does; zero:
	// there is no bound.
	Since, Until time.Time
	wanted       []wanted
}

// wanted is a field that has to have one of several texts.
type wanted struct {
	of  func(*audit.Record) []string
	any []func(text string) bool
}

// Want asks for records whose field is one of several texts, in which * stands for any text.
// Without texts nothing is asked for.
func (f *Filter) Want(field Field, patterns []string) error {
	if len(patterns) == 0 {
		return nil
	}
	w := wanted{of: field.of}
	for _, pattern := range patterns {
		is, err := matcher(field.Name, pattern)
		if err != nil {
			return err
		}
		w.any = append(w.any, is)
	}
	f.wanted = append(f.wanted, w)
	return nil
}

func matcher(field, pattern string) (func(string) bool, error) {
	if field == "client-ip" && strings.Contains(pattern, "/") {
		network, err := netip.ParsePrefix(pattern)
		if err != nil {
			return nil, fmt.Errorf("--client-ip %q is no network; write an address, or one such as 203.0.113.0/24", pattern)
		}
		return func(text string) bool {
			address, err := netip.ParseAddr(text)
			return err == nil && network.Contains(address.Unmap())
		}, nil
	}
	if field == "decision" && !strings.Contains(pattern, "*") && !slices.Contains(audit.Decisions, pattern) {
		return nil, fmt.Errorf("--decision is %q; use %s", pattern, strings.Join(audit.Decisions, ", "))
	}
	if !strings.Contains(pattern, "*") {
		return func(text string) bool { return text == pattern }, nil
	}
	regex, err := regexp.Compile(`(?s)\A` + strings.ReplaceAll(regexp.QuoteMeta(pattern), `\*`, `.*`) + `\z`)
	if err != nil { // it is too long
		return nil, fmt.Errorf("--%s: %w", field, err)
	}
	return regex.MatchString, nil
}

// Takes reports whether a record has all that is asked for. What is absent is never what was
// asked for.
func (f *Filter) Takes(r *audit.Record) bool {
	if !f.Since.IsZero() && r.Time.Before(f.Since) || !f.Until.IsZero() && !r.Time.Before(f.Until) {
		return false
	}
	for _, w := range f.wanted {
		if !w.in(w.of(r)) {
			return false
		}
	}
	return true
}

func (w *wanted) in(texts []string) bool {
	for _, text := range texts {
		for _, is := range w.any {
			if is(text) {
				return true
			}
		}
	}
	return false
}

// Moment reads a moment: a date or a time of RFC 3339, a date and time in UTC, or how long ago it is, such
// as 90m, 2h or 7d.
func Moment(text string, now time.Time) (time.Time, error) {
	for _, form := range []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02T15:04", time.DateTime, "2006-01-02 15:04", time.DateOnly} {
		if at, err := time.Parse(form, text); err == nil {
			return at, nil
		}
	}
	if days, ok := strings.CutSuffix(text, "d"); ok {
		if n, err := strconv.ParseUint(days, 10, 16); err == nil {
			return now.Add(-time.Duration(n) * 24 * time.Hour), nil
		}
	}
	if ago, err := time.ParseDuration(text); err == nil && ago >= 0 {
		return now.Add(-ago), nil
	}
	return time.Time{}, fmt.Errorf("%q is no time; write 2026-11-22, 2026-11-22 08:00 (UTC), 2026-11-22T08:00:00+01:00, or how long ago: 90m, 2h, 7d", text)
}
