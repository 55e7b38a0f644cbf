// Package decisionpoint answers questions of the OpenID AuthZEN Authorization API 1.0 by the
// policy of a gate: who may make which call. It decides nothing itself. A question becomes a
// call and a caller, and a gate of its own, with the policy, the rules about paths and the
// scopes of the gate that serves it, decides that call.
package decisionpoint

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"gatehouse/core"
	"gatehouse/core/authn/claims"
	"gatehouse/core/authzen/target"
	"gatehouse/core/fair"
	"gatehouse/core/fleet/subjects"
)

// Options of a Point.
type Options struct {
	// Identifier is the URL by which askers know the decision point. The endpoints are
	// below its path.
	Identifier string
	// Askers are those who are answered, and what they may state of a subject.
	Askers []Asker
	// InsecureAnonymous answers a client on this machine without a credential, too. It
	// may state nothing.
	InsecureAnonymous bool

	// SubjectTypes are the types of subjects that are asked about. Of others nothing is
	// allowed.
	SubjectTypes []SubjectType
	// Subjects are known by the configuration.
	Subjects []Subject
	// Granter knows more roles and permissions of subjects; nil: nobody does.
	Granter subjects.Granter
	// Lister knows to whom; nil: a search finds subjects of the configuration alone.
	Lister Lister
	// RolesProperty, PermissionsProperty and ScopesProperty are the properties of a
	// subject that state them.
	RolesProperty, PermissionsProperty, ScopesProperty string

	// Host is that of the calls, where neither the question nor the type of the resource
	// says; empty: none.
	Host string
	// RouteType is the type of resources whose id is a request target, and whose actions
	// are methods.
	RouteType string
	// ResourceTypes are the others.
	ResourceTypes []ResourceType
	// Resources are known by the configuration.
	Resources []Resource

	// Policy, Path and ScopesRequired are those of the gate.
	Policy         core.Policy
	Path           core.PathOptions
	ScopesRequired []string
	// Own are further paths that the gate serves itself, and so no upstream.
	Own []string

	// Answered is called for every answer, with permit, deny, search or error; nil: nobody counts.
	Answered func(result string)
	// Log gets a line for every answer; nil: none.
	Log *slog.Logger
	// Now is the clock; nil: the system's.
	Now func() time.Time
}

// SubjectType is a kind of subjects.
type SubjectType struct {
	Type string
	// Issuer is that of the credentials of such subjects, and Kind the kind of these;
	// empty: not known, and what asks for one denies.
	Issuer string
	Kind   core.Kind
	// Client says that the ids are those of clients that act for themselves.
	Client bool
}

// Subject is what is known of a subject.
type Subject struct {
	Type, ID                   string
	Roles, Permissions, Scopes []string
	Claims                     map[string]string
}

// ResourceType is a kind of resources that are no routes.
type ResourceType struct {
	Type string
	// Host is that of the calls; empty: that of the options.
	Host string
	// Actions are the targets by the name of the action.
	Actions map[string]*target.Target
}

// Resource is what is known of a resource: properties that a question does not state.
type Resource struct {
	Type, ID   string
	Properties map[string]string
}

// named tells subjects and resources apart.
type named struct{ kind, id string }

// Point answers questions. It is safe for concurrent use.
type Point struct {
	options Options
	gate    *core.Gate
	paths   claims.Paths

	types     map[string]SubjectType
	subjects  map[named]Subject
	resources map[string]ResourceType
	known     map[named]map[string]any
	// names and ids are those of known subjects and resources, by type, in their order.
	names, ids map[string][]string
	slots      *fair.Slots // of searches
}

// New makes a decision point.
func New(o Options) (*Point, error) {
	if o.Policy == nil || len(o.SubjectTypes) == 0 {
		return nil, errors.New("a decision point needs a policy and types of subjects")
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Answered == nil {
		o.Answered = func(string) {}
	}
	p := &Point{
		options: o, types: map[string]SubjectType{}, subjects: map[named]Subject{},
		resources: map[string]ResourceType{}, known: map[named]map[string]any{},
	}
	p.index()
	var err error
	if p.paths, err = o.paths(); err != nil {
		return nil, err
	}
	if p.slots, err = fair.NewSlots(fair.Options{Slots: slots, PerClient: perClient, Waiting: waiting}); err != nil {
		return nil, err
	}
	p.gate, err = o.gate()
	return p, err
}

func (p *Point) index() {
	for _, t := range p.options.SubjectTypes {
		p.types[t.Type] = t
	}
	for _, s := range p.options.Subjects {
		p.subjects[named{s.Type, s.ID}] = s
	}
	for _, r := range p.options.ResourceTypes {
		p.resources[r.Type] = r
	}
	for _, r := range p.options.Resources {
		properties := make(map[string]any, len(r.Properties))
		for name, value := range r.Properties {
			properties[name] = value
		}
		p.known[named{r.Type, r.ID}] = properties
	}
	p.names, p.ids = namedOf(p.subjects), namedOf(p.known)
}

// paths are the places in the properties of a subject that state what it may do.
func (o *Options) paths() (paths claims.Paths, err error) {
	for _, place := range []struct {
		name string
		list *[]core.ClaimPath
	}{{o.RolesProperty, &paths.Roles}, {o.PermissionsProperty, &paths.Permissions}, {o.ScopesProperty, &paths.Scopes}} {
		path, err := core.ParseClaimPath(place.name)
		if err != nil {
			return paths, err
		}
		*place.list = []core.ClaimPath{path}
	}
	return paths, nil
}

// gate decides the calls that questions are about, as the gate that serves the decision
// point decides them.
func (o *Options) gate() (*core.Gate, error) {
	var own []core.Endpoint
	for _, path := range slices.Compact(slices.Sorted(slices.Values(append(Paths(o.Identifier), o.Own...)))) {
		own = append(own, core.Endpoint{Path: path, Methods: []string{"GET"}, Handler: served{}})
	}
	return core.New(core.Options{
		Path: o.Path, Endpoints: own, Policy: o.Policy, ScopesRequired: o.ScopesRequired, Now: o.Now,
		Extractor: asked{}, Authenticator: asked{}, Identity: asked{}, Realm: "decision point",
	})
}

// asked are the parts of a gate whose caller is the subject of a question.
type asked struct{}

// subjectKey is the key of the context under which the subject of a question stands.
type subjectKey struct{}

func (asked) Extract(*core.Request) (core.Credential, error) {
	return core.Credential{Place: core.BearerToken, Value: "question", Explicit: true}, nil
}

func (asked) Authenticate(ctx context.Context, _ *core.Call, _ core.Credential) (core.Authentication, error) {
	p, ok := ctx.Value(subjectKey{}).(*core.Principal)
	if !ok {
		return core.Authentication{}, errors.New("the question has no subject")
	}
	return core.Authentication{Principal: p}, nil
}

func (asked) Upstream(context.Context, *core.Call, *core.Principal, core.Policy) (core.Upstream, error) {
	return core.Upstream{}, nil
}

func (asked) Disguised(*core.Request) (name string, found bool) { return "", false }

// served stands for what a gate serves itself: no call to an upstream.
type served struct{}

func (served) Respond(context.Context, *core.Call, []byte) (core.Response, error) {
	return core.Response{Status: 200}, nil
}

// CheckIdentifier returns the path of an identifier of a decision point. The error follows
// the setting's name.
func CheckIdentifier(identifier string) (path string, err error) {
	u, err := url.Parse(identifier)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http":
		return "", errors.New("is no complete URL, such as https://pdp.example.com")
	case u.Scheme == "http" && !isLoopback(u.Hostname()):
		return "", errors.New("begins with http; it must be https, except on loopback")
	case u.User != nil || strings.ContainsAny(identifier, "?#"):
		return "", errors.New("has a user name, a query or a fragment, which an identifier does not have")
	case strings.HasSuffix(identifier, "/"):
		return "", errors.New("ends with a slash; leave it out: askers compare the identifier exactly")
	}
	path = u.EscapedPath()
	if canonical, err := core.Canonical(path+"/", core.PathOptions{}); err != nil || canonical != path+"/" {
		return "", fmt.Errorf("has a path with two readings, %.200q; write it without escapes, dot segments and double slashes", path)
	}
	return path, nil
}

// sortedNames are the names of a map in their order.
func sortedNames[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
