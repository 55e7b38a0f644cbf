package spiffe

import (
	"context"
	"fmt"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/jwtbundle"
	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
)

// agent follows the bundles of the SPIFFE Workload API. What it is pushed, and a time that
// has passed, make it ask for all of them: one goroutine asks, so that an older response
// never follows a newer one, and an agent that hangs is told from one with nothing new.
type agent struct {
	address string
	domains map[spiffeid.TrustDomain]*domain
	timeout time.Duration
	refresh time.Duration
	observe func(took time.Duration, err error)
	wake    chan struct{}
}

// CheckAddress reports why an address is none of the Workload API.
func CheckAddress(address string) error { return workloadapi.ValidateAddress(address) }

func (a *agent) run(ctx context.Context) {
	client, err := workloadapi.New(ctx, workloadapi.WithAddr(a.address))
	if err != nil {
		a.failX509(err)
		a.failJWT(err)
		return
	}
	defer client.Close()
	go a.watch(ctx, func() error { return client.WatchX509Bundles(ctx, a) })
	go a.watch(ctx, func() error { return client.WatchJWTBundles(ctx, a) })
	for {
		a.ask(ctx, client)
		select {
		case <-ctx.Done():
			return
		case <-a.wake:
		case <-time.After(a.refresh):
		}
	}
}

// watch goes on when the agent says that there is nothing to come: a workload can be
// registered later.
func (a *agent) watch(ctx context.Context, until func() error) {
	for ctx.Err() == nil {
		_ = until()
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
}

func (a *agent) ask(ctx context.Context, client *workloadapi.Client) {
	ctx, cancel := context.WithTimeout(ctx, a.timeout)
	defer cancel()
	began := time.Now()
	certificates, err := client.FetchX509Bundles(ctx)
	a.observe(time.Since(began), err)
	if err == nil {
		a.takeX509(certificates)
	} else {
		a.failX509(err)
	}
	keys, err := client.FetchJWTBundles(ctx)
	if err == nil {
		a.takeJWT(keys)
	} else {
		a.failJWT(err)
	}
}

// takeX509 takes the certificates of all trust domains. A domain that is not
// among them any more is not trusted any more.
func (a *agent) takeX509(set *x509bundle.Set) {
	for name, d := range a.domains {
		b, ok := set.Get(name)
		if !ok {
			b = x509bundle.New(name)
		}
		if n := len(b.X509Authorities()); n > maxAuthorities {
			d.x509.fail(tooMany(n))
			continue
		}
		d.x509.confirm(b)
	}
}

// takeJWT takes the keys of all trust domains.
func (a *agent) takeJWT(set *jwtbundle.Set) {
	for name, d := range a.domains {
		b, ok := set.Get(name)
		if !ok {
			b = jwtbundle.New(name)
		}
		if n := len(b.JWTAuthorities()); n > maxAuthorities {
			d.jwt.fail(tooMany(n))
			continue
		}
		d.jwt.confirm(newKeySet(b, d.algorithms))
	}
}

// Something has come on a stream, or it has ended.

func (a *agent) OnX509BundlesUpdate(*x509bundle.Set) { a.again() }
func (a *agent) OnJWTBundlesUpdate(*jwtbundle.Set)   { a.again() }
func (a *agent) OnX509BundlesWatchError(error)       { a.again() }
func (a *agent) OnJWTBundlesWatchError(error)        { a.again() }

func (a *agent) again() {
	select {
	case a.wake <- struct{}{}:
	default: // it is about to ask
	}
}

func tooMany(n int) error {
	return fmt.Errorf("the bundle has %d authorities; at most %d are read", n, maxAuthorities)
}

func (a *agent) failX509(err error) {
	for _, d := range a.domains {
		d.x509.fail(a.failure(err))
	}
}

func (a *agent) failJWT(err error) {
	for _, d := range a.domains {
		d.jwt.fail(a.failure(err))
	}
}

func (a *agent) failure(err error) error {
	return fmt.Errorf("SPIFFE Workload API at %s: %w", a.address, err)
}
