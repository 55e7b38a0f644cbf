package revocation

import (
	"fmt"
	"time"
)

// state is how much a list knows.
type state struct {
	// present says that there is a list.
	present bool
	// blindSince is since when new events do not come; zero: they do.
	blindSince time.Time
	// lostAt is when events were last found to be missed; zero: never.
	lostAt time.Time
}

// initial is the state of a new list.
func initial(o Options) *state {
	s := &state{present: !o.Fed && o.Dir == ""}
	if o.Fed {
		s.blindSince = o.Now()
	}
	return s
}

// Current says that the list holds all events that were published until now.
func (l *List) Current() {
	l.current.Store(l.options.Now().UnixNano())
	l.cause.Store(nil)
	if s := l.state.Load(); s.present && s.blindSince.IsZero() {
		return
	}
	l.change(func(s *state) { s.present, s.blindSince = true, time.Time{} })
	l.disk.changes.Add(1)
	l.options.Log.Info("revocations come in", "events", l.size.Load())
}

// Blind says that new events do not come at the moment, and why.
func (l *List) Blind(cause error) {
	l.cause.Store(&cause)
	if !l.state.Load().blindSince.IsZero() {
		return
	}
	l.change(func(s *state) { s.blindSince = l.lastCurrent() })
	l.options.Log.Warn("revocations do not come in: cached callers are verified anew after max_blind", "max_blind", l.options.MaxBlind.String(), "error", cause)
}

// Lost says that events may have been missed, and why. Nothing that was learned of a
// credential before that is used any more, and the list is blind until it is current.
func (l *List) Lost(cause error, ago time.Duration) {
	l.options.Counters.Lost.Add(1)
	l.change(func(s *state) {
		s.lostAt = later(s.lostAt, l.options.Now().Add(-ago))
		if s.blindSince.IsZero() {
			s.blindSince = l.lastCurrent()
		}
	})
	l.options.Log.Warn("revocations may have been missed: cached callers are verified anew", "error", cause)
}

// lastCurrent is when the list last held all events.
func (l *List) lastCurrent() time.Time { return time.Unix(0, l.current.Load()) }

// complete is until when the list holds all events; zero: nobody knows.
func (s *state) complete(now time.Time) time.Time {
	switch {
	case !s.present:
		return time.Time{}
	case s.blindSince.IsZero():
		return now
	}
	return s.blindSince
}

func (l *List) change(by func(*state)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := *l.state.Load()
	by(&s)
	l.state.Store(&s)
}

// Floor is the moment before which nothing counts that a cache has learned of a
// credential (cache.Options).
func (l *List) Floor() time.Time {
	s, now := l.state.Load(), l.options.Now()
	blind := now.Add(-l.options.MaxBlind)
	// A process that stood still, as when it was frozen, has not noticed that it is blind.
	stale := l.options.Fed && l.lastCurrent().Before(blind)
	if s.blindSince.IsZero() && !stale {
		return s.lostAt
	}
	return later(s.lostAt, blind)
}

// Ready reports whether there is a list.
func (l *List) Ready() bool { return !l.missing(l.options.Now()) }

// noList is why a credential that is verified locally gets no answer.
func (l *List) noList() error {
	if cause := l.cause.Load(); cause != nil {
		return fmt.Errorf("%w: %s", errNoList, (*cause).Error())
	}
	return errNoList
}

// missing reports whether there is no list that says anything of a credential which
// was issued within the retention.
func (l *List) missing(now time.Time) bool {
	s := l.state.Load()
	return !s.present || !s.blindSince.IsZero() && now.Sub(s.blindSince) > l.options.Retention
}

// Status is how much a list knows.
type Status struct {
	// Events in force.
	Events int
	// Missing says that there is no list that counts.
	Missing bool
	// Blind is for how long new events have not come.
	Blind time.Duration
}

// Status returns what the list knows now.
func (l *List) Status() Status {
	now, s := l.options.Now(), l.state.Load()
	status := Status{Events: int(l.size.Load()), Missing: l.missing(now)}
	if !s.blindSince.IsZero() {
		status.Blind = now.Sub(s.blindSince)
	}
	return status
}
