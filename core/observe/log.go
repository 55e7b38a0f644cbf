// Package observe turns the engine's events into what operators read.
package observe

import (
	"context"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"gatehouse/core"
	"gatehouse/core/audit"
)

// maxLogged bounds what a client can write into one field of a log line, in bytes.
const maxLogged = 512

// Log records decisions as structured lines: refusals at level info, those
// that are Gatehouse's or a provider's failure at level warn, admissions at
// level debug. No line holds a query, a header value or a credential. Refusals that
// anybody can cause without a credential have a limited number of lines.
type Log struct {
	logger    *slog.Logger
	anonymous limit
}

// NewLog records to a logger.
func NewLog(logger *slog.Logger) *Log {
	return &Log{logger: logger, anonymous: limit{now: time.Now}}
}

var _ core.Recorder = (*Log)(nil)

// Begin does nothing: a line is about the end.
func (*Log) Begin(ctx context.Context, _ *core.Request) context.Context { return ctx }

// End writes one line if the level is enabled.
func (l *Log) End(ctx context.Context, e core.Event) {
	level, message := slog.LevelInfo, "denied"
	switch {
	case e.Decision.Outcome == core.Allow:
		level, message = slog.LevelDebug, "allowed"
	case e.Decision.Outcome == core.Respond:
		level, message = slog.LevelDebug, "responded"
	case e.Decision.Status >= http.StatusInternalServerError:
		level = slog.LevelWarn
	}
	if !l.logger.Enabled(ctx, level) {
		return
	}
	attrs := []slog.Attr(nil)
	if isAnonymous(e.Decision) {
		leftOut, ok := l.anonymous.take()
		if !ok {
			return
		}
		if leftOut > 0 {
			attrs = append(attrs, slog.Int("left_out", leftOut))
		}
	}
	l.logger.LogAttrs(ctx, level, message, append(attributes(e), attrs...)...)
}

// isAnonymous reports whether a refusal took no more than a request: nobody was
// found out, and no credential was judged.
func isAnonymous(d *core.Decision) bool {
	return d.Outcome == core.Deny && d.Principal == nil && d.Reason != "invalid_credential" && d.Reason != "step_up"
}

func attributes(e core.Event) []slog.Attr {
	d := e.Decision
	attrs := []slog.Attr{
		slog.String("reason", d.Reason),
		slog.String("method", bounded(e.Request.Method)),
		slog.String("path", bounded(audit.PathOf(e))),
		slog.String("host", bounded(e.Request.Host)),
		slog.Float64("took_ms", float64(e.Duration.Microseconds())/1000),
	}
	if call := e.Request.MCP; call.Method != "" {
		attrs = append(attrs, slog.String("mcp_method", bounded(call.Method)))
		if call.Name != "" {
			attrs = append(attrs, slog.String("mcp_name", bounded(audit.NameOf(call))))
		}
	}
	if e.Request.ID != "" {
		attrs = append(attrs, slog.String("request_id", bounded(e.Request.ID)))
	}
	if d.Status != 0 {
		attrs = append(attrs, slog.Int("status", d.Status))
	}
	if d.Cause != nil {
		attrs = append(attrs, slog.String("cause", bounded(d.Cause.Error())))
	}
	if d.Rule != "" {
		attrs = append(attrs, slog.String("rule", d.Rule))
	}
	if expected, got := audit.Expected(d.Cause, permissionOf(e), d.Principal); expected != "" && d.Outcome == core.Deny {
		attrs = append(attrs, slog.String("expected", bounded(expected)), slog.String("got", bounded(got)))
	}
	if e.Request.Said != "" {
		attrs = append(attrs, slog.String("decision_context", bounded(e.Request.Said)))
	}
	if d.Principal != nil {
		attrs = append(attrs, caller(d.Principal)...)
	}
	return attrs
}

// permissionOf is the permission that a call needs, where the policy says so.
func permissionOf(e core.Event) string {
	account, _ := audit.AccountOf(e)
	return account.Permission
}

// caller says who called, and who acted for them. What is absent is left out.
func caller(p *core.Principal) []slog.Attr {
	attrs := []slog.Attr{slog.String("sub", bounded(p.Subject)), slog.String("kind", string(p.Kind))}
	add := func(key, value string) {
		if value != "" {
			attrs = append(attrs, slog.String(key, bounded(value)))
		}
	}
	add("iss", p.Issuer)
	add("client_id", p.ClientID)
	if certificate, ok := p.Claims["certificate"].(map[string]any); ok {
		for _, member := range []string{"subject", "issuer", "fingerprint"} {
			text, _ := certificate[member].(string)
			add("cert_"+member, text)
		}
	}
	if p.Actor != nil {
		add("actor", p.Actor.Subject)
		add("actor_iss", p.Actor.Issuer)
		add("actor_client_id", p.Actor.ClientID)
		add("actors_before", before(p.Actor))
	}
	return attrs
}

// before names who acted before an actor, the latest first.
func before(a *core.Actor) string {
	var ids []string
	for _, earlier := range a.Chain()[1:] {
		ids = append(ids, earlier.String())
	}
	return strings.Join(ids, " ")
}

func bounded(text string) string {
	if len(text) > maxLogged {
		return text[:maxLogged] + "..."
	}
	return text
}
