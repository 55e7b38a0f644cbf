package attempts

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"gatehouse/core"
	"gatehouse/core/authn"
	"gatehouse/core/fair"
	"gatehouse/core/keyedhash"
	"gatehouse/core/secondrun"
)

// Options of a Limit.
type Options struct {
	// Rate is that of the stores, for what is said of it.
	Rate Rate
	// Clients and Credentials count failed attempts. They are apart so that many of
	// one kind do not push out the other. nil: there is no limit.
	Clients, Credentials Store
	// Hash names clients and credentials in the stores. Nodes that share the stores
	// share it. nil: one of this process.
	Hash *keyedhash.Hash
	// Allow reports which clients are never limited; their failed attempts do not count.
	// nil: none.
	Allow func(netip.Addr) bool
	// Counters count; nil: nowhere.
	Counters *Counters
	// Log gets a line when a client reaches the limit, once in a window; nil: none.
	Log *slog.Logger
	// Now is the clock. Default time.Now.
	Now func() time.Time
}

// Counters are for metrics. They only grow.
type Counters struct {
	// Failed attempts. Limited requests were refused for them, because of the
	// client or because of the credential. Unknown are attempts of clients whose
	// address the host does not know. Allowed are failed attempts that do not count,
	// because of who the client is. Recalled are requests of limited clients that went on
	// because another node knew the credential to be good. StoreErrors are failures of a store, which then
	// limits as far as it can.
	Failed, Allowed, Recalled, LimitedClients, LimitedCredentials, Unknown, StoreErrors atomic.Uint64
}

// Stats are for metrics.
type Stats struct {
	Failed, Allowed, Recalled, LimitedClients, LimitedCredentials, Unknown, StoreErrors uint64
	// Clients and Credentials that have failed of late.
	Clients, Credentials int
}

// Stats returns what was counted so far.
func (c *Counters) Stats() Stats {
	return Stats{
		Failed: c.Failed.Load(), Allowed: c.Allowed.Load(), Recalled: c.Recalled.Load(), LimitedClients: c.LimitedClients.Load(), LimitedCredentials: c.LimitedCredentials.Load(),
		Unknown: c.Unknown.Load(), StoreErrors: c.StoreErrors.Load(),
	}
}

// Failing returns how many clients and credentials have failed of late, where the
// stores can tell.
func (l *Limit) Failing() (clients, credentials int) {
	return keys(l.options.Clients), keys(l.options.Credentials)
}

func keys(s Store) int {
	if s, tells := s.(interface{ Stats() StoreStats }); tells {
		return s.Stats().Keys
	}
	return 0
}

// Limit is a limit on failed attempts that several gates share.
type Limit struct {
	options Options
	// rate is part of every name: what is counted at another rate is another count.
	rate     string
	verified *recent
	looks    *Memory                                 // at what other nodes know
	counted  *secondrun.Results[error]               // the attempts of which the request may run once more
	said     struct{ limited, unknown atomic.Int64 } // when, in nanoseconds
}

const (
	// maxVerified and KeepVerified bound the credentials that are known to have been
	// good, in number and in time.
	maxVerified  = 1 << 15
	KeepVerified = 30 * time.Minute
	// maxCounted bounds the failed attempts of which a second run counts no more.
	maxCounted = 1 << 13
	// perGood is how many failed attempts a client gets back with each new credential
	// that is good: an address from which many of these come is that of many clients.
	perGood = 10
)

// looksOfAClient is how often it is looked up in vain for a limited client whether another
// node knows its credential.
var looksOfAClient = Rate{Count: 20, Window: time.Second}

// New makes a limit.
func New(o Options) *Limit {
	if o.Counters == nil {
		o.Counters = &Counters{}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Hash == nil {
		o.Hash = keyedhash.New(nil)
	}
	rate := fmt.Sprint(o.Rate.Count, " in ", o.Rate.Window)
	looks := &Memory{rate: looksOfAClient, max: maxVerified, now: o.Now, settled: map[Key]time.Time{}}
	return &Limit{options: o, rate: rate, verified: newRecent(maxVerified, KeepVerified), looks: looks, counted: secondrun.NewResults[error](maxCounted, maxCounted)}
}

// Around returns the authenticator with the limit. The digest stands for what a result
// of the authenticator depends on beside the credential: what is no good at one gate can
// be good at another.
func (l *Limit) Around(next *authn.Router, digest string) *Authenticator {
	return &Authenticator{limit: l, next: next, digest: digest}
}

// Authenticator is an authenticator of which failed attempts are limited. It tells
// the slots (core/fair) on whose behalf something is called.
type Authenticator struct {
	limit  *Limit
	next   *authn.Router
	digest string
}

var (
	_ core.Refresher   = (*Authenticator)(nil)
	_ core.OthersJudge = (*Authenticator)(nil)
)

// JudgesOthers makes it a core.OthersJudge.
func (*Authenticator) JudgesOthers() {}

// Authenticate returns what is remembered as good at once. For all else it asks who
// the client is, which may cost the host a call to its gateway.
func (a *Authenticator) Authenticate(ctx context.Context, call *core.Call, c core.Credential) (core.Authentication, error) {
	p, err, known := a.next.Recall(ctx, call, &c)
	if known && err == nil {
		return core.Authentication{Principal: p}, nil
	}
	t := a.limit.try(ctx, call, c, a.digest)
	if t.refusal != nil && !known {
		if p := a.knownElsewhere(ctx, t, call, c); p != nil {
			t.settle(ctx, nil)
			return core.Authentication{Principal: p}, nil
		}
	}
	if t.refusal != nil {
		return core.Authentication{}, t.firstRefusal()
	}
	if known {
		t.settle(ctx, err)
		return core.Authentication{}, err
	}
	result, err := a.next.Verify(fair.WithCaller(ctx, fair.Caller{Peer: t.peer, Goes: t.goes}), call, c)
	t.settle(ctx, err)
	return result, err
}

// knownElsewhere is whom another node knows by the credential of a client that is limited;
// nil: nobody. A client can have it looked up a few times in a second: who floods must not
// flood what the nodes share.
func (a *Authenticator) knownElsewhere(ctx context.Context, t *try, call *core.Call, c core.Credential) *core.Principal {
	l := a.limit
	if !t.peer.Known() { // the credential itself is limited
		return nil
	}
	if wait, _ := l.looks.Count(ctx, t.client, 0); wait > 0 {
		return nil
	}
	_, _ = l.looks.Count(ctx, t.client, 1)
	p := a.next.RecallShared(ctx, call, c)
	if p != nil {
		_ = l.looks.Return(ctx, t.client, t.credential, 1)
		l.options.Counters.Recalled.Add(1)
	}
	return p
}

// Refresh is for a credential that is good and of which more is wanted: it is not
// limited.
func (a *Authenticator) Refresh(ctx context.Context, call *core.Call, c core.Credential) (core.Authentication, error) {
	caller := fair.Caller{Peer: fair.PeerOf(call.ClientAddr())}
	return a.next.Refresh(fair.WithCaller(ctx, caller), call, c)
}

// try is one attempt with a credential that is not remembered as good.
type try struct {
	limit              *Limit
	call               *core.Call
	peer               fair.Peer
	client, credential Key
	// verified says that the credential was good a while ago. It may go on: it is
	// no guess.
	verified bool
	// allowed says that the client is never limited.
	allowed bool
	// repeated says that the credential is a cookie with several values. That one of
	// them is good says nothing of the others, which can be guesses.
	repeated bool
	refusal  error
}

// try begins an attempt. It asks for the client only where the credential does not
// decide, and where clients are allowed.
func (l *Limit) try(ctx context.Context, call *core.Call, c core.Credential, digest string) *try {
	t := &try{limit: l, call: call, repeated: c.Others[0] != ""}
	place := c.Place
	if place == core.TokenHeader { // where a token is judged as beside Bearer
		place = core.BearerToken
	}
	parts := slices.Concat([]string{"credential", l.rate, digest, string(place), c.Value}, c.Others[:])
	t.credential = l.options.Hash.Sum(parts...)
	if l.options.Allow != nil && l.options.Allow(call.ClientAddr()) {
		t.allowed, t.peer = true, fair.PeerOf(call.ClientAddr())
		return t
	}
	t.verified = l.verified.has(t.credential, l.options.Now())
	if t.refusal = t.ofKnownCredential(); t.refusal != nil {
		return t
	}
	t.peer = fair.PeerOf(call.ClientAddr())
	if !t.peer.Known() && l.options.Clients != nil {
		l.options.Counters.Unknown.Add(1)
		l.say(&l.said.unknown, "the address of the client is not known: failed attempts are limited for each credential alone, not for each client")
	}
	t.client = l.options.Hash.Sum("client", l.rate, t.peer.String())
	t.refusal = t.goes(ctx)
	return t
}

// goes is asked again when the attempt has waited: others of the client may have failed
// meanwhile. The client comes first: a credential that nobody knows may cost a call to
// what nodes share, and who floods has a new one each time.
func (t *try) goes(ctx context.Context) error {
	if t.verified || t.allowed {
		return nil
	}
	if err := t.ofClient(ctx); err != nil {
		return err
	}
	return t.ofCredential(t.limit.count(ctx, t.limit.options.Credentials, t.credential, 0))
}

// ofKnownCredential decides without any call.
func (t *try) ofKnownCredential() error {
	credentials := t.limit.options.Credentials
	if t.verified || credentials == nil {
		return nil
	}
	return t.ofCredential(t.limit.survive(func() (time.Duration, error) { return credentials.Known(t.credential), nil }))
}

func (t *try) ofCredential(wait time.Duration) error {
	return t.limit.tooMany(wait, &t.limit.options.Counters.LimitedCredentials, "this credential has")
}

func (t *try) ofClient(ctx context.Context) error {
	if !t.peer.Known() {
		return nil
	}
	wait := t.limit.count(ctx, t.limit.options.Clients, t.client, 0)
	return t.limit.tooMany(wait, &t.limit.options.Counters.LimitedClients, "clients with the address "+t.peer.String()+" have")
}

func (l *Limit) tooMany(wait time.Duration, counter *atomic.Uint64, who string) error {
	if wait <= 0 {
		return nil
	}
	counter.Add(1)
	err := fmt.Errorf("%w: %s failed %d times within %s (failed_attempts)", core.ErrTooMany, who, l.options.Rate.Count, l.options.Rate.Window)
	return &core.Later{Err: err, Wait: wait}
}

// settle counts how the attempt ended. What could not be found out is no failure,
// nor is a good credential of which more is wanted.
func (t *try) settle(ctx context.Context, err error) {
	l := t.limit
	var stepUp *core.StepUp
	switch {
	case t.allowed:
		t.settleAllowed(err)
	case (err == nil || errors.As(err, &stepUp)) && t.repeated:
		if t.counts(t.repeatedRun, err) {
			t.countClient(ctx, 1)
		}
	case err == nil || errors.As(err, &stepUp):
		if isNew := l.verified.add(t.credential, l.options.Now()); isNew {
			t.returnToClient(ctx)
		}
	case errors.Is(err, core.ErrInvalid) && !errors.Is(err, core.ErrUnsettled):
		if !t.counts(t.run, err) {
			return
		}
		l.options.Counters.Failed.Add(1)
		if !errors.Is(err, authn.ErrElsewhere) { // it is good, and others may use it where they may
			l.verified.remove(t.credential)
			l.count(ctx, l.options.Credentials, t.credential, 1)
		}
		if wait := t.countClient(ctx, 1); wait > 0 {
			l.say(&l.said.limited, "failed attempts reach the limit: requests from this address get 429 unless their credential is known to be good. If many clients come from it, have the gateway tell them apart (trusted proxies), or raise failed_attempts.count",
				"address", t.peer.String(), "count", l.options.Rate.Count, "time_window", l.options.Rate.Window.String())
		}
	}
}

// run names the runs of a request that fails. Its id is asked for anyway.
func (t *try) run() (k secondrun.Key, known bool) {
	return secondrun.Name(t.limit.options.Hash, t.call.Request, string(t.credential[:]))
}

// repeatedRun names those of one that does not fail, and counts all the same.
func (t *try) repeatedRun() (k secondrun.Key, known bool) {
	return secondrun.Name(t.limit.options.Hash, t.call.Request, string(t.credential[:]), "repeated")
}

// counts reports whether this is the first run of the request, which alone counts.
func (t *try) counts(run func() (secondrun.Key, bool), err error) bool {
	k, known := run()
	return !known || t.limit.counted.Put(k, err, 1)
}

// firstRefusal is that of the first run of a request: what it has used up does not count
// against the second one.
func (t *try) firstRefusal() error {
	if k, known := t.run(); known {
		if first, found := t.limit.counted.Get(k); found {
			return first
		}
	}
	return t.refusal
}

// settleAllowed counts for metrics alone.
func (t *try) settleAllowed(err error) {
	if errors.Is(err, core.ErrInvalid) && !errors.Is(err, core.ErrUnsettled) {
		t.limit.options.Counters.Failed.Add(1)
		t.limit.options.Counters.Allowed.Add(1)
	}
}

func (t *try) returnToClient(ctx context.Context) {
	if !t.peer.Known() || t.limit.options.Clients == nil {
		return
	}
	t.limit.survive(func() (time.Duration, error) {
		return 0, t.limit.options.Clients.Return(ctx, t.client, t.credential, perGood)
	})
}

func (t *try) countClient(ctx context.Context, n int) time.Duration {
	if !t.peer.Known() {
		return 0
	}
	return t.limit.count(ctx, t.limit.options.Clients, t.client, n)
}

func (l *Limit) count(ctx context.Context, s Store, k Key, n int) time.Duration {
	if s == nil {
		return 0
	}
	return l.survive(func() (time.Duration, error) { return s.Count(ctx, k, n) })
}

// survive counts failures of a store, a panic among them. What the store says beside
// its error counts.
func (l *Limit) survive(call func() (time.Duration, error)) (wait time.Duration) {
	defer func() {
		if recover() != nil {
			l.options.Counters.StoreErrors.Add(1)
		}
	}()
	wait, err := call()
	if err != nil {
		l.options.Counters.StoreErrors.Add(1)
	}
	return wait
}

// say logs a line, once in a window.
func (l *Limit) say(last *atomic.Int64, line string, args ...any) {
	now, before := l.options.Now().UnixNano(), last.Load()
	if (before == 0 || now-before >= int64(max(l.options.Rate.Window, time.Minute))) && last.CompareAndSwap(before, now) {
		l.options.Log.Warn(line, args...)
	}
}
