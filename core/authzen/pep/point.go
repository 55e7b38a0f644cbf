// Package pep asks a decision point (OpenID AuthZEN Authorization API 1.0) on behalf of the
// gate, which is the policy enforcement point: in one bounded call, behind a cache of
// answers by the content of their questions.
package pep

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"

	"gatehouse/core"
	"gatehouse/core/authn/idp"
	"gatehouse/core/authzen"
	"gatehouse/core/cache"
	"gatehouse/core/fair"
	"gatehouse/core/keyedhash"
	"gatehouse/core/permission/ask"
)

// Options of a Point.
type Options struct {
	// Identifier is that of the decision point, whose metadata name its endpoints; without
	// metadata they are at the default paths below it.
	Identifier string
	// Evaluation and Evaluations are the endpoints in the place of the identifier. Without
	// the second, several questions are asked one after the other.
	Evaluation, Evaluations string
	// Header is sent with every question; Secrets are those in it, which no log may show.
	Header  http.Header
	Secrets []string
	// Client calls the decision point, at most for Timeout.
	Client  *idp.Client
	Timeout time.Duration
	// TTL is how long an answer is used again, counted from when it was asked for; 0: never.
	TTL time.Duration
	// Limits bound what is kept, separately of admissions and denials.
	Limits cache.Limits
	// Counters count questions.
	Counters *Counters
	// Log gets lines about metadata.
	Log *slog.Logger
	// Now is the clock.
	Now func() time.Time
}

// Point is a decision point. It is safe for concurrent use.
type Point struct {
	options         Options
	metadata        *idp.Kept[endpoints] // nil: the endpoints are configured
	configured      endpoints
	names           *keyedhash.Hash
	allowed, denied *cache.Memory
	flights         singleflight.Group
}

var _ ask.Decider = (*Point)(nil)

// New makes a point. Nothing is called yet.
func New(o Options) (*Point, error) {
	p := &Point{options: o, configured: endpoints{o.Evaluation, o.Evaluations}, names: keyedhash.New(nil)}
	if err := p.find(); err != nil {
		return nil, err
	}
	if o.Client == nil || o.Counters == nil {
		return nil, errors.New("no HTTP client, or no counters")
	}
	var err error
	if p.allowed, err = cache.NewMemory(o.Limits, o.Now); err != nil {
		return nil, err
	}
	p.denied, err = cache.NewMemory(o.Limits, o.Now)
	return p, err
}

// Counters are for metrics: Hits are questions whose answer was kept, Misses those that were
// asked. They only grow.
type Counters struct{ Hits, Misses atomic.Uint64 }

// Kept are the admissions and the denials that are kept.
func (p *Point) Kept() (allowed, denied cache.StoreStats) { return p.allowed.Stats(), p.denied.Stats() }

// question is one with the text by which it is known.
type question struct {
	authzen.Evaluation
	text []byte
	key  cache.Key
}

// Decide answers questions about a call: those that are not remembered in one call to the
// decision point. Without all answers there are none.
func (p *Point) Decide(ctx context.Context, call *core.Call, list []authzen.Evaluation) ([]ask.Answer, error) {
	questions := make([]question, len(list))
	answers := make([]ask.Answer, len(list))
	var unknown []int
	for i := range list {
		text, err := list[i].Encode()
		if err != nil {
			return nil, fmt.Errorf("decision point: %w", err)
		}
		questions[i] = question{list[i], text, cache.Key(p.names.Sum(string(text)))}
		known := false
		if answers[i], known = p.kept(ctx, questions[i].key); !known {
			unknown = append(unknown, i)
		}
	}
	p.options.Counters.Hits.Add(uint64(len(list) - len(unknown)))
	if len(unknown) == 0 {
		return answers, nil
	}
	p.options.Counters.Misses.Add(uint64(len(unknown)))
	asked := make([]question, len(unknown))
	for n, i := range unknown {
		asked[n] = questions[i]
	}
	learned, err := p.await(fair.WithCaller(ctx, fair.Caller{Peer: fair.PeerOf(call.ClientAddr())}), call.ID, asked)
	if err != nil {
		return nil, err
	}
	for n, i := range unknown {
		answers[i] = learned[n]
	}
	return answers, nil
}

// await has questions asked. Callers with the same questions share a call.
func (p *Point) await(ctx context.Context, requestID string, questions []question) ([]ask.Answer, error) {
	var flight strings.Builder
	for i := range questions {
		flight.Write(questions[i].key[:])
	}
	done := p.flights.DoChan(flight.String(), func() (any, error) {
		return p.fly(context.WithoutCancel(ctx), requestID, questions)
	})
	select {
	case r := <-done:
		if r.Err != nil {
			return nil, r.Err
		}
		return r.Val.([]ask.Answer), nil
	case <-ctx.Done():
		return nil, fmt.Errorf("the decision point did not respond in time: %w", ctx.Err())
	}
}

// fly asks, for all that wait for the same answers, and keeps those. An answer is as old
// as its question.
func (p *Point) fly(ctx context.Context, requestID string, questions []question) (answers []ask.Answer, err error) {
	defer func() { // it runs on a goroutine of its own, where a panic would end the process
		if v := recover(); v != nil {
			answers, err = nil, errors.New("panic while asking the decision point: "+core.Thrown(v))
		}
	}()
	asked := p.options.Now()
	ctx, cancel := context.WithTimeout(ctx, p.options.Timeout)
	defer cancel()
	decisions, err := p.ask(ctx, requestID, questions)
	if err != nil {
		return nil, fmt.Errorf("decision point: %w", err)
	}
	answers = make([]ask.Answer, len(questions))
	for i, d := range decisions {
		answers[i] = ask.Answer{Allowed: d.Decision, Said: said(d.Context)}
		p.keep(ctx, questions[i].key, answers[i], asked)
	}
	return answers, nil
}

// maxSaid bounds what is kept of the context of an answer, in bytes.
const maxSaid = 1024

// said is the context of an answer as the log shows it.
func said(context map[string]any) string {
	if len(context) == 0 {
		return ""
	}
	text, err := json.Marshal(context)
	switch {
	case err != nil:
		return ""
	case len(text) > maxSaid:
		return strings.ToValidUTF8(string(text[:maxSaid]), "") + "..."
	}
	return string(text)
}

func (p *Point) kept(ctx context.Context, key cache.Key) (ask.Answer, bool) {
	if e, known, _ := p.denied.Get(ctx, key); known { // never fails
		return ask.Answer{Said: strings.TrimPrefix(e.Refusal, denial)}, true
	}
	e, known, _ := p.allowed.Get(ctx, key)
	if !known || e.Principal == nil {
		return ask.Answer{}, false
	}
	return ask.Answer{Allowed: true, Said: e.Principal.Subject}, true
}

// denial is before what is kept of a denial, which is never empty.
const denial = "denied "

// keep remembers an answer. The last one counts: a denial takes the place of an admission,
// and the other way round.
func (p *Point) keep(ctx context.Context, key cache.Key, a ask.Answer, asked time.Time) {
	e := cache.Entry{Refusal: denial + a.Said, Since: asked, Until: asked.Add(p.options.TTL)}
	to, from := p.denied, p.allowed
	if a.Allowed {
		e.Principal, e.Refusal = &core.Principal{Subject: a.Said}, ""
		to, from = p.allowed, p.denied
	}
	if _, known, _ := from.Get(ctx, key); known { // never fails
		_ = from.Set(ctx, key, cache.Entry{Until: asked})
	}
	if e.Until.After(p.options.Now()) {
		_ = to.Set(ctx, key, e)
	}
}
