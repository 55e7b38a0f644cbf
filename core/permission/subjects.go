package permission

import (
	"slices"

	"gatehouse/core"
	"gatehouse/core/permission/idset"
	"gatehouse/core/permission/subject"
)

// subjects are what workloads may do by their SPIFFE IDs.
type subjects struct {
	patterns []*subject.Pattern
	granted  []idset.Set // by the number of the pattern
	index    *subject.Index
}

// any reports whether f is true of what a pattern grants to a caller. The subject of any
// other credential than an SVID is a text that its issuer chose.
func (s *subjects) any(p *core.Principal, f func(granted idset.Set) bool) bool {
	return s != nil && p.Kind == core.KindSPIFFE && s.index.Any(p.Subject, func(i int) bool { return f(s.granted[i]) })
}

// Subjects are the patterns of SPIFFE IDs that are granted something, sorted.
func (t *Table) Subjects() (patterns []string) {
	if t.subjects == nil {
		return nil
	}
	for _, p := range t.subjects.patterns {
		patterns = append(patterns, p.String())
	}
	slices.Sort(patterns)
	return patterns
}

// SubjectExamples are callers by patterns: whatever holds for everybody whom a pattern
// stands for holds for all of its callers, as far as the patterns of the tables tell
// workloads apart.
func SubjectExamples(tables ...*Table) map[string][]*core.Principal {
	var all []*subject.Pattern
	for _, t := range tables {
		if t.subjects != nil {
			all = append(all, t.subjects.patterns...)
		}
	}
	callers := make(map[string][]*core.Principal, len(all))
	for i, ids := range subject.Examples(all) {
		var examples []*core.Principal
		for _, id := range ids {
			examples = append(examples, &core.Principal{Kind: core.KindSPIFFE, Subject: id})
		}
		callers[all[i].String()] = examples
	}
	return callers
}

// subjectsWith are the patterns that grant a permission, sorted.
func (t *Table) subjectsWith(id permissionID) (patterns []string) {
	if t.subjects == nil {
		return nil
	}
	for i, p := range t.subjects.patterns {
		if t.subjects.granted[i].Has(id) {
			patterns = append(patterns, p.String())
		}
	}
	slices.Sort(patterns)
	return patterns
}
