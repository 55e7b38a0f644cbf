package secondrun_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"gatehouse/core"
	"gatehouse/core/keyedhash"
	"gatehouse/core/secondrun"
)

func request(id string, change func(*core.Request)) *core.Call {
	r := &core.Request{
		ID: id, RunsTwice: true, Method: "POST", Target: "/callback?code=1", Host: "a.test",
		Header: []core.Header{{Name: "Cookie", Value: "a=1"}, {Name: "Authorization", Value: "Bearer ada"}, {Name: "Cookie", Value: "b=2"}},
	}
	if change != nil {
		change(r)
	}
	return &core.Call{Request: r, Path: "/callback"}
}

// counter is an endpoint that responds with how often it was called.
type counter struct {
	calls atomic.Int64
	then  func(ctx context.Context, n int64, body []byte) (core.Response, error)
}

func (c *counter) Respond(ctx context.Context, _ *core.Call, body []byte) (core.Response, error) {
	n := c.calls.Add(1)
	if c.then != nil {
		return c.then(ctx, n, body)
	}
	header := slices.Grow([]core.Header{{Name: "Set-Cookie", Value: fmt.Sprint("run=", n)}}, 8)
	return core.Response{Status: 200, Header: header, Body: fmt.Append(nil, n)}, nil
}

func around(s *secondrun.Answers, c *counter) core.EndpointHandler {
	return s.Around([32]byte{1}, []core.Endpoint{{Path: "/callback", Handler: c}})[0].Handler
}

func TestSecondRunOfARequestGetsTheAnswerOfTheFirst(t *testing.T) {
	c := &counter{}
	h := around(secondrun.NewAnswers(), c)
	for range 3 {
		got, err := h.Respond(t.Context(), request("a", func(r *core.Request) {
			slices.SortStableFunc(r.Header, func(a, b core.Header) int { return strings.Compare(b.Name, a.Name) }) // a gateway's tables have no order
		}), []byte("body"))
		if err != nil || string(got.Body) != "1" || got.Header[0].Value != "run=1" || len(got.Header) != 1 {
			t.Fatalf("%+v, %v", got, err)
		}
		_ = append(got.Header, core.Header{Name: "X-Frame-Options", Value: "DENY"}) // as others add to it
		if got, err := h.Respond(t.Context(), request("a", nil), []byte("body")); err != nil || string(got.Body) != "1" {
			t.Fatalf("%+v, %v", got, err)
		}
	}
}

// Whoever could choose the id of a request, by a header that a proxy passes on or by a fault
// of a gateway, still gets no answer to what another one has asked.
func TestNobodyGetsTheAnswerToAnotherRequest(t *testing.T) {
	c := &counter{}
	s := secondrun.NewAnswers()
	h := around(s, c)
	if _, err := h.Respond(t.Context(), request("a", nil), []byte("body")); err != nil {
		t.Fatal(err)
	}
	header := func(lines ...core.Header) func(*core.Request) {
		return func(r *core.Request) { r.Header = lines }
	}
	for about, change := range map[string]func(*core.Request){
		"another id":                          func(r *core.Request) { r.ID = "b" },
		"no id":                               func(r *core.Request) { r.ID = "" },
		"an id that is none":                  func(r *core.Request) { r.ID = "a a" },
		"an id that a client may have chosen": func(r *core.Request) { r.RunsTwice = false },
		"another method":                      func(r *core.Request) { r.Method = "GET" },
		"another target":                      func(r *core.Request) { r.Target = "/callback?code=2" },
		"another credential in the target":    func(r *core.Request) { r.Parameter.Value = "ada" },
		"another host":                        func(r *core.Request) { r.Host = "b.test" },
		"another credential":                  func(r *core.Request) { r.Header[1].Value = "Bearer eve" },
		"no cookie":                           header(core.Header{Name: "Authorization", Value: "Bearer ada"}),
		"cookies in another order":            func(r *core.Request) { r.Header[0], r.Header[2] = r.Header[2], r.Header[0] },
		"one line more":                       func(r *core.Request) { r.Header = append(r.Header, core.Header{Name: "X", Value: ""}) },
		"a line that ends in another place":   func(r *core.Request) { r.Header[0] = core.Header{Name: "Cooki", Value: "ea=1"} },
	} {
		before := c.calls.Load()
		if got, err := h.Respond(t.Context(), request("a", change), []byte("body")); err != nil || c.calls.Load() != before+1 || string(got.Body) == "1" {
			t.Errorf("%s: %+v, %v", about, got, err)
		}
	}
	if got, err := h.Respond(t.Context(), request("a", nil), []byte("other")); err != nil || string(got.Body) == "1" {
		t.Errorf("another body: %+v, %v", got, err)
	}
	other := s.Around([32]byte{2}, []core.Endpoint{{Path: "/callback", Handler: c}})[0].Handler
	if got, err := other.Respond(t.Context(), request("a", nil), []byte("body")); err != nil || string(got.Body) == "1" {
		t.Errorf("the endpoint of another configuration: %+v, %v", got, err)
	}
}

func TestSecondRunWaitsForTheFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &counter{then: func(context.Context, int64, []byte) (core.Response, error) {
			time.Sleep(10 * time.Second)
			return core.Response{Status: 200, Body: []byte("first")}, nil
		}}
		h := around(secondrun.NewAnswers(), c)
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				if got, err := h.Respond(t.Context(), request("a", nil), nil); err != nil || string(got.Body) != "first" {
					t.Errorf("%+v, %v", got, err)
				}
			})
		}
		synctest.Wait()
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if got, err := h.Respond(short, request("a", nil), nil); err == nil || got.Status != 0 || errors.Is(err, core.ErrInvalid) {
			t.Errorf("a run that cannot wait: %+v, %v", got, err)
		}
		all.Wait()
		if n := c.calls.Load(); n != 1 {
			t.Errorf("it ran %d times", n)
		}
	})
}

func TestFirstRunThatFailedIsNotTriedAgain(t *testing.T) {
	fault := fmt.Errorf("%w: the code was refused", core.ErrInvalid)
	for about, then := range map[string]func(context.Context, int64, []byte) (core.Response, error){
		"a refusal": func(context.Context, int64, []byte) (core.Response, error) { return core.Response{}, fault },
		"a panic":   func(context.Context, int64, []byte) (core.Response, error) { panic("boom") },
		"a long one": func(context.Context, int64, []byte) (core.Response, error) {
			return core.Response{Status: 200, Body: make([]byte, 2<<20)}, nil
		},
	} {
		c := &counter{then: then}
		h := around(secondrun.NewAnswers(), c)
		func() {
			defer func() { _ = recover() }()
			_, _ = h.Respond(t.Context(), request("a", nil), nil)
		}()
		got, err := h.Respond(t.Context(), request("a", nil), nil)
		if c.calls.Load() != 1 || err == nil || got.Status != 0 || (about == "a refusal") != errors.Is(err, core.ErrInvalid) {
			t.Errorf("%s: %d calls, %+v, %v", about, c.calls.Load(), got, err)
		}
	}
}

// What is kept holds tokens: it is gone after a while, whether or not anybody comes.
func TestAnswersAreForgottenAfterAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		results := secondrun.NewResults[string](10, 100)
		key := func(n byte) secondrun.Key { return secondrun.Key{n} }
		results.Put(key(1), "a", 1)
		time.Sleep(secondrun.KeepFor / 2)
		results.Put(key(2), "b", 1)
		time.Sleep(secondrun.KeepFor/2 - 1)
		if _, found := results.Get(key(1)); !found {
			t.Error("forgotten too early")
		}
		time.Sleep(2 * time.Nanosecond)
		synctest.Wait()
		if _, found := results.Get(key(1)); found {
			t.Error("kept for too long")
		}
		if _, found := results.Get(key(2)); !found {
			t.Error("one is forgotten with another")
		}
		time.Sleep(secondrun.KeepFor)
		synctest.Wait()
		if _, found := results.Get(key(2)); found {
			t.Error("the second one is kept for too long")
		}
	})
}

// Many requests of a stranger push out old answers, and take no more room.
func TestFloodOfRequestsDoesNotGrowWhatIsKept(t *testing.T) {
	results := secondrun.NewResults[string](4, 100)
	key := func(n int) secondrun.Key { return secondrun.Key{byte(n), byte(n >> 8)} }
	held := func(among int) (n int) {
		for i := range among {
			if _, found := results.Get(key(i)); found {
				n++
			}
		}
		return n
	}
	for i := range 1000 {
		if !results.Put(key(i), "x", 10) || results.Put(key(i), "y", 10) {
			t.Fatal("the first one is not the first, or the second one is")
		}
		if n := held(i + 1); n > 4 {
			t.Fatalf("%d are kept", n)
		}
	}
	results.Put(key(1000), "heavy", 90)
	if n := held(1001); n != 2 {
		t.Errorf("%d are kept beside a heavy one", n)
	}
	results.Put(key(1001), "too heavy", 101)
	if n := held(1002); n != 0 {
		t.Errorf("%d are kept", n)
	}
}

func TestNamesOfTwoProcessesThatShareASecretAreTheSame(t *testing.T) {
	name := func(secret string) secondrun.Key {
		k, known := secondrun.Name(keyedhash.New([]byte(secret)), request("a", nil).Request)
		if !known {
			t.Fatal("the request has no name")
		}
		return k
	}
	first := name("fleet")
	if first != name("fleet") || first == name("other") {
		t.Error("the name does not depend on the secret alone")
	}
}
