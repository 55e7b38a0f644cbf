package spiffe

import (
	"context"
	"crypto/x509"
	"fmt"
	"log/slog"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// domain is a trust domain with what vouches for its ids.
type domain struct {
	name       spiffeid.TrustDomain
	algorithms []string
	x509       *cell[*x509bundle.Bundle]
	jwt        *cell[*keySet]
	// kick has the bundle fetched now where that can help; nil: it cannot.
	kick func(context.Context)
}

func newDomain(name spiffeid.TrustDomain, o *Options, changed func()) *domain {
	certificates := &cell[*x509bundle.Bundle]{
		what: fmt.Sprintf("trust domain %s for X509-SVIDs", name), maxStale: o.MaxStale, log: o.Log, now: o.Now, changed: changed,
		same:  func(a, b *x509bundle.Bundle) bool { return a.Equal(b) },
		shown: func(b *x509bundle.Bundle) string { return fmt.Sprint(len(b.X509Authorities())) },
	}
	keys := &cell[*keySet]{
		what: fmt.Sprintf("trust domain %s for JWT-SVIDs", name), maxStale: o.MaxStale, log: o.Log, now: o.Now, changed: changed,
		same:  func(a, b *keySet) bool { return a.of.Equal(b.of) },
		shown: func(s *keySet) string { return fmt.Sprint(len(s.byID)) },
	}
	return &domain{name: name, algorithms: o.Algorithms, x509: certificates.init(), jwt: keys.init()}
}

func (d *domain) confirm(b Bundle) {
	d.x509.confirm(b.X509)
	d.jwt.confirm(newKeySet(b.JWT, d.algorithms))
}

func (d *domain) fail(err error) {
	d.x509.fail(err)
	d.jwt.fail(err)
}

// reconfirm says that what counts still does.
func (d *domain) reconfirm() {
	if s := d.x509.state.Load(); s.has {
		d.x509.confirm(s.value)
	}
	if s := d.jwt.state.Load(); s.has {
		d.jwt.confirm(s.value)
	}
}

// Domain is a trust domain whose SVIDs are accepted. Of File and Endpoint one is set, or
// neither: its bundle is then that of the Workload API.
type Domain struct {
	Name     spiffeid.TrustDomain
	File     string
	Endpoint *Endpoint
}

// Options of an Authenticator.
type Options struct {
	// Domains are the trust domains; at least one.
	Domains []Domain
	// Socket is the address of the SPIFFE Workload API, where a domain needs it.
	Socket string
	// Timeout bounds a call to it, and Refresh is the longest time between two.
	Timeout, Refresh time.Duration
	// Observe is called after every call to it.
	Observe func(took time.Duration, err error)
	// MaxStale is how long the last good bundle counts after it was last confirmed.
	MaxStale time.Duration
	// X509 and JWT say which SVIDs are accepted.
	X509, JWT bool
	// Audiences are ours: a JWT-SVID must name one of them.
	Audiences []string
	// Algorithms that JWT-SVIDs may be signed with.
	Algorithms []string
	// Intermediates are tried beside those that a client sends, for hosts that pass on
	// the certificate of the client alone.
	Intermediates []*x509.Certificate
	// Leeway is how far the clock of an issuer may be ahead: for nbf and iat of a
	// JWT-SVID. exp gets none.
	Leeway time.Duration
	// Log gets a line for each change of a bundle, and for each failure.
	Log *slog.Logger
	Now func() time.Time
}
