package idp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sony/gobreaker/v2"

	"gatehouse/core"
	"gatehouse/core/fair"
)

const (
	// failuresToOpen open a breaker, one after the other.
	failuresToOpen = 5
	// openFor is how long it stays open before the host is tried again.
	openFor = time.Second
	// maxHosts bounds the breakers; a client calls few hosts.
	maxHosts = 100
	// maxProbe is more than a host says to a request without a credential.
	maxProbe = 64 << 10
)

// breakers are the circuit breakers of a client, by host.
type breakers struct {
	log  *slog.Logger
	what string

	mu     sync.Mutex
	byHost map[string]*breaker
}

// breaker is open while a host does not respond: calls on behalf of clients then fail at
// once.
//
// A client chooses the credential, and may have one at which a provider fails or takes
// too long. So failures of such calls open nothing by themselves: a probe must fail too,
// which is requests with nothing of a client in them; and a probe closes the breaker. A
// server that responds to a simple request and hangs on the calls that matter is found by
// a call of that kind (WithProbe).
// Calls on nobody's behalf, for keys, are probes themselves and are never held up: their
// callers wait between them already.
type breaker struct {
	*gobreaker.CircuitBreaker[struct{}]
	host    string
	probing atomic.Bool
	// probeFailed is set until something succeeds; why is the last failure.
	probeFailed atomic.Bool
	why         atomic.Pointer[string]
}

func (b *breakers) of(host string) *breaker {
	b.mu.Lock()
	defer b.mu.Unlock()
	if one, known := b.byHost[host]; known {
		return one
	}
	if b.byHost == nil || len(b.byHost) >= maxHosts {
		b.byHost = map[string]*breaker{}
	}
	one := newBreaker(host, b.what, b.log)
	b.byHost[host] = one
	return one
}

// states counts the hosts that have been called.
func (b *breakers) states() (up, down int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, one := range b.byHost {
		if one.State() == gobreaker.StateClosed {
			up++
		} else {
			down++
		}
	}
	return up, down
}

func newBreaker(host, what string, log *slog.Logger) *breaker {
	b := &breaker{host: host}
	b.CircuitBreaker = gobreaker.NewCircuitBreaker[struct{}](gobreaker.Settings{
		Name:    host,
		Timeout: openFor,
		ReadyToTrip: func(c gobreaker.Counts) bool {
			return c.ConsecutiveFailures >= failuresToOpen && b.probeFailed.Load()
		},
		IsExcluded: func(err error) bool { return errors.Is(err, errNotJudged) },
		OnStateChange: func(_ string, from, to gobreaker.State) {
			switch {
			case from == gobreaker.StateClosed && to == gobreaker.StateOpen:
				log.Error(what+" does not respond; requests that need it get 503 until it does", "host", host, "error", b.reason())
			case to == gobreaker.StateClosed:
				log.Info(what+" responds again", "host", host)
			}
		},
	})
	return b
}

func (b *breaker) reason() string {
	if why := b.why.Load(); why != nil {
		return *why
	}
	return "unknown"
}

// errOpen becomes 503 with Retry-After.
func (b *breaker) errOpen() error {
	return &core.Later{Err: fmt.Errorf("not called: %s did not respond to the last calls and is tried again each second (%s)", b.host, b.reason()), Wait: openFor}
}

// check fails while the breaker is open, and has the host tried when it is time.
func (c *Client) check(b *breaker, req *http.Request) error {
	if !fair.IsOnBehalf(req.Context()) || b.State() == gobreaker.StateClosed {
		return nil
	}
	c.probe(b, req)
	return b.errOpen()
}

// watch lets the breaker judge a call, and with it the node's own, where there is one.
func (c *Client) watch(b *breaker, req *http.Request, limit int64, isProbe bool, own Probe) (response *Response, err error) {
	_, refused := b.Execute(func() (struct{}, error) {
		begun := time.Now()
		response, err = c.exchange(req, limit)
		failure := c.failure(req.Context(), response, err, time.Since(begun))
		if own != nil && failure == nil {
			failure = c.failureOf(req.Context(), own, begun)
		}
		switch {
		case failure == nil:
			b.probeFailed.Store(false)
		case !errors.Is(failure, errNotJudged):
			why := failure.Error()
			b.why.Store(&why)
			if isProbe {
				b.probeFailed.Store(true)
			}
		}
		return struct{}{}, failure
	})
	switch isRefused := errors.Is(refused, gobreaker.ErrOpenState) || errors.Is(refused, gobreaker.ErrTooManyRequests); {
	case isRefused && isProbe:
		return c.exchange(req, limit)
	case isRefused:
		return nil, b.errOpen()
	case !isProbe && b.Counts().ConsecutiveFailures >= failuresToOpen:
		c.probe(b, req)
	}
	return response, err
}

// errNotJudged is of a call that says nothing about the host.
var errNotJudged = errors.New("not judged")

// failure is why a call says that its host is not well; nil: it responds.
func (c *Client) failure(ctx context.Context, response *Response, err error, took time.Duration) error {
	switch {
	case errors.Is(err, errTooLong):
		return nil
	case err == nil && (response.Status < 500 || response.Status == http.StatusNotImplemented):
		return nil
	case err == nil && response.Header.Get("Retry-After") != "": // a pause is kept
		return nil
	case err == nil:
		return response.Unexpected()
	case errors.Is(ctx.Err(), context.Canceled), ctx.Err() != nil && took < c.timeout/2: // it had too little time
		return errNotJudged
	}
	return c.explain(ctx, err)
}

// Probe makes a call as the node would make it on behalf of a client, with nothing of a
// client in it, such as with a credential that the node has invented.
type Probe func(ctx context.Context) (*http.Request, error)

type probeKey struct{}

// WithProbe says how the host of a call is tried. It has to respond to such a call within
// the time limit, whatever it responds: it may fail at what the node has invented.
func WithProbe(ctx context.Context, p Probe) context.Context {
	return context.WithValue(ctx, probeKey{}, p)
}

func probeOf(ctx context.Context) Probe {
	p, _ := ctx.Value(probeKey{}).(Probe)
	return p
}

// failureOf is why a host that is well otherwise does not respond to a call of the kind
// that matters; nil: it does.
func (c *Client) failureOf(ctx context.Context, own Probe, begun time.Time) error {
	req, err := own(ctx)
	if err != nil {
		return errNotJudged
	}
	req.Header.Set("User-Agent", "gatehouse")
	if _, err = c.exchange(req, maxProbe); err == nil {
		return nil
	}
	return c.failure(ctx, nil, err, time.Since(begun))
}

// probe tries a host with requests that hold nothing of a client, one at a time: one
// without a credential, and one as the call that is to be made.
func (c *Client) probe(b *breaker, call *http.Request) {
	target, own := call.URL, probeOf(call.Context())
	if b.State() == gobreaker.StateOpen || !b.probing.CompareAndSwap(false, true) {
		return
	}
	go func() {
		defer b.probing.Store(false)
		ctx, cancel := context.WithTimeout(context.Background(), c.timeout)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, Name(target), nil)
		if err != nil {
			return
		}
		req.Header.Set("User-Agent", "gatehouse")
		_, _ = c.watch(b, req, maxProbe, true, own)
	}()
}

// Hosts counts those that have been called, by whether calls to them are let through.
func (c *Client) Hosts() (up, down int) { return c.breakers.states() }
