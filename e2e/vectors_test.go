package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"gatehouse/core"
	"gatehouse/core/config"
	"gatehouse/dev/demo"
	"gatehouse/dev/demo/upstream"
	"gatehouse/e2e/credentials"
	"gatehouse/e2e/vector"
)

func suite(t testing.TB) *vector.Suite {
	t.Helper()
	s, err := vector.Load(os.DirFS("vectors"))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// host is a place where the vectors are replayed.
type host struct {
	name   string
	people *credentials.Set
	values vector.Values
	send   func(ctx context.Context, request []byte) (vector.Response, error)
	// upstreams count what arrives there; nil where they are out of sight.
	upstreams map[string]*upstream.Server
	// real says that it is no local gateway: see onRealGateway.
	real bool
}

func gatewayHost(name, address string, people *credentials.Set, upstreams map[string]*upstream.Server) host {
	return host{name: name, people: people, values: people.ValuesAt(address), upstreams: upstreams, send: func(ctx context.Context, request []byte) (vector.Response, error) {
		return vector.Send(ctx, address, request)
	}}
}

// localHosts are the engine in process, both local gateways with the real plugin
// binaries, and the gateways' Lua files in stand-ins.
func localHosts(t *testing.T, s *environment, people *credentials.Set) []host {
	t.Helper()
	hosts := []host{
		coreHost(t, s, people),
		gatewayHost("kong", address(s.kong.URL()), people, s.Upstreams),
		gatewayHost("apisix", address(s.apisix.URL()), people, s.Upstreams),
	}
	for name, lua := range s.lua {
		hosts = append(hosts, gatewayHost(name, lua.Address, people, s.Upstreams))
	}
	return hosts
}

// coreHost builds the gates of the demo's configurations and picks one by the
// prefix of the target, as the gateways' routes do.
func coreHost(t *testing.T, s *environment, people *credentials.Set) host {
	t.Helper()
	builder := config.NewBuilder(config.BuilderOptions{})
	gates := map[string]*core.Gate{}
	for name, settings := range s.Configs() {
		raw, err := json.Marshal(settings)
		if err != nil {
			t.Fatal(err)
		}
		if gates[name], err = builder.Gate(raw); err != nil {
			t.Fatal(err)
		}
	}
	const name = "core.test"
	route := func(target string) (*core.Gate, string) {
		r := routeOf(target)
		return gates[r.Config], r.Upstream
	}
	return host{name: "core", people: people, values: people.ValuesAt(name), send: func(ctx context.Context, request []byte) (vector.Response, error) {
		return vector.Decide(ctx, request, route), nil
	}}
}

// routeOf is the demo's route for a target. Targets that none fits are refused
// by every configuration alike.
func routeOf(target string) demo.Route {
	routes := demo.Routes()
	path, err := core.Canonical(target, core.PathOptions{})
	if err != nil {
		return routes[0]
	}
	for _, r := range routes {
		if path == r.Prefix || strings.HasPrefix(path, r.Prefix+"/") {
			return r
		}
	}
	return routes[0]
}

// replay sends a vector to a host and judges the response. It returns the class.
func replay(t *testing.T, s *vector.Suite, v *vector.Vector, h host) vector.Class {
	t.Helper()
	request, err := v.Bytes(h.values)
	if err != nil {
		t.Error(err)
		return ""
	}
	class := replayBytes(t, s, v, h, request)
	if second := v.Second(); second != nil {
		replayBytes(t, s, second, h, request)
	}
	return class
}

func replayBytes(t *testing.T, s *vector.Suite, v *vector.Vector, h host, request []byte) vector.Class {
	t.Helper()
	before := arrived(h.upstreams)
	response, err := h.send(t.Context(), request)
	if err != nil {
		t.Errorf("%s on %s: %v", v.Source, h.name, err)
		return ""
	}
	after := arrived(h.upstreams)
	if h.upstreams != nil {
		if got, want := after-before, arrivals(response); got != want {
			t.Errorf("%s on %s: %d requests arrived at the upstreams, want %d", v.Source, h.name, got, want)
		}
		if response.Served && response.Upstream == nil {
			response.Upstream = last(h.upstreams[response.Header.Get("X-Service")])
		}
	}
	for _, leak := range leaks(h.people.Secrets, shown(response)) {
		t.Errorf("%s on %s: the response holds %s", v.Source, h.name, leak)
	}
	if (h.real || slices.Contains(vector.StandIns, h.name)) && v.RefusedByNGINX(response) {
		return v.Class
	}
	for _, problem := range s.Judge(v, h.name, request, response, h.values) {
		t.Errorf("%s %q on %s: %s", v.Source, v.Name, h.name, problem)
	}
	return response.Class()
}

// shown is what the client reads of a response, without what the upstream
// repeats of the request.
func shown(a vector.Response) string {
	text := fmt.Sprint(a.Header)
	if !a.Served {
		text += string(a.Body)
	}
	return text
}

// arrivals is how many requests must have reached an upstream.
func arrivals(a vector.Response) int {
	if a.Served {
		return 1
	}
	return 0
}

func arrived(upstreams map[string]*upstream.Server) (n int) {
	for _, u := range upstreams {
		n += u.Hits()
	}
	return n
}

func last(u *upstream.Server) *upstream.Request {
	received := u.Received()
	if len(received) == 0 {
		return nil
	}
	return &received[len(received)-1]
}

// TestVectors replays every vector on every host, and compares the hosts: they
// decide alike, but where a vector says why one cannot.
func TestVectors(t *testing.T) {
	s := shared.get(t)
	vectors := suite(t)
	people := shared.credentials(t)
	hosts := localHosts(t, s, people)
	for _, v := range vectors.Vectors {
		kind := "case"
		if v.Attack {
			kind = "attack"
		}
		t.Run(kind+"/"+v.Name, func(t *testing.T) {
			classes := map[string]vector.Class{}
			for _, h := range hosts {
				classes[h.name] = replay(t, vectors, v, h)
			}
			for name, class := range classes {
				if _, differs := v.Overrides[name]; !differs && class != v.Class {
					t.Errorf("%s decides %s, the others %s", name, class, v.Class)
				}
			}
		})
	}
	t.Run("no credential in any log", func(t *testing.T) {
		for name, lua := range s.lua {
			for _, leak := range leaks(people.Secrets, lua.Log()) {
				t.Errorf("the log of %s holds %s", name, leak)
			}
		}
		for name, log := range s.logs {
			content, err := os.ReadFile(log.Name())
			if err != nil {
				t.Fatal(err)
			}
			text := string(content)
			if strings.Count(text, "reason=") < 100 {
				t.Errorf("the log of %s has hardly a denial in it: there is nothing to search", name)
			}
			for _, leak := range leaks(people.Secrets, text) {
				t.Errorf("the log of %s holds %s", name, leak)
			}
		}
	})
}

func TestVectorsAreManyAndMostlyAttacks(t *testing.T) {
	all := suite(t).Vectors
	attacks := len(slices.DeleteFunc(slices.Clone(all), func(v *vector.Vector) bool { return !v.Attack }))
	if len(all) < 60 || attacks*2 < len(all) {
		t.Errorf("%d vectors, %d of them attacks; want at least 60, and half of them attacks", len(all), attacks)
	}
}

// The identities must know every header that the demo's configurations set,
// or a forged one could slip by the judge.
func TestIdentitiesKnowEveryIdentityHeader(t *testing.T) {
	s := shared.get(t)
	for name, settings := range s.Configs() {
		headers, _ := settings["upstream_headers"].(map[string]any)
		var want []string
		for header := range headers {
			want = append(want, header)
		}
		slices.Sort(want)
		if got := suite(t).IdentityHeaders(); !slices.Equal(got, want) {
			t.Errorf("the identities know %v, configuration %s sets %v", got, name, want)
		}
	}
}
