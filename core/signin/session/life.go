package session

import (
	"errors"
	"fmt"
	"time"

	"gatehouse/core"
)

// Life is how long sessions last.
type Life struct {
	// Idle ends a session that is not used; 0: it may rest for as long as it lasts.
	Idle time.Duration
	// Absolute ends a session after it began, however much it is used.
	Absolute time.Duration
	// Now is the clock; nil: the system's.
	Now func() time.Time
}

func (l Life) withDefaults() Life {
	if l.Now == nil {
		l.Now = time.Now
	}
	return l
}

// end is the first moment at which a session does not count any more.
func (l Life) end(s *Session) time.Time {
	end := s.CreatedAt.Add(l.Absolute)
	if idle := s.SeenAt.Add(l.Idle); l.Idle > 0 && idle.Before(end) {
		end = idle
	}
	if !s.Expires.IsZero() && s.Expires.Before(end) {
		end = s.Expires
	}
	return end
}

// Of an idle time a tenth may pass before a use is noted, or every response would carry
// a cookie.
const notedPart = 10

// noteAt is when the next use of a session is to be noted; zero: never.
func (l Life) noteAt(s *Session) time.Time {
	if l.Idle == 0 || s.SeenAt.Add(l.Idle).After(s.CreatedAt.Add(l.Absolute)) {
		return time.Time{}
	}
	return s.SeenAt.Add(l.Idle / notedPart)
}

// The refresh of tokens begins renewAhead before they end, or in the last quarter of
// tokens that last for a short time.
const (
	renewAhead = time.Minute
	renewPart  = 4
)

// renewAt is when new tokens are to be got; zero: never.
func (s *Session) renewAt() time.Time {
	if s.RefreshToken == "" || s.TokenExpires.IsZero() {
		return time.Time{}
	}
	since := s.CreatedAt
	if s.RenewedAt.After(since) {
		since = s.RenewedAt
	}
	return s.TokenExpires.Add(-min(renewAhead, max(0, s.TokenExpires.Sub(since))/renewPart))
}

// usable checks what a store has read.
func (l Life) usable(s *Session) error {
	now := l.Now()
	switch {
	case s.ID == "" || s.Issuer == "" || s.Subject == "" || s.CreatedAt.IsZero() || s.SeenAt.IsZero():
		return errNone
	case l.end(s).After(now):
		return nil
	case s.SeenAt.Add(l.Idle).After(now) || l.Idle == 0:
		return fmt.Errorf("%w: the session began at %s and is over", core.ErrInvalid, s.CreatedAt.UTC().Format(time.RFC3339))
	}
	return fmt.Errorf("%w: the session was not used since %s and is over", core.ErrInvalid, s.SeenAt.UTC().Format(time.RFC3339))
}

// begun is a session with what a store fills in.
func (l Life) begun(s *Session) (*Session, error) {
	if s.Issuer == "" || s.Subject == "" {
		return nil, errors.New("a session needs an issuer and a subject")
	}
	filled := *s
	if filled.ID == "" {
		filled.ID = NewID()
	}
	if filled.CreatedAt.IsZero() {
		filled.CreatedAt = l.Now()
	}
	if filled.SeenAt.IsZero() {
		filled.SeenAt = filled.CreatedAt
	}
	return &filled, nil
}

// Seen is a copy of a session that is used now.
func (s *Session) Seen(now time.Time) *Session {
	seen := *s
	seen.SeenAt = now
	return &seen
}

// errNone is the one answer to whatever is no session of this gate: who made it up, cut
// it, or took it from somewhere else learns nothing.
var errNone = fmt.Errorf("%w: the cookie holds no session of this gate", core.ErrInvalid)
