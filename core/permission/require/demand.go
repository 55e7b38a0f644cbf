package require

import (
	"fmt"
	"slices"

	"gatehouse/core"
	"gatehouse/core/permission/ask"
)

// Truth is the result of a comparison that is not always possible.
type Truth int

// The truths: the lesser of two holds where both must.
const (
	No Truth = iota
	Unknown
	Yes
)

// Demand is what an activity requires.
type Demand struct {
	*Requirements
	// Path is set where the condition reads the named groups of the path: then
	// the same condition may mean something else behind another regex.
	Path string
	// AskPath is set where there are asks: those that read named groups of the path may
	// mean something else behind another regex.
	AskPath string
}

// Demand is what is required, for a comparison; nothing where r is nil.
func (r *Compiled) Demand() Demand {
	if r == nil {
		return Demand{Requirements: &Requirements{}}
	}
	d := Demand{Requirements: &r.Requirements}
	if r.Condition != nil && r.Condition.ReadsPath() {
		d.Path = r.Condition.Path().Text
	}
	if len(r.Questions) > 0 {
		d.AskPath = r.Questions[0].Path().Text
	}
	return d
}

// Weaker reports whether every caller who meets b meets a too. Conditions that
// are written differently are not compared, nor are questions: unknown.
func Weaker(a, b Demand) Truth {
	if len(b.Kinds()) == 0 { // nobody meets it
		return Yes
	}
	if !weakerScopes(a.Requirements, b.Requirements) || !weakerAuthentication(a.Requirements, b.Requirements) || !weakerActor(a.Requirements, b.Requirements) {
		return No
	}
	return min(weakerCondition(a, b), weakerAsks(a, b))
}

func weakerCondition(a, b Demand) Truth {
	switch {
	case a.When == "" || a.When == b.When && a.Path == b.Path:
		return Yes
	case b.When == "":
		return No
	}
	return Unknown
}

// weakerAsks compares questions as they are written.
func weakerAsks(a, b Demand) Truth {
	switch {
	case within(a.askKeys(), b.askKeys()):
		return Yes
	case len(b.Asks) == 0:
		return No
	}
	return Unknown
}

// askKeys are equal for asks that are the same question about every call.
func (d Demand) askKeys() []string {
	keys := make([]string, len(d.Asks))
	for i := range d.Asks {
		keys[i] = ask.Key(d.Asks[i])
		if ask.ReadsPath(keys[i]) {
			keys[i] += " " + d.AskPath
		}
	}
	return keys
}

func weakerScopes(a, b *Requirements) bool {
	allA, anyA := scopes(a)
	allB, anyB := scopes(b)
	if !within(allA, allB) {
		return false
	}
	return len(anyA) == 0 || len(anyB) > 0 && within(anyB, anyA) ||
		slices.ContainsFunc(anyA, func(s string) bool { return slices.Contains(allB, s) })
}

// scopes returns all_scopes and any_scope, where a choice of one is none.
func scopes(r *Requirements) (all, any []string) {
	if len(r.AnyScope) == 1 {
		return append(slices.Clone(r.AllScopes), r.AnyScope...), nil
	}
	return r.AllScopes, r.AnyScope
}

func weakerAuthentication(a, b *Requirements) bool {
	switch {
	case a.AAL > b.AAL: // aal1 < aal2 < aal3, and none is ""
		return false
	case a.MaxAge > 0 && (b.MaxAge == 0 || b.MaxAge > a.MaxAge):
		return false
	}
	return weakerKinds(a, b)
}

// weakerKinds compares the kinds of credentials, each with the proofs that it can come with.
func weakerKinds(a, b *Requirements) bool {
	for _, info := range core.Kinds() {
		for _, proof := range append([]core.Proof{""}, info.Proofs...) {
			if b.takes(info.Kind, proof) && !a.takes(info.Kind, proof) {
				return false
			}
		}
	}
	return true
}

func (r *Requirements) takes(kind core.Kind, proof core.Proof) bool {
	if info, _ := kind.Info(); r.needsActor() && !info.Delegated {
		return false
	}
	return (len(r.Credentials) == 0 || slices.Contains(r.Credentials, string(kind))) && (r.Proof == "" || slices.Contains(r.Proofs(), proof))
}

// Kinds are the kinds of credentials that can meet the requirements: a proof of
// possession does not come with each.
func (r *Requirements) Kinds() []string {
	var kinds []string
	for _, info := range core.Kinds() {
		takes := func(proof core.Proof) bool { return r.takes(info.Kind, proof) }
		if takes("") || slices.ContainsFunc(info.Proofs, takes) {
			kinds = append(kinds, string(info.Kind))
		}
	}
	return kinds
}

func within(list, of []string) bool {
	return !slices.ContainsFunc(list, func(s string) bool { return !slices.Contains(of, s) })
}

// Key is equal for demands that are written alike, whatever their order.
func (d Demand) Key() string {
	sorted := func(list []string) []string { return slices.Sorted(slices.Values(list)) }
	return fmt.Sprintf("%q %q %q %s %s %q %q %q %q %q", sorted(d.AllScopes), sorted(d.AnyScope), d.AAL, d.MaxAge, d.Proof, sorted(d.Credentials), sorted(d.Actor), d.When, d.Path, sorted(d.askKeys()))
}
