package gates

import (
	"context"
	"errors"
	"slices"

	"gatehouse/core/permission"
	"gatehouse/core/permission/analysis"
	"gatehouse/internal/cli/terminal"
	"gatehouse/internal/offline"
)

// Activities are those of a gate, each with a request that it covers.
type Activities struct {
	Gate     *Gate
	request  *RequestFlags
	Rules    []permission.OwnedActivity
	Examples []analysis.Example
	Guards   [][]analysis.Guard
}

// NewActivities finds a request for each activity of a gate; request says what
// is beside its method and path.
func NewActivities(g *Gate, request *RequestFlags) (*Activities, error) {
	a := &Activities{Gate: g, request: request, Rules: g.Activities()}
	var err error
	if a.Examples, err = analysis.Examples(a.Rules, g.Path()); err != nil {
		return nil, err
	}
	a.Guards, err = analysis.Guards(a.Rules)
	return a, err
}

// ErrUnreachable is why a gate opens an activity to no caller.
var ErrUnreachable = errors.New("a gate with these path options refuses every path that it covers")

// Refuses returns why the gate does not let a caller use an activity, its
// requirements aside, or nil. An activity whose regex is too large for an example
// is decided with the root path.
func (a *Activities) Refuses(ctx context.Context, i int, c *offline.Caller) (refused, err error) {
	example := a.Examples[i]
	switch {
	case example.TooLarge:
		example.Call = analysis.Call{Method: "GET", Path: "/"}
	case !example.Found:
		return ErrUnreachable, nil
	}
	r, err := a.request.Request(example.Method, example.Target())
	if err != nil {
		return nil, err
	}
	if example.Host != "" {
		r.Host = example.Host
	}
	return a.Gate.Opens(ctx, r, &a.Rules[i], c)
}

// Exception names who takes calls from an activity, with a call.
func Exception(guards []analysis.Guard) string {
	var owners []string
	for i := range guards {
		if owner := guards[i].Owner(); !slices.Contains(owners, owner) {
			owners = append(owners, owner)
		}
	}
	return "calls that " + terminal.Listing(owners, "and") + " guards, such as " + guards[0].Shared.String()
}
