package analysis

import (
	"errors"
	"fmt"
	"regexp/syntax"
	"slices"

	"gatehouse/core/permission"
	"gatehouse/core/permission/automaton"
)

// Operation is calls that a service offers.
type Operation struct {
	Name   string
	Method string
	// Regex covers the canonical paths.
	Regex string
}

// Coverage is how a table and the operations of a service fit together.
type Coverage struct {
	// Uncovered are operations that no activity covers. Witness is such a call.
	Uncovered []OperationGap
	// Partly are operations of which activities cover a part; Witness is a
	// call that none covers.
	Partly []OperationGap
	// Unused are activities that no operation has.
	Unused []ActivityGap
	// Undecided are activities whose regex is too large to compare.
	Undecided []permission.OwnedActivity
}

// OperationGap is an operation with a call that no activity covers.
type OperationGap struct {
	*Operation
	Witness Call
}

// ActivityGap is an activity with those of its methods that no operation has
// on its paths.
type ActivityGap struct {
	permission.OwnedActivity
	Methods []string
}

// Clean reports whether everything fits, partly covered operations aside: a
// table often accepts fewer values of a parameter than a service.
func (c *Coverage) Clean() bool { return len(c.Uncovered)+len(c.Unused)+len(c.Undecided) == 0 }

// Cover compares the activities of a table with the operations of a service.
// Hosts and requirements take no part: what is only covered for some host or
// some callers is covered.
func Cover(rules []permission.OwnedActivity, operations []Operation) (*Coverage, error) {
	list, err := Areas(rules)
	if err != nil {
		return nil, err
	}
	for _, a := range list { // an operation has an endpoint, and no tool
		if a.MCP != nil && a.Guard == nil {
			a.Paths = literals([]string{a.MCP.Endpoint})
		}
	}
	c := &coverage{}
	for _, a := range list {
		switch {
		case a.Paths == nil:
			c.result.Undecided = append(c.result.Undecided, a.OwnedActivity)
		case a.Guard != nil:
			c.refused = append(c.refused, a)
		default:
			c.areas = append(c.areas, a)
		}
	}
	for i := range operations {
		o := offered{Operation: &operations[i]}
		if o.paths, err = o.language(); err != nil {
			return nil, err
		}
		c.operations = append(c.operations, o)
	}
	for i := range c.operations {
		if err := c.operation(&c.operations[i]); err != nil {
			return nil, err
		}
	}
	for _, a := range c.areas {
		if err := c.activity(a); err != nil {
			return nil, err
		}
	}
	return &c.result, nil
}

type coverage struct {
	areas      []*Area
	refused    []*Area // by the table, on every host
	operations []offered
	result     Coverage
}

type offered struct {
	*Operation
	paths *automaton.Language
}

func (o *offered) language() (*automaton.Language, error) {
	tree, err := syntax.Parse(o.Regex, syntax.Perl)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", o.Name, err)
	}
	paths, err := Canonical(tree)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", o.Name, err)
	}
	return paths, nil
}

func (c *coverage) operation(o *offered) error {
	var covering []*automaton.Language
	for _, a := range c.areas {
		if !covers(a.Methods, o.Method) {
			continue
		}
		_, meets, err := automaton.Witness(o.paths, a.Paths)
		if err != nil && !errors.Is(err, automaton.ErrTooLarge) {
			return err
		}
		if !meets {
			continue
		}
		open, err := c.left(o.Method, a)
		if errors.Is(err, automaton.ErrTooLarge) {
			return nil
		} else if err != nil {
			return err
		}
		covering = append(covering, open)
	}
	path, open, err := automaton.Beyond([]*automaton.Language{o.paths}, covering...)
	if errors.Is(err, automaton.ErrTooLarge) && len(covering) > 0 {
		return nil
	}
	if err != nil || !open {
		return err
	}
	gap := OperationGap{o.Operation, Call{Method: o.Method, Path: path}}
	if len(covering) == 0 {
		c.result.Uncovered = append(c.result.Uncovered, gap)
	} else {
		c.result.Partly = append(c.result.Partly, gap)
	}
	return nil
}

// left are the paths of an activity that the table does not refuse.
func (c *coverage) left(method string, a *Area) (*automaton.Language, error) {
	paths := a.Paths
	var err error
	for _, r := range c.refused {
		if err == nil && r.CoversMethod(method) && len(r.Hosts) == 0 && Outranks(r, a) {
			paths, err = paths.Minus(r.Paths)
		}
	}
	return paths, err
}

// activity looks for the methods of an activity among the operations. HEAD is
// offered where GET is (RFC 9110 section 9.3.2), and OPTIONS by every server.
func (c *coverage) activity(a *Area) error {
	var meeting []string
	for i := range c.operations {
		o := &c.operations[i]
		if !covers(a.Methods, o.Method) && !(o.Method == "GET" && slices.Contains(a.Methods, "HEAD")) {
			continue
		}
		_, meets, err := automaton.Witness(o.paths, a.Paths)
		if err != nil && !errors.Is(err, automaton.ErrTooLarge) {
			return err
		}
		if meets || err != nil {
			meeting = append(meeting, o.Method)
		}
	}
	var missing []string
	for _, m := range a.Methods {
		switch {
		case m == permission.AnyMethod && len(meeting) > 0, slices.Contains(meeting, m):
		case m == "HEAD" && slices.Contains(meeting, "GET"):
		case m == "OPTIONS" && len(a.Methods) > 1:
		default:
			missing = append(missing, m)
		}
	}
	if len(missing) > 0 {
		c.result.Unused = append(c.result.Unused, ActivityGap{a.OwnedActivity, missing})
	}
	return nil
}

func covers(methods []string, method string) bool {
	return slices.Contains(methods, method) || slices.Contains(methods, permission.AnyMethod)
}
