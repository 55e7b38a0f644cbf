package revocation

import "time"

// state is how much a list knows.
type state struct {
	// present says that there is a list.
	present bool
	// blindSince is since when new events do not come; zero: they do.
	blindSince time.Time
	// lostAt is when events were last found to be missed; zero: never.
	lostAt time.Time
}

// blindFromStart is since when a new list is blind.
func blindFromStart(o Options) time.Time {
	if o.Fed {
		return o.Now()
	}
	return time.Time{}
}

// Current says that the list holds all events that were published until now.
func (l *List) Current() {
	if s := l.state.Load(); s.present && s.blindSince.IsZero() {
		return
	}
	l.change(func(s *state) { s.present, s.blindSince = true, time.Time{} })
	l.options.Log.Info("revocations come in", "events", l.size.Load())
}

// Blind says that new events do not come at the moment, and why.
func (l *List) Blind(cause error) {
	if !l.state.Load().blindSince.IsZero() {
		return
	}
	l.change(func(s *state) { s.blindSince = l.options.Now() })
	l.options.Log.Warn("revocations do not come in: cached callers are verified anew after max_blind", "max_blind", l.options.MaxBlind.String(), "error", cause)
}

// Lost says that events may have been missed, and why. Nothing that was learned of a
// credential until now is used any more, and the list is blind until it is current.
func (l *List) Lost(cause error) {
	l.change(func(s *state) {
		s.lostAt = l.options.Now()
		if s.blindSince.IsZero() {
			s.blindSince = s.lostAt
		}
	})
	l.options.Log.Warn("revocations may have been missed: cached callers are verified anew", "error", cause)
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
	s := l.state.Load()
	if s.blindSince.IsZero() {
		return s.lostAt
	}
	return later(s.lostAt, l.options.Now().Add(-l.options.MaxBlind))
}

// missing reports whether there is no list that says anything of a credential which
// was issued within the retention.
func (l *List) missing(now time.Time) bool {
	s := l.state.Load()
	return !s.present || !s.blindSince.IsZero() && now.Sub(s.blindSince) > l.options.Retention
}
