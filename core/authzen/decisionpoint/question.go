package decisionpoint

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"time"

	"gatehouse/core"
	"gatehouse/core/authn/claims"
	"gatehouse/core/authzen"
	"gatehouse/core/claimpath"
	"gatehouse/core/fleet/subjects"
	"gatehouse/core/httpsyntax"
)

// Answer is what became of a question.
type Answer struct {
	Allowed bool
	// Status is that of the refusal which the call would get: 401, 403 and so on, and 404
	// for what the decision point does not know. 500 and above say that the answer could
	// not be found out.
	Status int
	// Cause explains it to operators; Rule names the activity that covers the call.
	Cause error
	Rule  string
	// StepUp is the sign-in that would be enough; nil: that does not help.
	StepUp *core.StepUp
}

// refused is what can be said of a question that is about no call.
func refused(status int, format string, args ...any) *Answer {
	return &Answer{Status: status, Cause: fmt.Errorf(format, args...)}
}

// Evaluate answers a question of an asker.
func (p *Point) Evaluate(ctx context.Context, may Statements, e *authzen.Evaluation) Answer {
	principal, fault := p.principal(ctx, may, e)
	if fault != nil {
		return *fault
	}
	request, fault := p.request(may, e)
	if fault != nil {
		return *fault
	}
	return p.decide(ctx, principal, request)
}

// decide has the gate decide a call of a subject.
func (p *Point) decide(ctx context.Context, principal *core.Principal, request *core.Request) Answer {
	d := p.gate.Check(context.WithValue(ctx, subjectKey{}, principal), request)
	a := Answer{Allowed: d.Outcome == core.Allow, Status: d.Status, Cause: d.Cause, Rule: d.Rule}
	switch d.Outcome {
	case core.Allow:
		a.Status = http.StatusOK
	case core.Respond:
		a.Status, a.Cause = http.StatusForbidden, errors.New("the gate itself serves this path")
	}
	a.StepUp, _ = errors.AsType[*core.StepUp](d.Cause)
	return a
}

// lifetime is how long a subject counts: a question is answered at once.
const lifetime = time.Minute

// principal is the caller that a question is about.
func (p *Point) principal(ctx context.Context, may Statements, e *authzen.Evaluation) (*core.Principal, *Answer) {
	principal, fault := p.principalOf(may, e)
	if fault == nil {
		fault = p.grant(ctx, p.types[e.Subject.Type], principal)
	}
	return principal, fault
}

// principalOf is the caller without what is granted elsewhere.
func (p *Point) principalOf(may Statements, e *authzen.Evaluation) (*core.Principal, *Answer) {
	kind, known := p.types[e.Subject.Type]
	if !known {
		return nil, refused(http.StatusNotFound, "subjects of the type %.60q are not known", e.Subject.Type)
	}
	subject := p.subjects[named{e.Subject.Type, e.Subject.ID}]
	set := p.believed(may, e)
	for name, value := range subject.Claims {
		if _, stated := set[name]; !stated {
			set[name] = value
		}
	}
	set["sub"] = e.Subject.ID
	if kind.Issuer != "" {
		set["iss"] = kind.Issuer
	}
	if kind.Client {
		set["client_id"] = e.Subject.ID
	}
	principal := &core.Principal{Issuer: kind.Issuer, Kind: kind.Kind, Expiry: p.options.Now().Add(lifetime)}
	if err := set.Principal(p.paths, principal); err != nil {
		return nil, refused(http.StatusBadRequest, "subject.properties: %w", err)
	}
	principal.Roles = append(principal.Roles, subject.Roles...)
	principal.Permissions = append(principal.Permissions, subject.Permissions...)
	principal.Scopes = append(principal.Scopes, subject.Scopes...)
	if may.Proof {
		return principal, prove(principal, e.Context)
	}
	return principal, nil
}

// grant adds what is granted to the subject elsewhere.
func (p *Point) grant(ctx context.Context, kind SubjectType, principal *core.Principal) *Answer {
	if p.options.Granter == nil || kind.Issuer == "" {
		return nil
	}
	g, err := p.options.Granter.Grants(ctx, subjects.Identity{Issuer: kind.Issuer, Client: kind.Client, Name: principal.Subject})
	if err != nil {
		return refused(http.StatusServiceUnavailable, "what the subject may do cannot be found out (subject_roles): %w", err)
	}
	principal.Roles = append(principal.Roles, g.Roles...)
	principal.Permissions = append(principal.Permissions, g.Permissions...)
	return nil
}

// believed are the properties of the subject, and the members of the context about its
// sign-in, that the asker may state. An actor and a binding to a key only narrow what the
// subject may do, so that they always count.
func (p *Point) believed(may Statements, e *authzen.Evaluation) claims.Set {
	set := claims.Set{}
	for name, value := range e.Subject.Properties {
		if p.believes(may, name) {
			set[name] = value
		}
	}
	ext, _ := e.Subject.Properties["ext"].(map[string]any) // where Ory Hydra puts claims
	for _, name := range []string{"act", "cnf"} {
		if set[name] == nil && ext[name] != nil {
			set[name] = ext[name]
		}
	}
	for _, name := range []string{"aal", "acr", "auth_time"} {
		if value, stated := e.Context[name]; stated && may.Authentication {
			set[name] = value
		}
	}
	return set
}

func (p *Point) believes(may Statements, property string) bool {
	switch property {
	case p.options.RolesProperty:
		return may.Roles
	case p.options.PermissionsProperty:
		return may.Permissions
	case p.options.ScopesProperty:
		return may.Scopes
	case "client_id", "azp":
		return may.ClientID
	case "aal", "acr", "amr", "auth_time":
		return may.Authentication
	case "act", "cnf":
		return true
	case "sub", "iss":
		return false
	}
	return may.Claims
}

// prove takes the proof of possession that the context states.
func prove(principal *core.Principal, context map[string]any) *Answer {
	stated, present := context["proof"]
	if !present {
		return nil
	}
	for _, proof := range core.Proofs() {
		if stated == string(proof) {
			principal.Proof = proof
			return nil
		}
	}
	return refused(http.StatusBadRequest, "context.proof is not one of %s", core.Proofs())
}

// request is the call that a question is about.
func (p *Point) request(may Statements, e *authzen.Evaluation) (*core.Request, *Answer) {
	r := &core.Request{ID: "question", Host: p.options.Host}
	if fault := surround(r, may, e.Context); fault != nil {
		return nil, fault
	}
	if e.Resource.Type == p.options.RouteType {
		return r, route(r, e)
	}
	kind, known := p.resources[e.Resource.Type]
	if !known {
		return nil, refused(http.StatusNotFound, "resources of the type %.60q are not known", e.Resource.Type)
	}
	target, known := kind.Actions[e.Action.Name]
	if !known {
		return nil, refused(http.StatusNotFound, "resources of the type %.60q have no action %.60q", e.Resource.Type, e.Action.Name)
	}
	text, err := target.Of(p.completed(e))
	if err != nil {
		return nil, refused(http.StatusBadRequest, "%w", err)
	}
	r.Method, r.Target, r.Host = target.Method(), text, cmp.Or(kind.Host, r.Host)
	return r, nil
}

// completed has the properties of a known resource that the question does not state.
func (p *Point) completed(e *authzen.Evaluation) *authzen.Evaluation {
	known := p.known[named{e.Resource.Type, e.Resource.ID}]
	if len(known) == 0 {
		return e
	}
	properties := make(map[string]any, len(known)+len(e.Resource.Properties))
	for name, value := range known {
		properties[name] = value
	}
	for name, value := range e.Resource.Properties {
		properties[name] = value
	}
	completed := *e
	completed.Resource.Properties = properties
	return &completed
}

// route is for a resource that is a request target, and an action that is a method.
func route(r *core.Request, e *authzen.Evaluation) *Answer {
	if !httpsyntax.IsToken(e.Action.Name) {
		return refused(http.StatusBadRequest, "action.name is no method")
	}
	r.Method, r.Target = e.Action.Name, e.Resource.ID
	for name, to := range map[string]*string{"host": &r.Host, "scheme": &r.Scheme} {
		value, stated := e.Resource.Properties[name]
		text, isText := value.(string)
		if stated && !isText {
			return refused(http.StatusBadRequest, "resource.properties.%s is not a string", name)
		}
		if stated {
			*to = text
		}
	}
	return nil
}

// maxHeaders is how many header lines a question may have.
const maxHeaders = 100

// surround adds what the context says of the request beside its method and target.
func surround(r *core.Request, may Statements, context map[string]any) *Answer {
	if peer, stated := context["peer"]; stated && may.Peer {
		text, _ := peer.(string)
		addr, err := netip.ParseAddr(text)
		if err != nil {
			return refused(http.StatusBadRequest, "context.peer is no IP address")
		}
		r.Peer = addr
	}
	headers, stated := context["headers"]
	if !stated {
		return nil
	}
	lines, isObject := headers.(map[string]any)
	if !isObject {
		return refused(http.StatusBadRequest, "context.headers is not an object")
	}
	for _, name := range sortedNames(lines) {
		values, err := texts(lines[name])
		if err != nil || !httpsyntax.IsToken(name) {
			return refused(http.StatusBadRequest, "context.headers has a member that is no header with a text or a list of texts")
		}
		for _, value := range values {
			r.Header = append(r.Header, core.Header{Name: name, Value: value})
		}
	}
	if len(r.Header) > maxHeaders {
		return refused(http.StatusBadRequest, "context.headers has %d lines, %d at most", len(r.Header), maxHeaders)
	}
	return nil
}

func texts(value any) ([]string, error) {
	switch v := value.(type) {
	case string:
		return []string{v}, nil
	case json.Number:
		return []string{v.String()}, nil
	}
	return claimpath.Strings(value)
}
