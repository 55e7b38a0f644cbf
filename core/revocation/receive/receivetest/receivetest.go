// Package receivetest sends messages to an endpoint of core/revocation/receive, by a
// gate, for tests of the protocols.
package receivetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"gatehouse/core"
	"gatehouse/core/revocation"
	"gatehouse/core/revocation/receive"
)

// Path is that of the endpoint.
const Path = "/revocations"

// Rig is a gate with one endpoint, and what it publishes to.
type Rig struct {
	// Publisher keeps what was published.
	Publisher
	// Counters count messages.
	Counters receive.Counters

	t    testing.TB
	gate *core.Gate
	mu   sync.Mutex
	log  bytes.Buffer
}

// New makes a rig. The options need a protocol.
func New(t testing.TB, o receive.Options) *Rig {
	t.Helper()
	r := &Rig{t: t}
	o.Source, o.Path, o.Publisher, o.Counters, o.Log = "test", Path, &r.Publisher, &r.Counters, slog.New(slog.NewTextHandler(r, nil))
	endpoint, err := receive.Endpoint(o)
	if err != nil {
		t.Fatal(err)
	}
	r.gate, err = core.New(core.Options{
		Endpoints: []core.Endpoint{endpoint}, Extractor: nobody{}, Authenticator: nobody{}, Policy: nobody{}, Identity: nobody{}, Realm: "test",
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// Write adds to the log.
func (r *Rig) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.log.Write(p)
}

// Log is what was logged.
func (r *Rig) Log() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.log.String()
}

// Post sends a message with header lines, each a name and a value.
func (r *Rig) Post(body string, header ...string) core.Decision {
	return r.Send("POST", Path, body, header...)
}

// Send sends any request.
func (r *Rig) Send(method, target, body string, header ...string) core.Decision {
	lines := make([]core.Header, 0, len(header)/2)
	for i := 0; i < len(header); i += 2 {
		lines = append(lines, core.Header{Name: header[i], Value: header[i+1]})
	}
	return r.gate.Check(r.t.Context(), &core.Request{
		Method: method, Target: target, Host: "gateway.example.test", Header: lines,
		AskBody: func(limit int) ([]byte, error) {
			if len(body) > limit {
				return nil, fmt.Errorf("%w: more than %d bytes", core.ErrBodyTooLarge, limit)
			}
			return []byte(body), nil
		},
	})
}

// Answer is a decision in a line: the status, the media type and the body.
func Answer(d core.Decision) string {
	kind := ""
	for _, h := range d.Header {
		if h.Name == "Content-Type" {
			kind = " " + h.Value
		}
	}
	if d.Shown != nil {
		return fmt.Sprint(d.Status)
	}
	return fmt.Sprintf("%d%s %s", d.Status, kind, d.Body)
}

// Publisher keeps events in memory.
type Publisher struct {
	mu     sync.Mutex
	events []revocation.Event
	down   bool
}

var errDown = errors.New("the store is away")

// Publish implements revocation.Publisher.
func (p *Publisher) Publish(_ context.Context, events ...revocation.Event) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.down {
		return errDown
	}
	p.events = append(p.events, events...)
	return nil
}

// Down has it fail, or not any more.
func (p *Publisher) Down(down bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down = down
}

// Take returns what was published since the last time, in a line for each event: what
// it does, its kind, its value, its issuer and its moment.
func (p *Publisher) Take() (lines []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range p.events {
		action, at := "refuse", "now"
		if e.Verify {
			action = "verify"
		}
		if !e.At.IsZero() {
			at = e.At.UTC().Format(time.RFC3339)
		}
		lines = append(lines, fmt.Sprintf("%s %s %q of %q at %s", action, e.Kind, e.Value, e.Issuer, at))
	}
	p.events = nil
	return lines
}

// IDs are the ids of what was published since the last Take.
func (p *Publisher) IDs() (ids []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range p.events {
		ids = append(ids, e.ID)
	}
	return ids
}

// nobody stands for the parts of a gate that are not asked.
type nobody struct{}

func (nobody) Extract(*core.Request) (core.Credential, error) {
	return core.Credential{}, core.ErrMissing
}

func (nobody) Authenticate(context.Context, *core.Call, core.Credential) (core.Authentication, error) {
	return core.Authentication{}, core.ErrInvalid
}

func (nobody) Match(context.Context, *core.Call) core.Access { return nil }
func (nobody) Permissions(*core.Principal) []string          { return nil }
func (nobody) Disguised(*core.Request) (string, bool)        { return "", false }

func (nobody) Upstream(context.Context, *core.Call, *core.Principal, core.Policy) (core.Upstream, error) {
	return core.Upstream{}, errDown
}
