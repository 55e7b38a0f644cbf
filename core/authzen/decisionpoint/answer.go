package decisionpoint

import (
	"context"
	"log/slog"
	"net/http"
	"strconv"
	"strings"

	"gatehouse/core"
	"gatehouse/core/authzen"
)

// unknown reports whether the answer could not be found out.
func (a *Answer) unknown() bool { return a.Status >= http.StatusInternalServerError }

// result is the answer for counters and logs.
func (a *Answer) result() string {
	switch {
	case a.Allowed:
		return "permit"
	case a.unknown():
		return "error"
	}
	return "deny"
}

// decision is the answer on the wire. Its context has the reasons of a refusal by the status
// that the call would get.
func (a *Answer) decision() authzen.Decision {
	if a.Allowed {
		return authzen.Decision{Decision: true}
	}
	status := strconv.Itoa(a.Status)
	context := map[string]any{
		"reason_user":  map[string]any{status: reasonForUser(a)},
		"reason_admin": map[string]any{status: reasonForAdmin(a)},
	}
	if a.StepUp != nil && a.StepUp.AAL != "" {
		context["acr_values"] = a.StepUp.AAL
	}
	if a.StepUp != nil && a.StepUp.MaxAge > 0 {
		context["max_age"] = int(a.StepUp.MaxAge.Seconds())
	}
	return authzen.Decision{Context: context}
}

func reasonForUser(a *Answer) string {
	switch {
	case a.StepUp != nil:
		return "Sign in again to do this."
	case a.Status == http.StatusBadRequest, a.Status == http.StatusNotFound:
		return "This cannot be done."
	}
	return "You may not do this."
}

// maxReason bounds a reason, which repeats names of the question.
const maxReason = 1000

func reasonForAdmin(a *Answer) string {
	if a.Cause == nil {
		return "refused"
	}
	return cut(a.Cause.Error(), maxReason)
}

// failed is the answer to one question of several that cannot be answered.
func failed(status int, message string) authzen.Decision {
	return authzen.Decision{Context: map[string]any{"error": map[string]any{"status": status, "message": message}}}
}

// tell counts an answer, and logs it: refusals at level info, the rest at level debug.
func (p *Point) tell(ctx context.Context, a asking, e *authzen.Evaluation, answer *Answer) {
	p.options.Answered(answer.result())
	level := slog.LevelInfo
	switch {
	case answer.Allowed:
		level = slog.LevelDebug
	case answer.unknown():
		level = slog.LevelWarn
	}
	if !p.options.Log.Enabled(ctx, level) {
		return
	}
	resource, _, _ := strings.Cut(e.Resource.ID, "?") // a query may hold a token
	attrs := []slog.Attr{
		slog.String("answer", answer.result()), slog.Int("status", answer.Status), slog.String("asker", a.name()),
		slog.String("subject_type", logged(e.Subject.Type)), slog.String("subject", logged(e.Subject.ID)), slog.String("action", logged(e.Action.Name)),
		slog.String("resource_type", logged(e.Resource.Type)), slog.String("resource", logged(resource)),
	}
	if a.requestID != "" {
		attrs = append(attrs, slog.String("request_id", logged(a.requestID)))
	}
	if answer.Rule != "" {
		attrs = append(attrs, slog.String("rule", answer.Rule))
	}
	if answer.Cause != nil {
		attrs = append(attrs, slog.String("cause", logged(answer.Cause.Error())))
	}
	p.options.Log.LogAttrs(ctx, level, "evaluation", attrs...)
}

// tellSearch counts a search, and logs it at level debug.
func (p *Point) tellSearch(ctx context.Context, a asking, sought authzen.Sought, s *authzen.Search, results int, err error) {
	level, result := slog.LevelDebug, "search"
	attrs := []slog.Attr{
		slog.String("sought", string(sought)), slog.Int("results", results), slog.String("asker", a.name()), slog.String("subject_type", logged(s.Subject.Type)),
		slog.String("action", logged(s.Action.Name)), slog.String("resource_type", logged(s.Resource.Type)),
	}
	if err != nil {
		level, result = slog.LevelWarn, "error"
		attrs = append(attrs, slog.String("cause", logged(err.Error())))
	}
	p.options.Answered(result)
	p.options.Log.LogAttrs(ctx, level, "search", attrs...)
}

// name is how the log calls an asker.
func (a asking) name() string {
	switch {
	case a.caller == nil:
		return "anonymous"
	case a.caller.Subject == "":
		return logged(a.caller.ClientID)
	}
	return logged(a.caller.Subject)
}

// logged bounds what others can write into one field of a log line.
func logged(text string) string { return cut(text, 256) }

func cut(text string, most int) string {
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + "..."
}

// requestIDHeader names a request of the API.
const requestIDHeader = "X-Request-ID"

// maxRequestID is the longest id that is given back, in bytes.
const maxRequestID = 1024

// requestID is the id that the asker has given to the request.
func requestID(r *core.Request) (id string, ok bool) {
	id, lines := r.Lookup(requestIDHeader)
	odd := func(c rune) bool { return c < ' ' || c == 0x7f }
	return id, lines == 1 && id != "" && len(id) <= maxRequestID && !strings.ContainsFunc(id, odd)
}

// Echo gives every answer of the API the id of its request, refusals among them.
type Echo struct {
	// Next has the last word before; nil: nobody has.
	Next  core.Answers
	Paths []string
}

var _ core.Answers = Echo{}

// Finish adds the header.
func (e Echo) Finish(r *core.Request, d *core.Decision) {
	if e.Next != nil {
		e.Next.Finish(r, d)
	}
	path, _, _ := strings.Cut(r.Target, "?")
	for _, own := range e.Paths {
		if id, ok := requestID(r); ok && path == own {
			d.Header = append(d.Header[:len(d.Header):len(d.Header)], core.Header{Name: requestIDHeader, Value: id})
		}
	}
}
