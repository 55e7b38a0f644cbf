package spiffe

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"gatehouse/core"
	"gatehouse/core/authn"
	"gatehouse/core/authn/jwt"
)

// Algorithms that a JWT-SVID may be signed with (JWT-SVID section 2.1).
var Algorithms = []string{"RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "PS256", "PS384", "PS512"}

// Authenticator verifies SVIDs. It is a core.TokenAuthenticator.
type Authenticator struct {
	options Options
	domains map[spiffeid.TrustDomain]*domain
	changes *changes
}

var _ core.TokenAuthenticator = (*Authenticator)(nil)

// changes is when another bundle began to count, in nanoseconds since 1970.
type changes struct{ last atomic.Int64 }

func (o Options) withDefaults() Options {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Observe == nil {
		o.Observe = func(time.Duration, error) {}
	}
	return o
}

func (o Options) validate() error {
	switch {
	case len(o.Domains) == 0:
		return errors.New("no trust domain")
	case !o.X509 && !o.JWT:
		return errors.New("neither X509-SVIDs nor JWT-SVIDs are accepted")
	case o.JWT && len(o.Audiences) == 0:
		return errors.New("no audience for JWT-SVIDs")
	case o.JWT && len(o.Algorithms) == 0:
		return errors.New("no algorithm for JWT-SVIDs")
	}
	for i, d := range o.Domains {
		switch {
		case d.Name.IsZero():
			return errors.New("a trust domain has no name")
		case slices.ContainsFunc(o.Domains[:i], func(before Domain) bool { return before.Name == d.Name }):
			return fmt.Errorf("trust domain %s is listed twice", d.Name)
		case d.File == "" && d.Endpoint == nil && o.Socket == "":
			return fmt.Errorf("trust domain %s has no bundle: no file, no endpoint, and there is no Workload API", d.Name)
		}
	}
	return nil
}

// New makes an authenticator. Bundles are followed until nobody has it any more.
func New(o Options) (*Authenticator, error) {
	o = o.withDefaults()
	if err := o.validate(); err != nil {
		return nil, err
	}
	a := &Authenticator{options: o, domains: map[spiffeid.TrustDomain]*domain{}, changes: &changes{}}
	ctx, stop := context.WithCancel(context.Background())
	now, last := o.Now, a.changes
	changed := func() { last.last.Store(now().UnixNano()) }
	pushed := &agent{address: o.Socket, domains: map[spiffeid.TrustDomain]*domain{}, timeout: o.Timeout, refresh: o.Refresh, observe: o.Observe, wake: make(chan struct{}, 1)}
	for _, from := range o.Domains {
		d := newDomain(from.Name, &o, changed)
		a.domains[from.Name] = d
		switch {
		case from.Endpoint != nil:
			e := newEndpoint(d, *from.Endpoint)
			d.kick = e.kick
			go e.run(ctx)
		case from.File != "":
			go newFile(d, from.File).run(ctx)
		default:
			pushed.domains[from.Name] = d
		}
	}
	if len(pushed.domains) > 0 {
		go pushed.run(ctx)
	}
	runtime.AddCleanup(a, func(stop context.CancelFunc) { stop() }, stop)
	return a, nil
}

// Changed is when another bundle began to count: what was learned before does not any more.
func (a *Authenticator) Changed() time.Time { return time.Unix(0, a.changes.last.Load()) }

// Waiting names the trust domains whose bundle is not known.
func (a *Authenticator) Waiting() (names []string) {
	for name, d := range a.domains {
		if !d.x509.state.Load().has && !d.jwt.state.Load().has {
			names = append(names, name.String())
		}
	}
	slices.Sort(names)
	return names
}

// Judges reports whether a credential names a SPIFFE ID: a certificate with a URI of that
// scheme, or a JWT with such a subject.
func (a *Authenticator) Judges(c core.Credential) (parsed any, ok bool) {
	if c.Place == core.ClientCertificate {
		facts, _ := c.Parsed.(*core.ClientTLS)
		return nil, a.options.X509 && facts != nil && len(facts.Chain) > 0 && IsSVID(facts.Chain[0])
	}
	if !a.options.JWT || !authn.IsBearer(c) {
		return nil, false
	}
	token, isJWT := jwt.Take(c)
	if !isJWT {
		return nil, false
	}
	sub, _ := token.Claims().Text("sub")
	return token.Parsed(), len(sub) >= len(scheme) && strings.EqualFold(sub[:len(scheme)], scheme)
}

const scheme = "spiffe:"

// AuthenticateToken verifies an SVID. Every refusal wraps core.ErrInvalid; any other error
// means that the bundle of its trust domain is not known.
func (a *Authenticator) AuthenticateToken(ctx context.Context, c core.Credential) (*core.Principal, error) {
	if c.Place == core.ClientCertificate {
		facts, _ := c.Parsed.(*core.ClientTLS)
		if facts == nil || len(facts.Chain) == 0 {
			return nil, fmt.Errorf("%w: the client has shown no certificate", core.ErrInvalid)
		}
		return a.certificate(ctx, facts.Chain)
	}
	token, _ := jwt.Take(c)
	return a.token(ctx, c, token)
}

// domainOf finds a trust domain.
func (a *Authenticator) domainOf(name spiffeid.TrustDomain) (*domain, error) {
	d := a.domains[name]
	if d == nil {
		return nil, fmt.Errorf("is of trust domain %s, which is not configured (trust_domains)", name)
	}
	return d, nil
}

// intermediates are those that are tried for a chain.
func (a *Authenticator) intermediates(chain []*x509.Certificate) []*x509.Certificate {
	return slices.Concat(chain, a.options.Intermediates)
}
