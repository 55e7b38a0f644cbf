package analysis

import (
	"slices"

	"gatehouse/core/permission"
)

// answer is yes, no or unknown.
type answer int

const (
	no answer = iota
	unknown
	yes
)

// demand is what an activity requires.
type demand struct {
	*permission.Requirements
	// path is set where the condition reads the named groups of the path: then
	// the same condition may mean something else behind another regex.
	path string
}

func (a *area) demand() demand {
	if a.Require.ReadsPath() {
		return demand{&a.Require, a.Path}
	}
	return demand{&a.Require, ""}
}

// weaker reports whether every caller who meets b meets a too. Conditions that
// are written differently are not compared: unknown.
func weaker(a, b demand) answer {
	if !weakerScopes(a.Requirements, b.Requirements) || !weakerAuthentication(a.Requirements, b.Requirements) {
		return no
	}
	switch {
	case a.When == "" || a.When == b.When && a.path == b.path:
		return yes
	case b.When == "":
		return no
	}
	return unknown
}

func weakerScopes(a, b *permission.Requirements) bool {
	for _, s := range a.AllScopes {
		if !slices.Contains(b.AllScopes, s) {
			return false
		}
	}
	if len(a.AnyScope) == 0 || slices.ContainsFunc(a.AnyScope, func(s string) bool { return slices.Contains(b.AllScopes, s) }) {
		return true
	}
	return len(b.AnyScope) > 0 && within(b.AnyScope, a.AnyScope)
}

func weakerAuthentication(a, b *permission.Requirements) bool {
	switch {
	case a.AAL > b.AAL: // aal1 < aal2 < aal3, and none is ""
		return false
	case a.MaxAge > 0 && (b.MaxAge == 0 || b.MaxAge > a.MaxAge):
		return false
	}
	return len(a.Credentials) == 0 || len(b.Credentials) > 0 && within(b.Credentials, a.Credentials)
}

func within(list, of []string) bool {
	return !slices.ContainsFunc(list, func(s string) bool { return !slices.Contains(of, s) })
}
