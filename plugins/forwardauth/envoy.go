package main

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"runtime/debug"
	"slices"
	"strings"
	"unicode/utf8"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	"gatehouse/core"
	"gatehouse/core/clientcert"
	"gatehouse/plugins/forwardauth/settings"
)

// maxCheckRequest bounds one CheckRequest without its body.
const maxCheckRequest = 256 << 10

// authorization serves Envoy's ext_authz filter over gRPC. A malformed request gets a
// CheckResponse too: Envoy takes an error of gRPC itself for an outage, which
// failure_mode_allow would let pass.
type authorization struct {
	authv3.UnimplementedAuthorizationServer
	gate  *gate
	gates map[string]*gate
	at    settings.Endpoint
	// balancers are in front of Envoy.
	balancers []netip.Prefix
	log       *slog.Logger
}

var _ authv3.AuthorizationServer = (*authorization)(nil)

func newGRPC(a *authorization) *grpc.Server {
	size := maxCheckRequest
	if a.at.RequestBody {
		size += maxSentBody
	}
	s := grpc.NewServer(grpc.MaxRecvMsgSize(size))
	authv3.RegisterAuthorizationServer(s, a)
	return s
}

// isGRPC reports whether a request is Envoy's call of Check. The content type alone
// does not show it: with the dialect envoy it is the client's, and a gRPC server
// responds with 200 to a method that it does not know, which the proxy would take for
// an admission.
func isGRPC(r *http.Request) bool {
	return r.RequestURI == authv3.Authorization_Check_FullMethodName && r.ProtoMajor == 2 && strings.HasPrefix(r.Header.Get("Content-Type"), "application/grpc")
}

// Check decides the request that a CheckRequest describes.
func (a *authorization) Check(ctx context.Context, check *authv3.CheckRequest) (response *authv3.CheckResponse, _ error) {
	defer a.refusePanic(&response)
	request, err := a.original(check.GetAttributes())
	g, unknown := a.gateFor(check.GetAttributes().GetContextExtensions())
	now := g.now()
	if err == nil {
		err = unknown
	}
	d := withoutMessage(decide(ctx, now, request, err))
	cookiesAsText(&d.Upstream)
	if err := isText(d); err != nil {
		return denied(withoutMessage(now.Decide(ctx, request, err))), nil
	}
	if d.Outcome == core.Allow {
		return allowed(d), nil
	}
	return denied(d), nil // also what the gate itself serves, with its own status
}

// refusePanic is deferred: gRPC runs a call on a goroutine of its own, where a panic
// would end the process.
func (a *authorization) refusePanic(response **authv3.CheckResponse) {
	if v := recover(); v != nil {
		a.log.Error("panic while deciding; the request is denied", "panic", core.Thrown(v), "stack", string(debug.Stack()))
		*response = denied(core.Refusal(&core.Request{}, errors.New("panic while deciding")))
	}
}

// isText refuses what the strings of a CheckResponse cannot hold: gRPC would report an
// error, which failure_mode_allow would let pass.
func isText(d core.Decision) error {
	all := slices.Concat(d.Header, d.Set, d.ResponseHeader)
	odd := func(h core.Header) bool { return !utf8.ValidString(h.Name) || !utf8.ValidString(h.Value) }
	if slices.ContainsFunc(all, odd) || !utf8.Valid(d.Body) || !utf8.ValidString(d.Target) {
		return errors.New("a header, the target or the body is not UTF-8, and Envoy cannot be sent it")
	}
	return nil
}

// cookiesAsText leaves out the cookies that a CheckResponse cannot hold, where the
// credential is taken out of Cookie. They may be another site's on a sibling domain, which
// must not lock a user out; and to send all of them on would leave the credential in.
func cookiesAsText(u *core.Upstream) {
	for i, h := range u.Set {
		if !strings.EqualFold(h.Name, "Cookie") || utf8.ValidString(h.Value) {
			continue
		}
		pairs := slices.DeleteFunc(strings.Split(h.Value, "; "), func(pair string) bool { return !utf8.ValidString(pair) })
		if u.Set[i].Value = strings.Join(pairs, "; "); len(pairs) == 0 {
			u.Set, u.Strip = slices.Delete(u.Set, i, i+1), append(u.Strip, h.Name)
		}
		return // there is one
	}
}

// gateFor returns the endpoint's gate with the error, for the refusal.
func (a *authorization) gateFor(extensions map[string]string) (*gate, error) {
	name, named := extensions[settings.GateExtension]
	if !named {
		return a.gate, nil
	}
	if g, found := a.gates[name]; found {
		return g, nil
	}
	return a.gate, fmt.Errorf("context_extensions.%s names no gate", settings.GateExtension)
}

// original is the request as Envoy received it. What Envoy left out stays
// empty, which no rule matches.
func (a *authorization) original(attributes *authv3.AttributeContext) (*core.Request, error) {
	r := attributes.GetRequest().GetHttp()
	request := &core.Request{
		Gateway: settings.EnvoyGRPC,
		ID:      streamID(r),
		Method:  r.GetMethod(),
		Target:  r.GetPath(),
		Host:    r.GetHost(),
		Scheme:  cmp.Or(a.at.Scheme, knownScheme(r.GetScheme())),
		Header:  headerLines(r),
		Peer:    address(attributes.GetSource().GetAddress()),
	}
	if a.at.RequestBody {
		request.AskBody = func(int) ([]byte, error) { return rawBody(r) }
	}
	setClient(request, a.balancers, values(request.Header, "X-Forwarded-For"))
	if verified := a.at.ClientCertificate == settings.Verified; a.at.ClientCertificate != "" {
		request.AskTLS = func() (*core.ClientTLS, error) { return clientTLS(attributes.GetSource(), request.Header, verified) }
	}
	if announcesTrailers(request.Header) {
		return request, errTrailers
	}
	return request, asReceived(request, r)
}

// clientTLS is the certificate of Envoy's TLS connection, where its filter has
// include_peer_certificate.
func clientTLS(source *authv3.AttributeContext_Peer, lines []core.Header, verified bool) (*core.ClientTLS, error) {
	if source.GetCertificate() == "" {
		return &core.ClientTLS{}, nil
	}
	chain, err := clientcert.EscapedPEM(source.GetCertificate())
	if err != nil {
		return nil, fmt.Errorf("%w: source.certificate %w", core.ErrBadRequest, err)
	}
	return &core.ClientTLS{Chain: withIntermediates(chain, lines), Verified: verified}, nil
}

// withIntermediates is the chain of X-Forwarded-Client-Cert, if it is one of the same
// certificate. What else stands there may be the client's, and is of no use: a chain
// proves nothing, and whoever verifies the certificate may need it.
func withIntermediates(own []*x509.Certificate, lines []core.Header) []*x509.Certificate {
	if all := values(lines, forwardedClientCert.name); len(all) == 1 {
		if chain, err := clientcert.XFCC(all[0]); err == nil && chain[0].Equal(own[0]) {
			return chain
		}
	}
	return own
}

// streamID prefers the id that Envoy also logs and sends to the upstream to the
// number that it gives a stream. Envoy writes it anew for clients from outside, unless
// preserve_external_request_id says otherwise.
func streamID(r *authv3.AttributeContext_HttpRequest) string {
	if id, found := header(r, "x-request-id"); found {
		return id
	}
	return r.GetId()
}

// asReceived takes the pseudo-headers, where Envoy sends them, for the fields of the
// same meaning: in those it writes "!" for bytes that are no UTF-8, and the upstream
// would be served another path than the one decided on.
func asReceived(request *core.Request, r *authv3.AttributeContext_HttpRequest) error {
	for name, field := range map[string]*string{":path": &request.Target, ":method": &request.Method, ":authority": &request.Host} {
		value, found := header(r, name)
		if !found {
			continue
		}
		if !describes(*field, value) {
			return fmt.Errorf("%w: Envoy describes the request with two values of %s", core.ErrBadRequest, name)
		}
		*field = value
	}
	return nil
}

// describes reports whether a field is what Envoy makes of a value.
func describes(field, value string) bool {
	if len(field) != len(value) {
		return false
	}
	for i := range len(field) {
		if field[i] != value[i] && (field[i] != '!' || value[i] < utf8.RuneSelf) {
			return false
		}
	}
	return true
}

func header(r *authv3.AttributeContext_HttpRequest, name string) (string, bool) {
	for _, h := range r.GetHeaderMap().GetHeaders() {
		if h.GetKey() == name {
			return valueOf(h), true
		}
	}
	value, found := r.GetHeaders()[name]
	return value, found
}

// valueOf is the value in whichever form Envoy sent it.
func valueOf(h *corev3.HeaderValue) string {
	if raw := h.GetRawValue(); len(raw) > 0 {
		return string(raw)
	}
	return h.GetValue()
}

func knownScheme(scheme string) string {
	if scheme == "http" || scheme == "https" {
		return scheme
	}
	return ""
}

// headerLines are the lines one by one where encode_raw_headers is set. In
// Envoy's default form repeats are joined with commas; no credential has one,
// so a joined credential is refused.
func headerLines(r *authv3.AttributeContext_HttpRequest) []core.Header {
	list := make([]core.Header, 0, len(r.GetHeaders())+len(r.GetHeaderMap().GetHeaders()))
	add := func(name, value string) {
		if !strings.HasPrefix(name, ":") {
			list = append(list, core.Header{Name: name, Value: value})
		}
	}
	for name, value := range r.GetHeaders() {
		add(name, value)
	}
	for _, h := range r.GetHeaderMap().GetHeaders() {
		add(h.GetKey(), valueOf(h))
	}
	return list
}

// values are the lines with a name.
func values(lines []core.Header, name string) []string {
	var all []string
	for _, h := range lines {
		if strings.EqualFold(h.Name, name) {
			all = append(all, h.Value)
		}
	}
	return all
}

func address(a *corev3.Address) netip.Addr {
	addr, err := netip.ParseAddr(a.GetSocketAddress().GetAddress())
	if err != nil {
		return netip.Addr{} // a pipe, or nothing
	}
	return addr
}

func allowed(d core.Decision) *authv3.CheckResponse {
	return &authv3.CheckResponse{
		Status: &statuspb.Status{Code: int32(codes.OK)},
		HttpResponse: &authv3.CheckResponse_OkResponse{OkResponse: &authv3.OkHttpResponse{
			Headers: lines(withTarget(d.Upstream)), HeadersToRemove: d.Strip, ResponseHeadersToAdd: additions(d.ResponseHeader),
		}},
	}
}

func denied(d core.Decision) *authv3.CheckResponse {
	return &authv3.CheckResponse{
		Status: &statuspb.Status{Code: int32(codes.PermissionDenied)},
		HttpResponse: &authv3.CheckResponse_DeniedResponse{DeniedResponse: &authv3.DeniedHttpResponse{
			Status: &typev3.HttpStatus{Code: typev3.StatusCode(d.Status)}, Headers: lines(d.Header), Body: string(d.Body),
		}},
	}
}

// withTarget are the headers to set, :path among them where the upstream gets another
// target than the client's.
func withTarget(u core.Upstream) []core.Header {
	if u.Target == "" {
		return u.Set
	}
	return append(slices.Clone(u.Set), core.Header{Name: ":path", Value: u.Target})
}

// additions leave every copy of a header.
func additions(headers []core.Header) []*corev3.HeaderValueOption {
	return valueOptions(headers, func(int) bool { return true })
}

// lines replace every copy of a header, also what Envoy writes itself, such as
// Content-Type, and may have a name several times, such as Set-Cookie.
func lines(headers []core.Header) []*corev3.HeaderValueOption {
	return valueOptions(headers, func(i int) bool {
		return slices.ContainsFunc(headers[:i], func(h core.Header) bool { return strings.EqualFold(h.Name, headers[i].Name) })
	})
}

func valueOptions(headers []core.Header, adds func(i int) bool) []*corev3.HeaderValueOption {
	all := make([]*corev3.HeaderValueOption, len(headers))
	for i, h := range headers {
		action := corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD
		if adds(i) {
			action = corev3.HeaderValueOption_APPEND_IF_EXISTS_OR_ADD
		}
		all[i] = &corev3.HeaderValueOption{Header: &corev3.HeaderValue{Key: h.Name, Value: h.Value}, AppendAction: action}
	}
	return all
}
