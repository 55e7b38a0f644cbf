package core

import (
	"context"
	"encoding/json"
	"fmt"
	"gatehouse/core/httpsyntax"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxIdentityValue bounds one identity header; upstreams answer 400 to header
// blocks above 8 KiB, nginx and Node.js among them.
const maxIdentityValue = 4 << 10

// IdentityHeaders maps upstream header names to the claims they carry.
type IdentityHeaders struct {
	headers []identityHeader
	// strip is every configured name plus the extra ones, in order.
	strip []string
	// hide knows the places that credentials are removed from; nil: they stay.
	hide *Extractor
}

type identityHeader struct {
	name string
	from HeaderSource
}

// HeaderSource makes the value of an upstream header for an admitted caller. It
// may call out, within the time that the context gives: to mint a token for the
// upstream, for instance.
type HeaderSource interface {
	// Value returns ok = false where the caller has no such value; the header is
	// then not sent. An error that wraps ErrForbidden refuses the call, any
	// other one means "could not tell".
	Value(ctx context.Context, call *Call, p *Principal, policy Policy) (value string, ok bool, err error)
}

// IdentityOptions say what the upstream learns of a caller.
type IdentityOptions struct {
	// Claims maps header names to claim paths, separated by commas; the first
	// claim that is present counts.
	Claims map[string]string
	// Sources maps further header names to what makes their values.
	Sources map[string]HeaderSource
	// Strip are names that are removed from every request and never set.
	Strip []string
	// Hide, where given, removes credentials from what the upstream receives.
	Hide *Extractor
}

// permissionsClaim is what the caller may do by the permission table, which
// only the policy knows.
const permissionsClaim = "permissions"

// NewIdentityHeaders compiles the options. Every name in them is removed from
// every request.
func NewIdentityHeaders(o IdentityOptions) (*IdentityHeaders, error) {
	h := &IdentityHeaders{hide: o.Hide}
	for _, name := range slices.Sorted(maps.Keys(o.Claims)) {
		if err := checkHeaderName(name); err != nil {
			return nil, err
		}
		claims, err := parseClaimPaths(o.Claims[name])
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if err := h.add(name, claims); err != nil {
			return nil, err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(o.Sources)) {
		if err := checkHeaderName(name); err != nil {
			return nil, err
		}
		if err := h.add(name, checkedSource{o.Sources[name]}); err != nil {
			return nil, err
		}
	}
	for _, name := range o.Strip {
		if err := checkHeaderName(name); err != nil {
			return nil, err
		}
		if _, known := h.named(name); !known {
			h.strip = append(h.strip, name)
		}
	}
	return h, nil
}

func (h *IdentityHeaders) add(name string, from HeaderSource) error {
	if other, twice := h.named(name); twice {
		return fmt.Errorf("%s and %s are one header to many upstreams", other, name)
	}
	h.headers = append(h.headers, identityHeader{name, from})
	h.strip = append(h.strip, name)
	return nil
}

// named finds the header of a name, as the most forgiving upstream reads it.
func (h *IdentityHeaders) named(name string) (as string, found bool) {
	for _, known := range h.strip {
		if httpsyntax.FoldEqual(known, name) {
			return known, true
		}
	}
	return "", false
}

// reservedHeaders frame the message or route it; an identity header by one
// of these names would change the request itself.
var reservedHeaders = []string{
	"connection", "content-length", "cookie", "expect", "host", "keep-alive", "proxy-connection",
	"te", "trailer", "transfer-encoding", "upgrade",
}

func checkHeaderName(name string) error {
	for i := 0; i < len(name); i++ {
		if c := name[i]; !httpsyntax.IsAlphanumeric(c) && c != '-' && c != '_' {
			return fmt.Errorf("%q is not a header name: use letters, digits, '-' and '_'", name)
		}
	}
	if name == "" {
		return fmt.Errorf("a header name is empty")
	}
	if slices.Contains(reservedHeaders, httpsyntax.Fold(name)) {
		return fmt.Errorf("%s frames or routes the request and cannot carry an identity", name)
	}
	return nil
}

func parseClaimPaths(list string) (claimSource, error) {
	var paths claimSource
	for text := range strings.SplitSeq(list, ",") {
		path, err := ParseClaimPath(strings.TrimSpace(text))
		if err != nil {
			return nil, err
		}
		paths = append(paths, path)
	}
	return paths, nil
}

// apply fills in what the host removes from and adds to the upstream request.
// Removal comes first and takes every spelling: upstreams that follow CGI
// read X_User-Id and x-user-id as one variable.
func (h *IdentityHeaders) apply(ctx context.Context, d *Decision, call *Call, policy Policy) error {
	if err := h.checkConnection(call.Request); err != nil {
		return err
	}
	if err := h.checkOverrides(call.Request); err != nil {
		return err
	}
	if d.Principal != nil {
		if err := h.set(ctx, d, call, policy); err != nil {
			return err
		}
	}
	d.Strip = h.stripped(call.Request, d.Set)
	h.hideCookies(d, call.Request)
	return nil
}

func (h *IdentityHeaders) set(ctx context.Context, d *Decision, call *Call, policy Policy) error {
	for i := range h.headers {
		name := h.headers[i].name
		value, ok, err := h.headers[i].from.Value(ctx, call, d.Principal, policy)
		if err != nil {
			return fmt.Errorf("header %s: %w", name, err)
		}
		if ok {
			d.Set = append(d.Set, Header{name, value})
		}
	}
	return nil
}

// checkConnection refuses a request whose Connection header names an identity
// header. Gateways drop what it names (RFC 9110 section 7.6.1), Kong after the
// plugins have run: the client would take off what was set here.
func (h *IdentityHeaders) checkConnection(r *Request) error {
	for i := range r.Header {
		if !strings.EqualFold(r.Header[i].Name, "Connection") {
			continue
		}
		for option := range strings.SplitSeq(r.Header[i].Value, ",") {
			if name := strings.TrimSpace(option); h.isIdentity(name) {
				return fmt.Errorf("%w: Connection names the identity header %s", ErrBadRequest, name)
			}
		}
	}
	return nil
}

// Headers by which some upstreams serve another method or path than the request
// line names: Rails, Laravel and OData the first, IIS and Symfony the second.
var (
	methodOverrides = []string{"X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"}
	pathOverrides   = []string{"X-Original-URL", "X-Rewrite-URL"}
)

// checkOverrides refuses a request that asks the upstream for something else
// than what was decided on. A header that is removed anyway is none.
func (h *IdentityHeaders) checkOverrides(r *Request) error {
	for i := range r.Header {
		name, value := r.Header[i].Name, r.Header[i].Value
		same := func(s string) bool { return httpsyntax.FoldEqual(s, name) }
		differs := slices.ContainsFunc(methodOverrides, same) && !strings.EqualFold(value, r.Method) ||
			slices.ContainsFunc(pathOverrides, same) && !isTarget(value, r)
		if differs && !h.isIdentity(name) {
			return fmt.Errorf("%w: %s asks the upstream for another method or path; list it in strip_headers to have it removed instead", ErrBadRequest, name)
		}
	}
	return nil
}

// isTarget reports whether a text is the target of a request, also as the whole
// URL, in which form ingress-nginx tells it.
func isTarget(text string, r *Request) bool {
	return text == r.Target || text == "https://"+r.Host+r.Target || text == "http://"+r.Host+r.Target
}

// stripped lists the names to remove. A name that is also set, whatever its
// case, is left out: setting replaces every copy on each host, and a host may
// apply both from one map without an order.
//
// An upgrade to h2c is removed too, which ignores it as any server may: APISIX
// passes it on where a route allows WebSocket.
func (h *IdentityHeaders) stripped(r *Request, set []Header) []string {
	var names []string
	add := func(name string) {
		isSet := func(s Header) bool { return strings.EqualFold(s.Name, name) }
		listed := func(s string) bool { return strings.EqualFold(s, name) }
		if !slices.ContainsFunc(set, isSet) && !slices.ContainsFunc(names, listed) {
			names = append(names, name)
		}
	}
	for _, name := range h.strip {
		add(name)
	}
	for i := range r.Header {
		if name := r.Header[i].Name; h.isIdentity(name) || h.isCredential(name) {
			add(name)
		}
		if r.Header[i].OpensTunnel() {
			add("Upgrade")
			add("HTTP2-Settings")
		}
	}
	return names
}

// OpensTunnel reports whether a header line asks for an upgrade to h2c (RFC 7540
// section 3.2). If the upstream agrees, what follows on the connection is
// requests that were not decided on.
func (h Header) OpensTunnel() bool {
	return strings.EqualFold(h.Name, "Upgrade") && strings.Contains(strings.ToLower(h.Value), "h2c")
}

// disguised finds a header for Gate.Disguised.
func (h *IdentityHeaders) disguised(r *Request) (name string, found bool) {
	for i := range r.Header {
		name := r.Header[i].Name
		same := func(s string) bool { return strings.EqualFold(s, name) }
		if h.isIdentity(name) && !slices.ContainsFunc(h.strip, same) {
			return name, true
		}
	}
	return "", false
}

func (h *IdentityHeaders) isIdentity(name string) bool {
	return slices.ContainsFunc(h.strip, func(s string) bool { return httpsyntax.FoldEqual(s, name) })
}

// claimSource copies the first of some claims that is present.
type claimSource []ClaimPath

var _ HeaderSource = claimSource(nil)

func (s claimSource) Value(_ context.Context, _ *Call, p *Principal, policy Policy) (string, bool, error) {
	for _, path := range s {
		claim, ok := claimOf(p, path, policy)
		if !ok {
			continue
		}
		value, err := headerValue(claim)
		if err != nil {
			return "", false, fmt.Errorf("%w: claim %s: %w", ErrForbidden, path, err)
		}
		if value != "" {
			return value, true, nil
		}
	}
	return "", false, nil
}

// checkedSource holds what another source makes to the rules for values.
type checkedSource struct{ HeaderSource }

func (s checkedSource) Value(ctx context.Context, call *Call, p *Principal, policy Policy) (string, bool, error) {
	value, ok, err := s.HeaderSource.Value(ctx, call, p, policy)
	if err != nil || !ok {
		return "", false, err
	}
	if err := checkValue(value); err != nil {
		return "", false, fmt.Errorf("the value %w", err)
	}
	return value, true, nil
}

// claimOf finds a claim of the principal, or the permissions that the policy
// gives it.
func claimOf(p *Principal, path ClaimPath, policy Policy) (any, bool) {
	if path.text != permissionsClaim {
		return p.claim(path)
	}
	permissions := policy.Permissions(p)
	return permissions, len(permissions) > 0
}

// headerValue writes a claim as text. What cannot be written so that it reads
// back as the same thing is an error: a role called "user,admin" must not
// become two roles.
func headerValue(claim any) (string, error) {
	value := ""
	switch v := claim.(type) {
	case string:
		value = v
	case bool:
		value = strconv.FormatBool(v)
	case json.Number:
		value = v.String()
	case float64:
		value = strconv.FormatFloat(v, 'f', -1, 64)
	case []string:
		return joined(v)
	case []any:
		if words, err := Strings(v); err == nil {
			return joined(words)
		}
		return asJSON(v)
	default:
		return asJSON(v)
	}
	return value, checkValue(value)
}

func joined(words []string) (string, error) {
	for _, word := range words {
		if strings.ContainsAny(word, ", ") {
			return "", fmt.Errorf("a list member holds a separator")
		}
	}
	value := strings.Join(words, ",")
	return value, checkValue(value)
}

func asJSON(v any) (string, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return "", fmt.Errorf("cannot be written as JSON: %w", err)
	}
	return string(text), checkValue(string(text))
}

func checkValue(value string) error {
	if len(value) > maxIdentityValue {
		return fmt.Errorf("is longer than %d bytes", maxIdentityValue)
	}
	if !utf8.ValidString(value) {
		return fmt.Errorf("is not valid UTF-8")
	}
	if strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return fmt.Errorf("holds a control character")
	}
	if strings.TrimSpace(value) != value {
		return fmt.Errorf("begins or ends with white space")
	}
	return nil
}

// isCredential reports whether a header is kept from the upstream, which then
// can neither leak nor replay what it holds.
func (h *IdentityHeaders) isCredential(name string) bool {
	return h.hide != nil && h.hide.holdsHeader(name)
}

// hideCookies removes the credential cookies and keeps the others.
func (h *IdentityHeaders) hideCookies(d *Decision, r *Request) {
	if h.hide == nil {
		return
	}
	var kept []string
	hidden := false
	for i := range r.Header {
		if !strings.EqualFold(r.Header[i].Name, "Cookie") {
			continue
		}
		for pair := range strings.SplitSeq(r.Header[i].Value, ";") {
			name, _, _ := strings.Cut(pair, "=")
			name = strings.TrimSpace(name)
			if h.hide.holdsCookie(name) {
				hidden = true
				continue
			}
			kept = append(kept, strings.TrimSpace(pair))
		}
	}
	switch {
	case !hidden:
	case len(kept) == 0:
		d.Strip = append(d.Strip, "Cookie")
	default:
		d.Set = append(d.Set, Header{"Cookie", strings.Join(kept, "; ")})
	}
}
