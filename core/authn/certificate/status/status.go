// Package status tells whether certificates have been revoked by who issued them: by lists
// (CRL, RFC 5280), and by asking (OCSP, RFC 6960).
package status

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"gatehouse/core"
)

// skew is by how much the clock of an authority may be ahead.
const skew = 5 * time.Minute

// answer is what somebody tells of a certificate.
type answer struct {
	status
	// until is how long a good answer counts.
	until time.Time
	// reason is why it is not good.
	reason error
}

type status int

const (
	unknown status = iota // nobody could tell
	good
	revoked
)

// Options of a Checker.
type Options struct {
	Lists Lists
	// Responders are asked; nil: nobody is.
	Responders *Responders
	// AllAsked says that they are asked about the authorities of a chain, too.
	AllAsked bool
	// Lenient lets a certificate pass of which nobody can tell whether it was revoked.
	Lenient bool
	// Log gets a line of that, at most one a minute; nil: none.
	Log *slog.Logger
	// Now is the clock. Default time.Now.
	Now func() time.Time
}

// Checker looks at all certificates of a chain but the last one.
type Checker struct {
	options Options
	said    atomic.Int64
}

// New makes a checker.
func New(o Options) *Checker {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Checker{options: o}
}

// lenientFor is how long it counts that nobody could tell.
const lenientFor = time.Minute

// Check returns how long what it learned counts; see certificate.Status.
func (s *Checker) Check(ctx context.Context, chain []*x509.Certificate, staple []byte) (until time.Time, err error) {
	for i, c := range chain[:len(chain)-1] {
		a := s.of(ctx, c, chain[i+1], i == 0, staple)
		switch {
		case a.status == revoked:
			return time.Time{}, fmt.Errorf("%w: the certificate %s of the client's chain has been revoked: %w", core.ErrInvalid, shown(c), a.reason)
		case a.status == unknown && !s.options.Lenient:
			return time.Time{}, fmt.Errorf("whether the certificate %s of the client's chain has been revoked is not known: %w", shown(c), a.reason)
		case a.status == unknown:
			s.say(c, a.reason)
			a.until = s.options.Now().Add(lenientFor)
		}
		if until.IsZero() || a.until.Before(until) {
			until = a.until
		}
	}
	return until, nil
}

// of asks everybody who may know. Who says that a certificate was revoked is right; else one
// who knows is enough.
func (s *Checker) of(ctx context.Context, c, issuer *x509.Certificate, isFirst bool, staple []byte) answer {
	now := s.options.Now()
	a := answer{reason: errors.New("no list and no responder is configured")}
	if len(s.options.Lists.All) > 0 {
		a = s.options.Lists.ask(c, issuer, now)
	}
	if a.status == revoked || s.options.Responders == nil || !isFirst && !s.options.AllAsked {
		return a
	}
	if !isFirst {
		staple = nil
	}
	b := s.options.Responders.ask(ctx, c, issuer, staple, now)
	switch {
	case b.status == unknown && a.status == good:
		return a
	case b.status == good && a.status == good && a.until.Before(b.until):
		b.until = a.until
	}
	return b
}

func (s *Checker) say(c *x509.Certificate, reason error) {
	now, last := s.options.Now().UnixNano(), s.said.Load()
	if (last == 0 || now-last > int64(time.Minute)) && s.said.CompareAndSwap(last, now) {
		s.options.Log.Warn("a client certificate is accepted although nobody can tell whether it was revoked; this is said at most once a minute", "serial_number", c.SerialNumber.Text(16), "error", reason)
	}
}

// shown is a certificate in an error.
func shown(c *x509.Certificate) string { return c.SerialNumber.Text(16) }
