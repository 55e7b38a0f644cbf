package doctor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"gatehouse/internal/check"
)

// gateway examines the gateway as its clients reach it.
func (x *examination) gateway(ctx context.Context) {
	if x.URL != nil && x.guarded(ctx) {
		x.inventedToken(ctx)
		x.hiddenToken(ctx)
		x.forwardedPath(ctx)
		x.headerLimit(ctx)
		x.preflight(ctx)
	}
	if x.Echo != nil && x.echoes(ctx) {
		x.forgedHeaders(ctx)
		x.forwardedHeaders(ctx)
	}
}

// answer is a response of the gateway.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// ask sends one request. The lines of the header are sent as they are written.
func (x *examination) ask(ctx context.Context, method string, u *url.URL, header http.Header) (*answer, error) {
	req, err := http.NewRequestWithContext(ctx, method, u.String(), nil)
	if err != nil {
		return nil, err
	}
	req.Header = header.Clone()
	req.Header.Set("User-Agent", "gatehouse-doctor")
	if req.Header.Get("Accept") == "" {
		req.Header.Set("Accept", "application/json")
	}
	before := x.Now()
	response, err := x.http.Do(req)
	if err != nil {
		var failed *url.Error
		if errors.As(err, &failed) {
			err = failed.Err
		}
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxBody))
	if err != nil {
		return nil, err
	}
	x.clock(u.Host, date(response.Header), before, x.Now())
	return &answer{response.StatusCode, response.Header, body}, nil
}

// passed tells that the gateway let a request through.
func (a *answer) passed() bool { return a.status < 300 }

// guarded asks without a credential, and reports whether the route is worth further
// questions.
func (x *examination) guarded(ctx context.Context) bool {
	subject := shown(x.URL.String())
	a, err := x.ask(ctx, http.MethodGet, x.URL, http.Header{})
	if err != nil {
		x.add("gateway", Error, subject, "start the gateway, or correct --url; --ca-file names the authority of its certificate", "%v", err)
		return false
	}
	x.ok("gateway", subject, "responds")
	x.version(subject, a.header)
	switch {
	case a.passed():
		x.add("no-credential", Error, subject, "add the plugin to the route; where the permission table means the call to be public, give --url a call that needs a credential", "passes with %d", a.status)
		return false
	case a.status == http.StatusNotFound:
		x.add("no-credential", Error, subject, "give --url a path that a route of the gateway has", "no route has this path (404)")
		return false
	case a.status >= 500:
		x.add("no-credential", Error, subject, "look at the log of the gateway at this moment"+requestID(a.header), "responds with %d", a.status)
		return false
	case a.status == http.StatusUnauthorized && a.header.Get("WWW-Authenticate") != "":
		x.ok("no-credential", subject, "is refused with 401 and a challenge")
	case a.status >= 300 && a.status < 400:
		x.ok("no-credential", subject, "leads elsewhere (%d)", a.status)
	default:
		x.add("no-credential", Note, subject, "find out which plugin responds: Gatehouse gives 401 with WWW-Authenticate to a caller without a credential", "is refused with %d", a.status)
	}
	return true
}

func requestID(h http.Header) string {
	for _, name := range []string{"X-Kong-Request-Id", "X-Request-Id"} {
		if id := h.Get(name); id != "" {
			return ", of the request " + id
		}
	}
	return ""
}

// version reads what the gateway says of itself.
func (x *examination) version(subject string, h http.Header) {
	said := append(h.Values("Via"), h.Values("Server")...)
	for _, text := range said {
		for word := range strings.FieldsSeq(text) {
			name, version, _ := strings.Cut(strings.ToLower(word), "/")
			switch {
			case name == "kong" && version != "":
				x.kongVersion(subject, version, false)
				return
			case name == "apisix" && version != "":
				x.ok("gateway-version", subject, "APISIX %s", version)
				return
			}
		}
	}
}

// kongVersion refuses the versions that gatehouse check refuses.
func (x *examination) kongVersion(subject, version string, enterprise bool) {
	if problem := check.KongVersion(version, enterprise); problem != "" {
		x.add("gateway-version", Error, subject, "upgrade Kong", "%s", problem)
		return
	}
	x.ok("gateway-version", subject, "Kong %s", version)
}

// unanswered notes a request without a response, which proves nothing.
func (x *examination) unanswered(check, subject, what string, err error) {
	x.add(check, Warning, subject, "look at the log of the gateway at this moment", "%s has no response: %v", what, err)
}

// refusesInvented judges the response to an invented token.
func (x *examination) refusesInvented(check, subject, what string, a *answer, err error) {
	switch {
	case err != nil:
		x.unanswered(check, subject, what, err)
	case a.passed():
		x.add(check, Error, subject, "switch the route off until the plugin is on it; gatehouse check and the checks on the admin API say what is wrong", "%s passes with %d", what, a.status)
	case a.status >= 500:
		x.add(check, Error, subject, "look at the log of the gateway at this moment"+requestID(a.header)+"; with --config the identity provider is examined from here", "%s gets %d", what, a.status)
	default:
		x.ok(check, subject, "%s is refused with %d", what, a.status)
	}
}

func (x *examination) inventedToken(ctx context.Context) {
	a, err := x.ask(ctx, http.MethodGet, x.URL, http.Header{"Authorization": {"Bearer " + invented()}})
	x.refusesInvented("invented-token", shown(x.URL.String()), "an invented token", a, err)
}

// manyLines are more header lines than plugins of both gateways get to see by default.
var manyLines = []int{150, 900}

// filled is a header of many lines, of which nobody needs to know any.
func filled(lines int) http.Header {
	h := http.Header{}
	for i := range lines {
		h.Set(fmt.Sprintf("F-%d", i), "1")
	}
	return h
}

func (x *examination) hiddenToken(ctx context.Context) {
	for _, n := range manyLines {
		h := filled(n)
		h.Set("Authorization", "Bearer "+invented())
		a, err := x.ask(ctx, http.MethodGet, x.URL, h)
		x.refusesInvented("hidden-token", shown(x.URL.String()), fmt.Sprintf("an invented token beside %d header lines", n), a, err)
	}
}

// forwardedPath has the client say which call is to be decided on, as a proxy says it to a
// forward-auth service.
func (x *examination) forwardedPath(ctx context.Context) {
	subject, public := shown(x.URL.String()), "/"
	if x.Echo != nil {
		public = x.Echo.RequestURI()
	}
	for _, names := range [][2]string{{"X-Forwarded-Method", "X-Forwarded-Uri"}, {"X-Original-Method", "X-Original-Url"}, {"X-Original-Method", "X-Original-Uri"}} {
		a, err := x.ask(ctx, http.MethodGet, x.URL, http.Header{names[0]: {http.MethodGet}, names[1]: {public}})
		switch {
		case err != nil:
			x.unanswered("forwarded-header", subject, "a request with "+names[1], err)
			return
		case a.passed():
			x.add("forwarded-header", Error, subject, "have the proxy set "+names[1]+" itself; gatehouse snippet prints what it needs", "with %s of the client the call passes without a credential", names[1])
			return
		}
	}
	x.ok("forwarded-header", subject, "a client cannot say which path is decided on")
}

// tokenSizes are the lengths of tokens that are tried, in bytes.
var tokenSizes = []int{4 << 10, 7 << 10, 12 << 10, 16<<10 - 256}

// headerLimit looks for the longest token that gets as far as a short one.
func (x *examination) headerLimit(ctx context.Context) {
	subject := shown(x.URL.String())
	longest := 0
	for _, size := range tokenSizes {
		token := invented()
		token += strings.Repeat("a", size-len(token))
		a, err := x.ask(ctx, http.MethodGet, x.URL, http.Header{"Authorization": {"Bearer " + token}})
		if err != nil || a.status != http.StatusUnauthorized && a.status != http.StatusTooManyRequests && (a.status < 300 || a.status >= 400) {
			break
		}
		longest = size
	}
	mend := "raise large_client_header_buffers of the gateway (nginx_http_large_client_header_buffers of Kong), if your tokens are longer"
	switch {
	case longest == 0:
		x.add("header-limit", Error, subject, mend, "a token of %d bytes does not reach the gate", tokenSizes[0])
	case longest < tokenSizes[1]:
		x.add("header-limit", Warning, subject, mend, "a token of %d bytes reaches the gate, one of %d does not", longest, tokenSizes[1])
	case longest < tokenSizes[len(tokenSizes)-1]:
		x.add("header-limit", Note, subject, mend, "a token of %d bytes reaches the gate, one of %d does not", longest, tokenSizes[slices.Index(tokenSizes, longest)+1])
	default:
		x.ok("header-limit", subject, "tokens of %d bytes reach the gate", longest)
	}
}

func (x *examination) preflight(ctx context.Context) {
	subject := shown(x.URL.String())
	a, err := x.ask(ctx, http.MethodOptions, x.URL, http.Header{"Origin": {"https://gatehouse-doctor.invalid"}, "Access-Control-Request-Method": {"GET"}, "Access-Control-Request-Headers": {"authorization"}})
	switch {
	case err != nil:
		x.unanswered("preflight", subject, "a preflight", err)
	case a.header.Get("Access-Control-Allow-Origin") != "":
		x.ok("preflight", subject, "another origin is answered (%d)", a.status)
	case a.passed():
		x.ok("preflight", subject, "an unknown origin is answered without leave to read (%d)", a.status)
	default:
		x.add("preflight", Note, subject, "where browsers of other origins are to call it: the section cors of the gate, or the gateway's own plugin cors before Gatehouse (on APISIX by _meta.priority)", "a preflight gets %d", a.status)
	}
}

// control is a header that the upstream of the echo gets if it gets any.
const control = "X-Gatehouse-Doctor"

// echo asks for what came to the upstream, and returns whose marks are found in it: names by
// marks that stand in the header.
func (x *examination) echo(ctx context.Context, h http.Header, names map[string]string) (a *answer, found []string, err error) {
	if x.Authorization != "" {
		h.Set("Authorization", x.Authorization)
	}
	if a, err = x.ask(ctx, http.MethodGet, x.Echo, h); err != nil {
		return nil, nil, err
	}
	body := bytes.ToLower(a.body)
	for mark, name := range names {
		if bytes.Contains(body, []byte(strings.ToLower(mark))) {
			found = append(found, name)
		}
	}
	slices.Sort(found)
	return a, found, nil
}

// echoes reports whether the echo is one.
func (x *examination) echoes(ctx context.Context) bool {
	subject, mark := shown(x.Echo.String()), invented()
	a, found, err := x.echo(ctx, http.Header{control: {mark}}, map[string]string{mark: control})
	switch {
	case err != nil:
		x.add("gateway", Error, subject, "start the gateway, or correct --echo", "%v", err)
	case !a.passed():
		x.add("gateway", Error, subject, "give --echo a route that passes, or a credential for it in GATEHOUSE_DOCTOR_AUTHORIZATION", "the echo gets %d", a.status)
	case len(found) == 0:
		x.add("gateway", Error, subject, "give --echo a route whose upstream writes the headers of the request into the response, such as httpbin's /headers", "the response does not have the header "+control+" of the request")
	default:
		return true
	}
	return false
}

// identityHeaders are those of the configuration, or what gates send without any.
func (x *examination) identityHeaders() []string {
	if x.Config != nil {
		if names, err := x.Config.HeaderNames(); err == nil {
			return slices.DeleteFunc(names.Stripped, func(name string) bool { return slices.Contains(names.Credentials, name) })
		}
	}
	return []string{"X-User-Id"}
}

// forgedHeaders sends identity headers of its own making: as gates write them, with
// underscores, which some upstreams read as hyphens, twice, and behind many lines.
func (x *examination) forgedHeaders(ctx context.Context) {
	subject := shown(x.Echo.String())
	for _, n := range append([]int{0}, manyLines...) {
		h, names := filled(n), map[string]string{}
		for _, name := range x.identityHeaders() {
			for _, written := range []string{name, strings.ReplaceAll(name, "-", "_"), strings.ToLower(name)} {
				mark := invented()
				h[written] = []string{mark, mark}
				names[mark] = written
			}
		}
		a, reached, err := x.echo(ctx, h, names)
		switch {
		case err != nil:
			x.unanswered("forged-header", subject, fmt.Sprintf("a request with %d header lines", n), err)
		case len(reached) > 0:
			x.add("forged-header", Error, subject, "see that the route has the plugin; a proxy with forward-auth has to remove them itself, and gatehouse snippet prints how", "beside %d header lines the upstream gets of the client: %s", n, strings.Join(reached, ", "))
		case a.passed():
			x.ok("forged-header", subject, "beside %d header lines the upstream gets none of the client's", n)
		default:
			x.ok("forged-header", subject, "beside %d header lines the request is refused with %d", n, a.status)
		}
	}
}

// forwardedHeaders sends what only a proxy may say.
func (x *examination) forwardedHeaders(ctx context.Context) {
	subject := shown(x.Echo.String())
	h, names := http.Header{}, map[string]string{}
	for _, name := range []string{"X-Forwarded-For", "X-Real-IP", "X-Forwarded-Host", "X-Forwarded-Prefix", "Forwarded"} {
		mark := strings.ToLower(invented()) + ".invalid"
		h.Set(name, mark)
		names[mark] = name
	}
	h.Set("Forwarded", "for="+h.Get("Forwarded"))
	a, found, err := x.echo(ctx, h, names)
	switch {
	case err != nil:
		x.unanswered("forwarded-header", subject, "a request with invented addresses", err)
		return
	case !a.passed():
		x.ok("forwarded-header", subject, "a request with invented addresses is refused with %d", a.status)
		return
	}
	var appended, believed []string
	for _, name := range found {
		if slices.Contains(listsOfProxies, name) {
			appended = append(appended, name)
		} else {
			believed = append(believed, name)
		}
	}
	if len(believed) > 0 {
		x.add("forwarded-header", Warning, subject, "list only your own proxies as trusted (trusted_ips of Kong, trusted_addresses of APISIX), or remove them at the gateway; all is well where a load balancer before the gateway sets them", "the upstream gets of the client: %s", strings.Join(believed, ", "))
	}
	if len(appended) > 0 {
		x.add("forwarded-header", Note, subject, "see that the upstream counts from the end of the list (RFC 7239 section 8.1)", "the upstream gets what the client wrote into %s, before what the gateway adds", strings.Join(appended, ", "))
	}
	if len(found) == 0 {
		x.ok("forwarded-header", subject, "the upstream gets none of the client's")
	}
}

// listsOfProxies are headers to which each proxy adds whom it was asked by.
var listsOfProxies = []string{"X-Forwarded-For", "Forwarded"}
