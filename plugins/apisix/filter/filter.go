// Package filter is Gatehouse as a plugin of an APISIX runner, for the runner
// beside it and for those that teams build with plugins of their own.
package filter

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/apache/apisix-go-plugin-runner/pkg/plugin"

	pkgHTTP "github.com/apache/apisix-go-plugin-runner/pkg/http"

	"gatehouse/core"
	"gatehouse/core/config"
	"gatehouse/core/config/hosts"
	"gatehouse/core/httpsyntax"
	"gatehouse/core/setting"
	"gatehouse/internal/exchange"
	"gatehouse/plugins/apisix/runner"
)

// Filter is the plugin "gatehouse" of a runner.
type Filter struct {
	plugin.DefaultPlugin
	gates *config.Builder
}

var (
	_ plugin.Plugin   = (*Filter)(nil)
	_ runner.Recorder = (*Filter)(nil)

	_ runner.Exchanger = (*Filter)(nil)
	_ runner.Flusher   = (*Filter)(nil)
)

// New makes the plugin, whose gates come from a builder.
func New(gates *config.Builder) *Filter { return &Filter{gates: gates} }

// Name is what a route's conf calls the plugin.
func (*Filter) Name() string { return "gatehouse" }

// ParseConf finds or builds the gate of a configuration. APISIX sends it again for
// every route after any edit, so gates are shared by content. A gate is refused if it
// asks for what APISIX cannot do: of the lines of one header it keeps the last, and it
// writes a query anew, in another order, if one parameter is removed.
func (f *Filter) ParseConf(in []byte) (any, error) {
	followed, err := f.gates.Follow(in, config.Terms{Check: func(now *config.Current) error {
		return check(now, core.Demands{Body: true, ClientCertificate: tlsVariables}, "APISIX's runner")
	}})
	if err != nil {
		return nil, err
	}
	return followed, nil
}

// Exchange decides requests of APISIX's Lua file, which can do more to a request than a
// runner can.
func (f *Filter) Exchange() exchange.Options {
	can := core.Demands{Body: true, RepeatedHeaders: true, Consumers: true, ClientCertificate: tlsVariables}
	return exchange.Options{Gates: f.gates, Gateway: "apisix", Load: func(text []byte) (*config.Followed, error) {
		return f.gates.Follow(text, config.Terms{Name: "exchange", Check: func(now *config.Current) error { return check(now, can, "APISIX") }})
	}}
}

// tlsVariables are those of nginx that tell the client's certificate.
const tlsVariables = "ssl_client_raw_cert"

func check(now *config.Current, can core.Demands, host string) error {
	if unmet := hosts.Unmet(now.Demands(), can, host); len(unmet) > 0 {
		return &setting.Error{Problems: unmet}
	}
	return checkAdded(now.ResponseHeaders())
}

// RequestFilter decides one request. It goes on to the upstream unless a response is
// written.
func (f *Filter) RequestFilter(conf any, w http.ResponseWriter, r pkgHTTP.Request) {
	request, unread := read(r)
	followed, ok := conf.(config.InUse)
	if !ok {
		respond(w, f.gates.Refuse(r.Context(), request, errNoGate))
		return
	}
	d := f.gates.Decide(r.Context(), followed, request, unread)
	if d.Outcome == core.Allow {
		if err := addToResponse(r, d.ResponseHeader); err != nil {
			d = f.gates.Decide(r.Context(), followed, request, err)
		}
	}
	if d.Outcome != core.Allow {
		respond(w, d)
		return
	}
	changeHeaders(r.Header(), d)
}

var errNoGate = errors.New("the route's configuration is not a gate")

// changeHeaders strips and sets. APISIX reads the variable $http_x_user_id once, and
// keeps what the client sent if that was before, for limit-count, loggers and others. From
// version 3.10 on it forgets it when X_User_Id is removed, with the name of the variable,
// and not when X-User-Id is set.
func changeHeaders(head pkgHTTP.Header, d core.Decision) {
	strip := func(name string) {
		head.Del(name)
		if strings.Contains(name, "-") {
			head.Del(strings.ReplaceAll(name, "-", "_"))
		}
	}
	for _, name := range d.Strip {
		strip(name)
	}
	for _, h := range d.Set {
		strip(h.Name)
		head.Set(h.Name, h.Value)
	}
}

// notAdded are the headers that APISIX does not add to the response of a request
// that passes, and leaves out without an error.
var notAdded = []string{
	"Connection", "Content-Encoding", "Content-Language", "Content-Length", "Content-Location", "Content-Type",
	"Location", "Server", "Transfer-Encoding", "WWW-Authenticate",
}

// checkAdded refuses a gate that may set headers which APISIX leaves out.
func checkAdded(names []string) error {
	for _, set := range names {
		if slices.ContainsFunc(notAdded, func(name string) bool { return strings.EqualFold(name, set) }) {
			return fmt.Errorf("APISIX does not add the header %s to a response", set)
		}
	}
	return nil
}

func addToResponse(r pkgHTTP.Request, lines []core.Header) error {
	for _, h := range lines {
		if err := checkAdded([]string{h.Name}); err != nil {
			return err
		}
		r.RespHeader().Add(h.Name, h.Value)
	}
	return nil
}

// Flush has audit records written that wait.
func (f *Filter) Flush(ctx context.Context) { f.gates.FlushAudit(ctx) }

// Begin and End record what the runner itself denied: by the gate of the route, where it has
// one.
func (f *Filter) Begin(ctx context.Context, _ *core.Request) context.Context { return ctx }

// End records the decision.
func (f *Filter) End(ctx context.Context, e core.Event) {
	if followed, ok := runner.Conf(ctx).(config.InUse); ok {
		if now, err := followed.Current(); err == nil {
			now.Record(ctx, e)
			return
		}
	}
	core.Record(ctx, f.gates.Recorder(), e)
}

// read takes the request line as it was received: what APISIX shows otherwise
// is decoded, while the upstream gets the original. The request is never nil.
func read(r pkgHTTP.Request) (*core.Request, error) {
	raw, ok := r.(runner.RawRequest)
	if !ok {
		return &core.Request{Method: r.Method()}, errors.New("the runner does not tell the request line as received")
	}
	request := raw.Describe()
	line, err := raw.RequestLine()
	if err != nil {
		return request, fmt.Errorf("the request line is not known: %w", err)
	}
	if _, request.Target, err = httpsyntax.RequestLine(line); err != nil {
		return request, fmt.Errorf("%w: %w", core.ErrBadRequest, err)
	}
	request.Target = httpsyntax.OriginForm(request.Target, request.Host) // which is what APISIX serves
	return request, nil
}

func respond(w http.ResponseWriter, d core.Decision) {
	if whole, ok := w.(runner.Replier); ok {
		whole.Reply(d.ClientStatus(), d.Header, d.Body)
		return
	}
	for _, h := range d.Header {
		w.Header().Add(h.Name, h.Value)
	}
	w.WriteHeader(d.ClientStatus())
	w.Write(d.Body) // a writer of a runner keeps it in memory and cannot fail
}
