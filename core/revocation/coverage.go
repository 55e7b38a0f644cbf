package revocation

import "time"

// Coverage is what events say together. Two events about one subject say what either
// does, so that what a list holds can be compared with what others do, although their
// events have other ids.
type Coverage map[about]span

// about is what an event is about.
type about struct {
	kind          Kind
	value, issuer string
	verify        bool
}

type span struct{ at, until time.Time }

func aboutOf(e Event) about { return about{e.Kind, e.Value, e.Issuer, e.Verify} }

// Note adds an event.
func (c Coverage) Note(e Event) {
	s := c[aboutOf(e)]
	c[aboutOf(e)] = span{later(s.at, e.At), later(s.until, e.Until)}
}

// Holds reports whether the events say all that one does.
func (c Coverage) Holds(e Event) bool {
	s := c[aboutOf(e)]
	return !s.at.Before(e.At) && !s.until.Before(e.Until)
}
