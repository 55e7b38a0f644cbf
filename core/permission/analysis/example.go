package analysis

import (
	"strings"

	"gatehouse/core"
	"gatehouse/core/permission"
	"gatehouse/core/permission/automaton"
)

// Example is a request that an activity covers.
type Example struct {
	Call
	// Found is false where there is none: a gate with these path options refuses
	// every path that the activity covers.
	Found bool
	// TooLarge says that the regex is too large to find one.
	TooLarge bool
}

// Examples finds a request for each activity that a gate with these path options
// does not refuse for its path.
func Examples(rules []permission.OwnedActivity, o core.PathOptions) ([]Example, error) {
	all, err := Areas(rules)
	if err != nil {
		return nil, err
	}
	refused := refusedPaths(o)
	examples := make([]Example, len(all))
	for i, a := range all {
		if a.Paths == nil {
			examples[i].TooLarge = true
			continue
		}
		path, found, err := automaton.Beyond([]*automaton.Language{a.Paths}, refused...)
		if err != nil {
			return nil, err
		}
		e := Example{Call{exampleMethod(a), exampleHost(a), path}, found, false}
		if err := e.Check(a); found && err != nil {
			return nil, err
		}
		examples[i] = e
	}
	return examples, nil
}

// refusedPaths are the canonical paths that only a gate with further options has.
func refusedPaths(o core.PathOptions) []*automaton.Language {
	var refused []*automaton.Language
	if !o.AllowSemicolon {
		refused = append(refused, automaton.MustCompile(`(?s).*;.*`))
	}
	if !o.AllowEncodedSlash {
		refused = append(refused, automaton.MustCompile(`(?s).*%2F.*`))
	}
	return refused
}

func exampleMethod(a *Area) string {
	if anyMethod(a) {
		return commonMethods[0]
	}
	return a.Methods[0]
}

func exampleHost(a *Area) string {
	if len(a.Hosts) == 0 {
		return ""
	}
	return strings.Replace(a.Hosts[0], "*", "x", 1)
}
