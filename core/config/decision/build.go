package decision

import (
	"fmt"
	"log/slog"
	"slices"

	"gatehouse/core"
	"gatehouse/core/authzen/decisionpoint"
	"gatehouse/core/authzen/target"
	"gatehouse/core/fleet/subjects"
)

// Around is what a decision point uses beside its gate.
type Around struct {
	// Granted is what the database grants to subjects; nil: nothing.
	Granted  *subjects.Store
	Answered func(result string)
	Log      *slog.Logger
}

// Creation makes gates: with the endpoints of the decision point, if there is one.
func (p *Point) Creation(a Around) func(core.Options) (*core.Gate, error) {
	if p == nil {
		return core.New
	}
	return func(o core.Options) (*core.Gate, error) {
		options, err := p.options(a, &o)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", at, err)
		}
		point, err := decisionpoint.New(options)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", at, err)
		}
		endpoints, err := point.Endpoints(o)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", at, err)
		}
		o.Endpoints = slices.Concat(o.Endpoints, endpoints)
		o.Answers = decisionpoint.Echo{Next: o.Answers, Paths: decisionpoint.Paths(p.Identifier)}
		return core.New(o)
	}
}

func (p *Point) options(a Around, gate *core.Options) (decisionpoint.Options, error) {
	o := decisionpoint.Options{
		Identifier: p.Identifier, InsecureAnonymous: p.InsecureAnonymous,
		RolesProperty: p.RolesProperty, PermissionsProperty: p.PermissionsProperty, ScopesProperty: p.ScopesProperty,
		Host: p.Host, RouteType: p.RouteType, Policy: gate.Policy, Path: gate.Path, ScopesRequired: gate.ScopesRequired,
		Answered: a.Answered, Log: a.Log, Now: gate.Now,
	}
	for _, e := range gate.Endpoints {
		o.Own = append(o.Own, e.Path)
	}
	if a.Granted != nil {
		o.Granter, o.Lister = a.Granted, a.Granted
	}
	for _, asker := range p.Askers {
		o.Askers = append(o.Askers, decisionpoint.Asker{
			Issuer: asker.Issuer, Subject: asker.Subject, ClientID: asker.ClientID, Permission: asker.Permission, MayState: asker.statements(),
		})
	}
	for _, t := range p.SubjectTypes {
		o.SubjectTypes = append(o.SubjectTypes, decisionpoint.SubjectType{Type: t.Type, Issuer: t.Issuer, Kind: core.Kind(t.Kind), Client: t.Client})
	}
	for _, s := range p.Subjects {
		o.Subjects = append(o.Subjects, decisionpoint.Subject(s))
	}
	for _, r := range p.Resources {
		o.Resources = append(o.Resources, decisionpoint.Resource(r))
	}
	for _, t := range p.ResourceTypes {
		kind, err := t.build()
		if err != nil {
			return o, err
		}
		o.ResourceTypes = append(o.ResourceTypes, kind)
	}
	return o, nil
}

func (t *ResourceType) build() (decisionpoint.ResourceType, error) {
	kind := decisionpoint.ResourceType{Type: t.Type, Host: t.Host, Actions: map[string]*target.Target{}}
	for name, action := range t.Actions {
		call, err := target.Parse(action, t.Path)
		if err != nil {
			return kind, fmt.Errorf("the action %q of %q %w", name, t.Type, err)
		}
		kind.Actions[name] = call
	}
	return kind, nil
}

func (a *Asker) statements() decisionpoint.Statements {
	may := func(what string) bool { return slices.Contains(a.MayState, what) }
	return decisionpoint.Statements{
		Roles: may("roles"), Permissions: may("permissions"), Scopes: may("scopes"), Claims: may("claims"), ClientID: may("client_id"),
		Authentication: may("authentication"), Proof: may("proof"), Peer: may("peer"),
	}
}

// Offline are the endpoints for tools that answer nobody.
func (p *Point) Offline() []core.Endpoint {
	if p == nil {
		return nil
	}
	return decisionpoint.Offline(p.Identifier)
}
