// Package receive takes messages that say what is revoked: what the endpoints for
// identity providers and other systems have in common, whatever the messages look
// like. A message is authenticated first, counts once, and is answered as good only
// when its events are kept, so that a sender that gets anything else tries again.
package receive

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"gatehouse/core"
	"gatehouse/core/authn/attempts"
	"gatehouse/core/cache"
	"gatehouse/core/fair"
	"gatehouse/core/revocation"
	"gatehouse/core/shared"
)

// Protocol reads the messages of one kind of sender and responds as they expect.
type Protocol interface {
	// Read authenticates a message and says what it revokes. What is wrong with the
	// message is a *Refusal; any other error means that this cannot be told now.
	Read(ctx context.Context, call *core.Call, body []byte) (Message, error)
	// Accepted is for a message that counts, or that came before.
	Accepted() core.Response
	// Refused is for a message that does not.
	Refused(*Refusal) core.Response
}

// Message is what a sender says.
type Message struct {
	// ID tells the message from any other of any sender. One that comes twice is one.
	// Empty: the sender does not number its messages.
	ID string
	// Events are revoked; without any, Note says for the log why the message has no
	// effect.
	Events []revocation.Event
	Note   string
}

// Refusal is what is wrong with a message.
type Refusal struct {
	// Status and Code are those of the protocol. Detail is a sentence for the sender.
	Status       int
	Code, Detail string
	// Err is for the log alone; nil: the detail says it.
	Err error
}

func (r *Refusal) Error() string {
	if r.Err == nil {
		return r.Detail
	}
	return r.Err.Error()
}

// Unauthenticated is the refusal of a message whose sender is not known.
func Unauthenticated(err error) *Refusal {
	return &Refusal{Status: http.StatusUnauthorized, Code: "invalid_token", Detail: "The sender is not authenticated.", Err: err}
}

// Options of an endpoint.
type Options struct {
	// Source names the endpoint in events, logs and metrics.
	Source string
	// Path of the endpoint, and how many bytes a message may have.
	Path    string
	MaxBody int
	// Protocol reads the messages.
	Protocol Protocol
	// Publisher keeps the events.
	Publisher revocation.Publisher
	// Rate is how many messages of authenticated senders count; none: any number.
	Rate attempts.Rate
	// Counters count what became of messages; nil: nowhere.
	Counters *Counters
	// Log gets a line for every message that counts, and at most one in a second for
	// those that do not; nil: none.
	Log *slog.Logger
	// Now is the clock. Default time.Now.
	Now func() time.Time
}

const (
	// maxTime bounds the work for one message: keys to fetch, events to keep.
	maxTime = 5 * time.Second
	// slots are how many messages are looked at at once, and perClient of them for
	// one address; waiting others wait for one.
	slots, perClient, waiting = 64, 48, 256
	// maxSeen and keepSeen bound the messages that are known to have come. One that
	// is forgotten makes the same events again.
	maxSeen  = 1 << 14
	keepSeen = time.Hour
)

// endpoint is a core.EndpointHandler.
type endpoint struct {
	options Options
	slots   *fair.Slots
	seen    *cache.Memory
	rate    *attempts.Memory // nil: no limit
	refused limitedLog
}

// Endpoint makes the endpoint of a gate.
func Endpoint(o Options) (core.Endpoint, error) {
	if o.Counters == nil {
		o.Counters = &Counters{}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	e := &endpoint{options: o, refused: limitedLog{log: o.Log, now: o.Now}}
	var err error
	if e.slots, err = fair.NewSlots(fair.Options{Slots: slots, PerClient: perClient, Waiting: waiting}); err != nil {
		return core.Endpoint{}, err
	}
	if e.seen, err = cache.NewMemory(cache.Limits{Entries: maxSeen}, o.Now); err != nil {
		return core.Endpoint{}, err
	}
	if o.Rate.Count > 0 {
		if e.rate, err = attempts.NewMemory(o.Rate, 1, o.Now); err != nil {
			return core.Endpoint{}, err
		}
	}
	return core.Endpoint{Path: o.Path, Methods: []string{http.MethodPost}, MaxBody: o.MaxBody, Handler: e}, nil
}

// Respond answers a message.
func (e *endpoint) Respond(ctx context.Context, call *core.Call, body []byte) (core.Response, error) {
	ctx, cancel := context.WithTimeout(ctx, maxTime)
	defer cancel()
	leave, err := e.slots.Enter(fair.WithCaller(ctx, fair.Caller{Peer: fair.PeerOf(call.ClientAddr())}), "")
	if err != nil {
		e.options.Counters.add(e.options.Source, Limited)
		return core.Response{}, err
	}
	defer leave()
	result, err := e.take(ctx, call, body)
	e.options.Counters.add(e.options.Source, result)
	var refusal *Refusal
	switch {
	case errors.As(err, &refusal):
		e.refused.warn("a message about revocations is refused", "source", e.options.Source, "error", err, "status", refusal.Status, "client", call.ClientAddr())
		return e.options.Protocol.Refused(refusal), nil
	case err != nil:
		e.refused.warn("a message about revocations is not kept: its sender has to send it again", "source", e.options.Source, "error", err)
		return core.Response{}, err
	}
	return e.options.Protocol.Accepted(), nil
}

// take keeps what a message says. Without an error it counts, or has counted before.
func (e *endpoint) take(ctx context.Context, call *core.Call, body []byte) (Result, error) {
	m, err := e.options.Protocol.Read(ctx, call, body)
	var refusal *Refusal
	switch {
	case errors.As(err, &refusal) && refusal.Status == http.StatusUnauthorized:
		return Unknown, err
	case errors.As(err, &refusal):
		return Refused, err
	case err != nil:
		return Failed, err
	}
	key := cache.Key(shared.Digest(m.ID))
	if _, known, _ := e.seen.Get(ctx, key); known && m.ID != "" {
		return Repeated, nil
	}
	if err := e.limit(ctx); err != nil {
		return Limited, err
	}
	if len(m.Events) == 0 {
		e.options.Log.Info("a message about revocations has no effect", "source", e.options.Source, "reason", m.Note)
		return Ignored, nil
	}
	switch err := e.publish(ctx, m); {
	case errors.As(err, &refusal):
		return Refused, err
	case err != nil:
		return Failed, err
	}
	now := e.options.Now()
	_ = e.seen.Set(ctx, key, cache.Entry{Since: now, Until: now.Add(keepSeen)}) // else it makes the same events again
	return Kept, nil
}

func (e *endpoint) limit(ctx context.Context) error {
	if e.rate == nil {
		return nil
	}
	wait, err := e.rate.Count(ctx, attempts.Key{}, 0)
	if err == nil && wait > 0 {
		return &core.Later{Err: fmt.Errorf("%w: messages of %s", core.ErrTooMany, e.options.Source), Wait: wait}
	}
	_, err = e.rate.Count(ctx, attempts.Key{}, 1)
	return err
}

// check refuses what nobody would keep, however often it is sent.
func (e *endpoint) check(event revocation.Event) error {
	now := e.options.Now()
	event.At, event.Until = now, now // which the publisher knows
	if err := event.Check(); err != nil {
		return &Refusal{Status: http.StatusBadRequest, Code: "invalid_request", Detail: err.Error()}
	}
	return nil
}

func (e *endpoint) publish(ctx context.Context, m Message) error {
	if m.ID == "" {
		m.ID = rand.Text()
	}
	for i := range m.Events {
		id := shared.Digest("revocation", m.ID, fmt.Sprint(i))
		m.Events[i].ID, m.Events[i].Source = hex.EncodeToString(id[:16]), e.options.Source
		if err := e.check(m.Events[i]); err != nil {
			return err
		}
	}
	if err := e.options.Publisher.Publish(ctx, m.Events...); err != nil {
		return fmt.Errorf("keep revocations: %w", err)
	}
	for _, event := range m.Events {
		e.options.Log.Info("revoked", "source", event.Source, "kind", string(event.Kind), "value", event.Value, "issuer", event.Issuer,
			"verify", event.Verify, "reason", event.Reason, "id", event.ID)
	}
	return nil
}
