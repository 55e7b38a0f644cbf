package config

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"gatehouse/core"
	"gatehouse/core/coretest"
)

// askingBench is a gate with a fake decision point that says yes at once, over a real socket.
type askingBench struct {
	gate   *core.Gate
	bearer core.Header
	server *httptest.Server
	asked  int // questions come one after the other
}

func newAskingBench(b *testing.B) *askingBench {
	a := &askingBench{}
	a.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		a.asked++
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"decision":true}`)
	}))
	b.Cleanup(a.server.Close)
	clock := coretest.NewClock()
	issuer := coretest.NewIssuer(b, clock)
	var err error
	a.gate, err = NewBuilder(BuilderOptions{Now: clock.Now}).Gate(fmt.Appendf(nil, "jwt: {issuers: [{issuer: %q, insecure_any_audience: true}], cache_ttl: 3600}\nauthzen: {evaluation_endpoint: %q, http: {timeout: 30}}\npermission_table: |\n  %s\n",
		issuer.URL, a.server.URL+"/access/v1/evaluation", strings.ReplaceAll(askingTable, "\n", "\n  ")))
	if err != nil {
		b.Fatal(err)
	}
	a.bearer = core.Header{Name: "Authorization", Value: "Bearer " + issuer.Token(map[string]any{"sub": "ada", "scope": "documents reports"})}
	return a
}

func (a *askingBench) decide(b *testing.B, target string) {
	r := core.Request{Method: "GET", Target: target, Host: "api.example.test", Header: []core.Header{a.bearer}}
	if d := a.gate.Check(b.Context(), &r); d.Outcome != core.Allow {
		b.Fatal(d.Cause)
	}
}

// call asks by net/http alone.
func (a *askingBench) call(b *testing.B) {
	const question = `{"subject":{"type":"user","id":"ada"},"action":{"name":"view"},"resource":{"type":"document","id":"7"}}`
	r, err := http.NewRequestWithContext(b.Context(), http.MethodPost, a.server.URL+"/access/v1/evaluation", strings.NewReader(question))
	if err != nil {
		b.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	response, err := a.server.Client().Do(r)
	if err != nil {
		b.Fatal(err)
	}
	defer response.Body.Close()
	if text, err := io.ReadAll(response.Body); err != nil || string(text) != `{"decision":true}` {
		b.Fatal(err, string(text))
	}
}

// BenchmarkAsk is a whole decision on a JWT that is remembered: one that asks nobody, one
// whose answer is remembered, one that asks each time; beside the bare call to the same
// decision point. The allocations are also those of the decision point, which is in this
// process.
func BenchmarkAsk(b *testing.B) {
	for _, c := range []struct {
		name  string
		run   func(a *askingBench, b *testing.B, i int)
		asked func(n int) int // how often in n rounds and one before
	}{
		{"bare call", func(a *askingBench, b *testing.B, _ int) { a.call(b) }, func(n int) int { return n + 1 }},
		{"nothing to ask", func(a *askingBench, b *testing.B, _ int) { a.decide(b, "/reports") }, func(int) int { return 0 }},
		{"warm", func(a *askingBench, b *testing.B, _ int) { a.decide(b, "/documents/7") }, func(int) int { return 1 }},
		{"cold", func(a *askingBench, b *testing.B, i int) { a.decide(b, fmt.Sprint("/documents/", i)) }, func(n int) int { return n + 1 }},
	} {
		b.Run(c.name, func(b *testing.B) {
			a := newAskingBench(b)
			c.run(a, b, -1) // has the token remembered, and the connection made
			n := 0
			b.ReportAllocs()
			for b.Loop() {
				c.run(a, b, n)
				n++
			}
			if want := c.asked(n); a.asked != want {
				b.Fatalf("asked %d times, want %d", a.asked, want)
			}
		})
	}
}
