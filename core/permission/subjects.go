package permission

import (
	"slices"

	"gatehouse/core"
	"gatehouse/core/actor"
	"gatehouse/core/permission/idset"
	"gatehouse/core/permission/subject"
)

// subjects are what workloads may do by their SPIFFE IDs, or actors by theirs.
type subjects struct {
	patterns []*subject.Pattern
	granted  []idset.Set // by the number of the pattern
	index    *subject.Index
}

// any reports whether f is true of what a pattern grants to an id.
func (s *subjects) any(id string, f func(granted idset.Set) bool) bool {
	return s != nil && s.index.Any(id, func(i int) bool { return f(s.granted[i]) })
}

// workload is any for a caller. The subject of any other credential than an SVID is a text
// that its issuer chose.
func (t *Table) workload(p *core.Principal, f func(granted idset.Set) bool) bool {
	return p.Kind == core.KindSPIFFE && t.subjects.any(p.Subject, f)
}

// Subjects are the patterns of SPIFFE IDs that are granted something, sorted.
func (t *Table) Subjects() (patterns []string) { return t.subjects.texts() }

func (s *subjects) texts() (patterns []string) {
	return s.with(func(idset.Set) bool { return true })
}

// with are the patterns that grant what f is true of, sorted.
func (s *subjects) with(f func(granted idset.Set) bool) (patterns []string) {
	if s == nil {
		return nil
	}
	for i, p := range s.patterns {
		if f(s.granted[i]) {
			patterns = append(patterns, p.String())
		}
	}
	slices.Sort(patterns)
	return patterns
}

// SubjectExamples are callers by patterns: whatever holds for everybody whom a pattern
// stands for holds for all of its callers, as far as the patterns of the tables tell
// workloads apart.
func SubjectExamples(tables ...*Table) map[string][]*core.Principal {
	of := func(t *Table) *subjects { return t.subjects }
	return examples(tables, of, nil, func(id string) *core.Principal { return &core.Principal{Kind: core.KindSPIFFE, Subject: id} })
}

// ActorExamples does so for the actors of delegated credentials, whose subjects hold every
// permission of the tables. Requirements tell actors apart, too, by further patterns.
func ActorExamples(further []*subject.Pattern, tables ...*Table) map[string][]*core.Principal {
	of := func(t *Table) *subjects { return t.actors }
	var all []string
	for _, t := range tables {
		all = append(all, t.permissions...)
	}
	return examples(tables, of, further, func(id string) *core.Principal {
		a, err := actor.Parse(id)
		if err != nil { // no pattern has such an example
			a = &core.Actor{}
		}
		return &core.Principal{Kind: core.KindJWT, Permissions: all, Actor: a}
	})
}

func examples(tables []*Table, of func(*Table) *subjects, further []*subject.Pattern, caller func(id string) *core.Principal) map[string][]*core.Principal {
	all := slices.Clone(further)
	for _, t := range tables {
		if s := of(t); s != nil {
			all = append(all, s.patterns...)
		}
	}
	callers := make(map[string][]*core.Principal, len(all))
	for i, ids := range subject.Examples(all) {
		var list []*core.Principal
		for _, id := range ids {
			list = append(list, caller(id))
		}
		callers[all[i].String()] = list
	}
	return callers
}
