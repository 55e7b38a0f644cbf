// Package identity decides what the upstream learns of a caller: which headers
// are removed from a request, which are set, and which groups the gateway's own
// plugins get to know.
package identity

import (
	"context"
	"fmt"
	"gatehouse/core"
	"gatehouse/core/extract"
	"gatehouse/core/httpsyntax"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
)

// Headers are the headers that an upstream gets, and those it must not get.
type Headers struct {
	headers []header
	// strip is every configured name plus the extra ones, in order.
	strip []string
	// hide knows the places that credentials are removed from; nil: they stay.
	// ignored knows them where a credential was ignored.
	hide, ignored *extract.Extractor
	// anonymous is the header that tells of a caller without a name; empty: none.
	anonymous string
	// absent is told of headers without a value, and their claims.
	absent func(header, claims string, first bool)
	claims map[string]string
	// last is what was removed from the last request: most requests lose the same, and
	// share the list.
	last atomic.Pointer[[]string]
	// groups are the claims that may hold groups.
	groups []core.ClaimPath
}

var _ core.Identity = (*Headers)(nil)

type header struct {
	name   string
	from   Source
	absent *atomic.Bool // whether it was absent once; nil: nothing is said of it
}

// Source makes the value of an upstream header for an admitted caller. It
// may call out, within the time that the context gives: to mint a token for the
// upstream, for instance.
type Source interface {
	// Value returns ok = false where the caller has no such value; the header is
	// then not sent. An error that wraps core.ErrForbidden refuses the call, any
	// other one means "could not tell".
	Value(ctx context.Context, call *core.Call, p *core.Principal, policy core.Policy) (value string, ok bool, err error)
}

// Options say what the upstream learns of a caller.
type Options struct {
	// Claims maps header names to claim paths, separated by commas; the first
	// claim that is present counts.
	Claims map[string]string
	// Join is how lists are written, and TooLong what becomes of a value that is too
	// long; empty for the defaults.
	Join, TooLong string
	// Absent, where given, is called when the credential of an admitted caller has
	// none of the claims of a header of Claims; first tells the first time for the
	// header. A misspelt claim would otherwise be absent for ever and never be
	// noticed.
	Absent func(header, claims string, first bool)
	// Sources maps further header names to what makes their values.
	Sources map[string]Source
	// Strip are names that are removed from every request and never set.
	Strip []string
	// Hide, where given, removes credentials from what the upstream receives.
	Hide *extract.Extractor
	// Ignored knows the places that a credential is removed from which was ignored.
	Ignored *extract.Extractor
	// Anonymous is a header that is set to "true" where a credential was looked for
	// and the call goes on without a name; empty: none.
	Anonymous string
	// Groups are the claims that may hold the caller's groups, for plugins of
	// the gateway itself; the first that is present counts. Empty: none. The
	// name groupsHeader is then removed from every request.
	Groups []core.ClaimPath
}

// permissionsClaim is what the caller may do by the permission table, which
// only the policy knows.
const permissionsClaim = "permissions"

// ActorClaim is the id of the actor to whom the credential is delegated (RFC 8693 section
// 4.1), the current one of a chain: its issuer and its name.
const ActorClaim = "actor"

// rolesClaim is the list of the caller's roles.
const rolesClaim = "roles"

// scopeClaim is the granted scope as one text.
const scopeClaim = "scope"

// New compiles the options. Every name in them is removed from
// every request.
func New(o Options) (*Headers, error) {
	h := &Headers{hide: o.Hide, ignored: o.Ignored, anonymous: o.Anonymous, groups: o.Groups, absent: o.Absent, claims: o.Claims}
	if len(o.Groups) > 0 {
		o.Strip = append(slices.Clone(o.Strip), groupsHeader)
	}
	for _, name := range slices.Sorted(maps.Keys(o.Claims)) {
		if err := checkHeaderName(name); err != nil {
			return nil, err
		}
		claims, err := parseClaimPaths(o.Claims[name])
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if err := h.add(name, claimSource{claims, format{o.Join, o.TooLong}}); err != nil {
			return nil, err
		}
		if o.Absent != nil && o.Claims[name] != ActorClaim { // most callers act for themselves
			h.headers[len(h.headers)-1].absent = new(atomic.Bool)
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
	if err := h.addAnonymous(); err != nil {
		return nil, err
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

func (h *Headers) add(name string, from Source) error {
	if other, twice := h.named(name); twice {
		return fmt.Errorf("%s and %s are one header to many upstreams", other, name)
	}
	h.headers = append(h.headers, header{name: name, from: from})
	h.strip = append(h.strip, name)
	return nil
}

// named finds the header of a name, as the most forgiving upstream reads it.
func (h *Headers) named(name string) (as string, found bool) {
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

func parseClaimPaths(list string) ([]core.ClaimPath, error) {
	var paths []core.ClaimPath
	for text := range strings.SplitSeq(list, ",") {
		path, err := core.ParseClaimPath(strings.TrimSpace(text))
		if err != nil {
			return nil, err
		}
		paths = append(paths, path)
	}
	return paths, nil
}

// Upstream decides what the host removes from and adds to the request of a
// caller; p is nil on a public and on an anonymous call. Removal takes every spelling: upstreams
// that follow CGI read X_User-Id and x-user-id as one variable.
func (h *Headers) Upstream(ctx context.Context, call *core.Call, p *core.Principal, policy core.Policy) (u core.Upstream, err error) {
	if err := h.checkConnection(call.Request); err != nil {
		return core.Upstream{}, err
	}
	if err := h.checkOverrides(call.Request); err != nil {
		return core.Upstream{}, err
	}
	hide, err := h.hidden(call)
	if err != nil {
		return core.Upstream{}, err
	}
	if p != nil {
		if u.Set, err = h.set(ctx, call, p, policy); err != nil {
			return core.Upstream{}, err
		}
		if u.Groups, err = h.groupsOf(p, policy); err != nil {
			return core.Upstream{}, err
		}
	}
	if h.anonymous != "" && p == nil && call.Anonymous {
		u.Set = append(u.Set, core.Header{Name: h.anonymous, Value: "true"})
	}
	u.Strip = h.stripped(call.Request, u.Set, hide)
	hideCookies(&u, call.Request, hide)
	return u, nil
}

func (h *Headers) set(ctx context.Context, call *core.Call, p *core.Principal, policy core.Policy) (set []core.Header, err error) {
	set = make([]core.Header, 0, len(h.headers))
	for i := range h.headers {
		name := h.headers[i].name
		value, ok, err := h.headers[i].from.Value(ctx, call, p, policy)
		if err != nil {
			return nil, fmt.Errorf("header %s: %w", name, err)
		}
		if ok {
			for line := range strings.SplitSeq(value, lineBreak) {
				set = append(set, core.Header{Name: name, Value: line})
			}
		} else if known := h.headers[i].absent; known != nil {
			h.absent(name, h.claims[name], !known.Swap(true))
		}
	}
	return set, nil
}

// checkConnection refuses a request whose Connection header names an identity
// header. Gateways drop what it names (RFC 9110 section 7.6.1), Kong after the
// plugins have run: the client would take off what was set here.
func (h *Headers) checkConnection(r *core.Request) error {
	for i := range r.Header {
		if !strings.EqualFold(r.Header[i].Name, "Connection") {
			continue
		}
		for option := range strings.SplitSeq(r.Header[i].Value, ",") {
			if name := strings.TrimSpace(option); h.isIdentity(name) {
				return fmt.Errorf("%w: Connection names the identity header %s", core.ErrBadRequest, name)
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
func (h *Headers) checkOverrides(r *core.Request) error {
	for i := range r.Header {
		name, value := r.Header[i].Name, r.Header[i].Value
		if name == "" || name[0]|0x20 != 'x' {
			continue // every name below begins with X
		}
		same := func(s string) bool { return httpsyntax.FoldEqual(s, name) }
		differs := slices.ContainsFunc(methodOverrides, same) && !strings.EqualFold(value, r.Method) ||
			slices.ContainsFunc(pathOverrides, same) && !isTarget(value, r)
		if differs && !h.isIdentity(name) {
			return fmt.Errorf("%w: %s asks the upstream for another method or path; list it in strip_headers to have it removed instead", core.ErrBadRequest, name)
		}
	}
	return nil
}

// isTarget reports whether a text is the target of a request, also as the whole
// URL, in which form ingress-nginx tells it.
func isTarget(text string, r *core.Request) bool {
	return text == r.Target || text == "https://"+r.Host+r.Target || text == "http://"+r.Host+r.Target
}

// stripped lists the names to remove. A name that is also set, whatever its
// case, is left out: setting replaces every copy on each host, and a host may
// apply both from one map without an order.
//
// An upgrade to h2c is removed too, which ignores it as any server may: APISIX
// passes it on where a route allows WebSocket.
func (h *Headers) stripped(r *core.Request, set []core.Header, hide *extract.Extractor) []string {
	var room [16]string
	names := room[:0]
	add := func(name string) {
		isSet := func(s core.Header) bool { return strings.EqualFold(s.Name, name) }
		listed := func(s string) bool { return strings.EqualFold(s, name) }
		if !slices.ContainsFunc(set, isSet) && !slices.ContainsFunc(names, listed) {
			names = append(names, name)
		}
	}
	for _, name := range h.strip {
		add(name)
	}
	for i := range r.Header {
		if name := r.Header[i].Name; h.isIdentity(name) || hide != nil && hide.HoldsHeader(name) {
			add(name)
		}
		if r.Header[i].OpensTunnel() {
			add("Upgrade")
			add("HTTP2-Settings")
		}
	}
	return h.shared(names)
}

// shared is a list that nobody changes or appends to in place.
func (h *Headers) shared(names []string) []string {
	if last := h.last.Load(); last != nil && slices.Equal(*last, names) {
		return *last
	}
	own := slices.Clip(slices.Clone(names))
	h.last.Store(&own)
	return own
}

// Disguised returns the name of a header that many upstreams would take for an
// identity header although it is spelt otherwise, such as X_User_Id.
func (h *Headers) Disguised(r *core.Request) (name string, found bool) {
	for i := range r.Header {
		name := r.Header[i].Name
		same := func(s string) bool { return strings.EqualFold(s, name) }
		if h.isIdentity(name) && !slices.ContainsFunc(h.strip, same) {
			return name, true
		}
	}
	return "", false
}

// Names are the names that are removed from every request, those that are set
// among them.
func (h *Headers) Names() []string { return slices.Clone(h.strip) }

func (h *Headers) isIdentity(name string) bool {
	return slices.ContainsFunc(h.strip, func(s string) bool { return httpsyntax.FoldEqual(s, name) })
}

// Claimed are the names of lines that many would take for one of some headers.
func Claimed(headers []string, lines []core.Header) (names []string) {
	for i := range lines {
		same := func(name string) bool { return httpsyntax.FoldEqual(name, lines[i].Name) }
		if slices.ContainsFunc(headers, same) {
			names = append(names, lines[i].Name)
		}
	}
	return names
}

// claimSource copies the first of some claims that is present.
type claimSource struct {
	paths []core.ClaimPath
	as    format
}

var _ Source = claimSource{}

func (s claimSource) Value(_ context.Context, _ *core.Call, p *core.Principal, policy core.Policy) (string, bool, error) {
	for _, path := range s.paths {
		if text, own := p.Text(path.String()); own && len(text) <= maxIdentityValue && text != "" {
			return text, true, checkClaim(path, checkValue(text))
		}
		value, ok, err := s.one(p, path, policy)
		if err != nil {
			return "", false, checkClaim(path, err)
		}
		if ok {
			return value, true, nil
		}
	}
	return "", false, nil
}

// one writes the list of roles as it stands: to hand it on as a claim costs.
func (s claimSource) one(p *core.Principal, path core.ClaimPath, policy core.Policy) (value string, ok bool, err error) {
	if path.String() == rolesClaim && len(p.Roles) > 0 {
		return s.as.words(p.Roles)
	}
	claim, ok := claimOf(p, path, policy)
	if !ok {
		return "", false, nil
	}
	return s.as.value(claim)
}

// checkClaim refuses the call for the fault of a claim; nil: it has none.
func checkClaim(path core.ClaimPath, fault error) error {
	if fault == nil {
		return nil
	}
	return fmt.Errorf("%w: claim %s: %w", core.ErrForbidden, path, fault)
}

// checkedSource holds what another source makes to the rules for values.
type checkedSource struct{ Source }

func (s checkedSource) Value(ctx context.Context, call *core.Call, p *core.Principal, policy core.Policy) (string, bool, error) {
	value, ok, err := s.Source.Value(ctx, call, p, policy)
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
func claimOf(p *core.Principal, path core.ClaimPath, policy core.Policy) (any, bool) {
	if !path.IsUnion() {
		return oneClaimOf(p, path, policy)
	}
	union, found := []any{}, false
	for _, part := range path.Parts() {
		claim, ok := oneClaimOf(p, part, policy)
		if !ok {
			continue
		}
		found = true
		for _, member := range membersOf(part, claim, p) {
			if !slices.ContainsFunc(union, func(m any) bool { return reflect.DeepEqual(m, member) }) {
				union = append(union, member)
			}
		}
	}
	return union, found
}

func oneClaimOf(p *core.Principal, path core.ClaimPath, policy core.Policy) (any, bool) {
	switch path.String() {
	case permissionsClaim:
		permissions := policy.Permissions(p)
		return permissions, len(permissions) > 0
	case ActorClaim:
		return actorOf(p)
	}
	return p.Claim(path)
}

// actorOf is never what a credential states in a claim of that name.
func actorOf(p *core.Principal) (any, bool) {
	if p.Actor == nil {
		return nil, false
	}
	return p.Actor.ID()
}

// membersOf are the members of a list, or the one value that is none.
func membersOf(path core.ClaimPath, claim any, p *core.Principal) []any {
	if path.String() == scopeClaim {
		claim = p.Scopes // Claim has joined them
	}
	switch v := claim.(type) {
	case []any:
		return v
	case []string:
		members := make([]any, len(v))
		for i := range v {
			members[i] = v[i]
		}
		return members
	}
	return []any{claim}
}

// hideCookies removes the credential cookies and keeps the others.
func hideCookies(u *core.Upstream, r *core.Request, hide *extract.Extractor) {
	if hide == nil {
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
			if hide.HoldsCookie(name) {
				hidden = true
				continue
			}
			kept = append(kept, strings.TrimSpace(pair))
		}
	}
	switch {
	case !hidden:
	case len(kept) == 0:
		u.Strip = append(u.Strip, "Cookie")
	default:
		u.Set = append(u.Set, core.Header{Name: "Cookie", Value: strings.Join(kept, "; ")})
	}
}
