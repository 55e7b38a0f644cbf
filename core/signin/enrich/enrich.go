// Package enrich asks a service of the team's own who somebody is to it that an
// identity provider has identified: the service finds or creates the user, and says
// which roles, permissions and claims the user has.
//
// It is one bounded call, of one person at a time. Without its response nobody is let
// in.
package enrich

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"golang.org/x/sync/singleflight"

	"gatehouse/core"
	"gatehouse/core/authn/idp"
	"gatehouse/core/cache"
	"gatehouse/core/keyedhash"
)

// Person is whom an identity provider has identified.
type Person struct {
	// Provider is its name in the configuration.
	Provider string
	// Issuer and Subject name the person at the provider.
	Issuer, Subject string
	// Claims are those that the provider says of the person, verified. Numbers are
	// json.Number.
	Claims map[string]any
}

// Options of an Enricher.
type Options struct {
	// URL of the service.
	URL string
	// Secret is sent to the service as a bearer token; empty: none is.
	Secret string
	// Send names the claims that the service gets, beside iss and sub.
	Send []string
	// Issuer is that of subjects which the service names. Default: scheme and host of
	// the URL.
	Issuer string
	// Client calls the service.
	Client *idp.Client
	// TTL is how long a response is used again for the same person with the same claims;
	// 0: never.
	TTL time.Duration
	// Limits bound what is kept.
	Limits cache.Limits
	// Now is the clock. Default time.Now.
	Now func() time.Time
}

// Enricher is safe for concurrent use.
type Enricher struct {
	options Options
	kept    *cache.Memory
	names   *keyedhash.Hash
	flights singleflight.Group
}

// New makes an enricher. Nothing is called yet.
func New(o Options) (*Enricher, error) {
	u, err := idp.ParseURL(o.URL)
	switch {
	case err != nil:
		return nil, fmt.Errorf("url %w", err)
	case o.Client == nil:
		return nil, errors.New("no HTTP client")
	case o.TTL < 0:
		return nil, errors.New("the time for which responses are kept is negative")
	}
	o.Issuer = cmp.Or(o.Issuer, u.Scheme+"://"+u.Host)
	if o.Now == nil {
		o.Now = time.Now
	}
	kept, err := cache.NewMemory(o.Limits, o.Now)
	return &Enricher{options: o, kept: kept, names: keyedhash.New(nil)}, err
}

// DeniedError is of a person whom the service refuses. It wraps core.ErrForbidden.
type DeniedError struct {
	// Reason is, for the log, who is refused and what the service says.
	Reason string
}

func (e *DeniedError) Error() string {
	return "the service of enrich refuses " + e.Reason
}

// Is makes errors.Is(err, core.ErrForbidden) true.
func (*DeniedError) Is(target error) bool { return target == core.ErrForbidden }

// refusedFor is how long a refusal is used again: somebody who is let in after all gets
// in soon.
const refusedFor = 5 * time.Second

// Enrich asks the service about a person, or uses what it has said lately. The error is
// a *DeniedError where the service refuses the person; any other means that nobody could
// tell.
func (e *Enricher) Enrich(ctx context.Context, p Person) (Result, error) {
	body, err := e.body(p)
	if err != nil {
		return Result{}, err
	}
	key := cache.Key(e.names.Sum(string(body)))
	if r, err, known := e.known(ctx, key); known {
		return r, err
	}
	done := e.flights.DoChan(string(key[:]), func() (any, error) {
		if r, err, known := e.known(ctx, key); known { // a flight ended between the look and now
			return r, err
		}
		return e.fly(context.WithoutCancel(ctx), key, body, p)
	})
	select {
	case r := <-done:
		if r.Err != nil {
			return Result{}, r.Err
		}
		return r.Val.(Result), nil
	case <-ctx.Done():
		return Result{}, fmt.Errorf("the service of enrich did not respond in time: %w", ctx.Err())
	}
}

// known is what is kept.
func (e *Enricher) known(ctx context.Context, key cache.Key) (r Result, err error, known bool) {
	entry, known, _ := e.kept.Get(ctx, key) // never fails
	switch {
	case !known:
		return Result{}, nil, false
	case entry.Principal == nil:
		return Result{}, &DeniedError{entry.Refusal}, true
	}
	return resultOf(entry.Principal), nil, true
}

// fly asks, for all that wait for the same response, and keeps that. The client bounds
// how long it takes.
func (e *Enricher) fly(ctx context.Context, key cache.Key, body []byte, p Person) (r Result, err error) {
	defer func() { // it runs on a goroutine of its own, where a panic would end the process
		if v := recover(); v != nil {
			r, err = Result{}, errors.New("panic while asking the service of enrich: "+core.Thrown(v))
		}
	}()
	r, err = e.ask(ctx, body)
	now := e.options.Now()
	var denied *DeniedError
	switch {
	case errors.As(err, &denied):
		denied.Reason = fmt.Sprintf("sub %.255q of provider %.80q: %s", p.Subject, p.Provider, denied.Reason)
		e.keep(ctx, key, cache.Entry{Refusal: denied.Reason, Since: now, Until: now.Add(min(refusedFor, e.options.TTL))})
	case err == nil:
		e.keep(ctx, key, cache.Entry{Principal: r.principal(), Since: now, Until: now.Add(e.options.TTL)})
	}
	return r, err
}

func (e *Enricher) keep(ctx context.Context, key cache.Key, entry cache.Entry) {
	if entry.Until.After(entry.Since) {
		_ = e.kept.Set(ctx, key, entry) // never fails
	}
}

// body is what the service gets. The same person with the same claims is always the
// same bytes.
func (e *Enricher) body(p Person) ([]byte, error) {
	if p.Issuer == "" || p.Subject == "" {
		return nil, errors.New("enrich: a person needs an issuer and a subject")
	}
	sent := map[string]any{}
	for _, name := range e.options.Send {
		if value, ok := p.Claims[name]; ok && value != nil {
			sent[name] = value
		}
	}
	sent["iss"], sent["sub"] = p.Issuer, p.Subject
	return json.Marshal(map[string]any{"provider": p.Provider, "claims": sent})
}

// maxResponse bounds what the service says, in bytes.
const maxResponse = 64 << 10

func (e *Enricher) ask(ctx context.Context, body []byte) (Result, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, e.options.URL, bytes.NewReader(body))
	if err != nil {
		return Result{}, errors.New("enrich: the service cannot be asked")
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json, application/problem+json")
	if e.options.Secret != "" {
		req.Header.Set("Authorization", "Bearer "+e.options.Secret)
	}
	response, err := e.options.Client.Do(req, maxResponse)
	if err == nil {
		var r Result
		if r, err = read(response); err == nil {
			return r.of(e.options.Issuer), nil
		}
	}
	var denied *DeniedError
	if errors.As(err, &denied) {
		return Result{}, err
	}
	return Result{}, fmt.Errorf("enrich: %w", err)
}
