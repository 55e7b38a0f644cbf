package exchange

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"

	"gatehouse/core"
)

// recorder keeps the reasons of all decisions, in their order.
type recorder struct {
	mu      sync.Mutex
	reasons []string
}

func (*recorder) Begin(ctx context.Context, _ *core.Request) context.Context { return ctx }

func (r *recorder) End(_ context.Context, e core.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.reasons = append(r.reasons, e.Decision.Outcome.String()+" "+e.Decision.Reason)
}

func (r *recorder) taken() (reasons []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	reasons, r.reasons = r.reasons, nil
	return reasons
}

const mapping = "consumers: [{issuer: 'https://id.test', consumer_claim: sub}]\n"

// mapped is a connection to a program whose callers are consumers.
func mapped(t *testing.T, r *recorder, more string) (*client, name) {
	t.Helper()
	c := serveWith(t, r).dial(t, hello)
	text := strings.Replace(settings(t), "insecure_any_audience", "issuer: 'https://id.test', insecure_any_audience", 1) + more
	n, problem := c.handOver(text)
	if problem != "" {
		t.Fatal(problem)
	}
	return c, n
}

// What the gateway refuses after the decision is a refusal in the log, in the metrics and
// for the client, once.
func TestCallerWithoutAConsumerIsRecordedAsRefused(t *testing.T) {
	r := &recorder{}
	c, n := mapped(t, r, mapping)
	ask := func(target string, header ...core.Header) decision {
		t.Helper()
		got := c.decide(get(n, target, append(header, core.Header{Name: "x_user_id", Value: "admin"}, core.Header{Name: "X_Consumer_ID", Value: "admin"})...))
		if !slices.Contains(got.strip, "X_Consumer_ID") || !slices.Contains(got.strip, "x_user_id") {
			t.Errorf("%s: strips %q", target, got.strip)
		}
		return got
	}
	recorded := func(want ...string) {
		t.Helper()
		if got := r.taken(); !slices.Equal(got, want) {
			t.Errorf("recorded %q, want %q", got, want)
		}
	}
	admitted := ask("/me", bearer)
	if !slices.Equal(admitted.caller, []string{admitted.caller[0], "username", "alice", ""}) {
		t.Errorf("%+v", admitted)
	}
	recorded() // nobody knows yet
	c.send(typeNotFound, "")
	refused := c.decision()
	if refused.outcome != "deny" || refused.reason != "no_consumer" || refused.status != 403 || refused.subject != "alice" || refused.rule != admitted.rule ||
		!slices.Contains(refused.strip, "X_Consumer_ID") || !slices.Contains(refused.strip, "x_user_id") || strings.Contains(refused.body, "alice") {
		t.Errorf("%+v", refused)
	}
	recorded("deny no_consumer")

	ask("/me", bearer)
	c.send(typeNotFound, "the database does not reply")
	if refused := c.decision(); refused.status != 503 || refused.reason != "unavailable" || strings.Contains(refused.body, "database") {
		t.Errorf("%+v", refused)
	}
	recorded("deny unavailable")

	ask("/me", bearer)
	c.send(typeFound, "")
	if got := ask("/public"); got.outcome != "allow" || !slices.Equal(got.caller, []string{""}) {
		t.Errorf("%+v", got)
	}
	recorded("allow allowed", "allow public")
	if got := ask("/me"); got.status != 401 {
		t.Errorf("%+v", got)
	}
	recorded("deny no_credential")
}

// A page for a person comes from the engine as any refusal's.
func TestCallerWithoutAConsumerGetsTheFormOfTheClient(t *testing.T) {
	c, n := mapped(t, &recorder{}, mapping)
	for form, header := range map[string]core.Header{"application/problem+json": {}, "text/html": {Name: "Accept", Value: "text/html"}} {
		r := get(n, "/me", bearer, header)
		if header.Name == "" {
			r.header = r.header[:len(r.header)-1]
		}
		c.decide(r)
		c.send(typeNotFound, "")
		if got := c.decision(); !slices.ContainsFunc(got.header, func(h core.Header) bool { return h.Name == "Content-Type" && strings.HasPrefix(h.Value, form) }) {
			t.Errorf("%s: %+v", form, got)
		}
	}
}

// A caller is never admitted because the gateway does not say what became of the consumer.
func TestGatewayThatDoesNotSayWhetherThereIsAConsumerIsRefused(t *testing.T) {
	for what, then := range map[string]func(*client){
		"it hangs up":               func(c *client) { c.Close() },
		"it hangs up in a message":  func(c *client) { c.Write([]byte{0, 0, 0, 9, typeFound}); c.Close() },
		"it asks for more":          func(c *client) { c.send(typeRequest, "") },
		"it says more than it may":  func(c *client) { c.send(typeFound, "x") },
		"it hands a body over":      func(c *client) { c.send(typeBody, "x") },
		"it says nothing readable":  func(c *client) { c.Write([]byte{0, 0, 0, 0}) },
		"it says a type of its own": func(c *client) { c.send('?', "") },
	} {
		r := &recorder{}
		c, n := mapped(t, r, mapping)
		c.decide(get(n, "/me", bearer))
		then(c)
		if kind, _ := c.receive(); kind != 0 {
			t.Errorf("%s: %q", what, kind)
		}
		var got []string
		for len(got) == 0 && t.Context().Err() == nil {
			got = r.taken()
		}
		if !slices.Equal(got, []string{"deny unavailable"}) {
			t.Errorf("%s: recorded %q", what, got)
		}
	}
}

func TestNobodyIsAskedForWhoIsNoConsumer(t *testing.T) {
	r := &recorder{}
	c, n := mapped(t, r, strings.Replace(mapping, "id.test", "other.test", 1)+"jwt: {issuers: [{issuer: 'https://other.test', audience: [a], jwks_uri: 'https://other.test/keys'}]}\n")
	for range 2 {
		if got := c.decide(get(n, "/me", bearer)); got.outcome != "allow" || len(got.caller) != 1 || got.caller[0] == "" {
			t.Errorf("%+v", got)
		}
	}
	if got := r.taken(); !slices.Equal(got, []string{"allow allowed", "allow allowed"}) {
		t.Errorf("recorded %q", got)
	}
}
