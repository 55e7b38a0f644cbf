package forwardauth

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"gatehouse/dev/demo/upstream"
	"gatehouse/e2e/vector"
)

// host is a place where the vectors are replayed.
type host struct {
	name   string
	values vector.Values
	send   func(ctx context.Context, request []byte) (vector.Response, error)
	// upstreams count what arrives there; nil where there are none.
	upstreams map[string]*upstream.Server
}

func (s *environment) hosts() []host {
	var all []host
	for _, p := range proxies() {
		address := s.addresses[p.name]
		all = append(all, host{p.name, s.credentials.ValuesAt(address), func(ctx context.Context, request []byte) (vector.Response, error) {
			return vector.Send(ctx, address, request)
		}, s.Upstreams})
	}
	return all
}

// difference is where a proxy cannot come to the decision of a vector, because
// it responds by itself, or passes on another request than it got.
type difference struct {
	Vector string
	On     []string
	Class  vector.Class
	// Upstream is what the upstream receives where the proxy rewrites the
	// request before it asks: decided and served is then the same, and not what
	// was sent.
	Upstream string
	As       string
	Why      string
}

// differences of differences.yaml by vector and host, each used once.
func differences(t *testing.T, suite *vector.Suite) map[[2]string]difference {
	t.Helper()
	text, err := os.ReadFile("differences.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var list []difference
	if err := yaml.Unmarshal(text, &list); err != nil {
		t.Fatal(err)
	}
	all := map[[2]string]difference{}
	for _, d := range list {
		at := slices.IndexFunc(suite.Vectors, func(v *vector.Vector) bool { return v.Name == d.Vector })
		switch {
		case at < 0:
			t.Errorf("differences.yaml: there is no vector %q", d.Vector)
			continue
		case d.Why == "" || d.Class == "" || len(d.On) == 0:
			t.Errorf("differences.yaml: %q needs on, class and why", d.Vector)
		case (d.Class == vector.Allow) != (d.Upstream != ""):
			t.Errorf("differences.yaml: %q: upstream goes with the class allow", d.Vector)
		}
		for _, host := range d.On {
			all[[2]string{d.Vector, host}] = d
		}
	}
	return all
}

// TestVectorsThroughRealProxies replays the shared vectors.
func TestVectorsThroughRealProxies(t *testing.T) {
	s := shared.get(t)
	suite, err := vector.Load(os.DirFS("../vectors"))
	if err != nil {
		t.Fatal(err)
	}
	known := differences(t, suite)
	for _, h := range s.hosts() {
		t.Run(h.name, func(t *testing.T) {
			for _, v := range suite.Vectors {
				for _, problem := range h.replay(t.Context(), suite, v, known) {
					t.Errorf("%s %q: %s", v.Source, v.Name, problem)
				}
			}
		})
	}
	t.Run("no credential in any log", func(t *testing.T) {
		log := s.service.log.String()
		if strings.Count(log, "reason=") < 100 {
			t.Error("the log has hardly a denial in it: there is nothing to search")
		}
		for name, secret := range s.credentials.Secrets {
			if len(secret) >= 16 && strings.Contains(log, secret) {
				t.Errorf("the log holds %s", name)
			}
		}
	})
}

// outcome is what came of a vector.
type outcome struct {
	status, arrived int // at the client and, counted, at the upstreams
	problems        []string
	where           string
}

// replay sends a vector and returns what is wrong with what came of it.
func (h host) replay(ctx context.Context, suite *vector.Suite, v *vector.Vector, known map[[2]string]difference) []string {
	return h.exchange(ctx, suite, v, known).problems
}

func (h host) exchange(ctx context.Context, suite *vector.Suite, v *vector.Vector, known map[[2]string]difference) (o outcome) {
	request, err := v.Bytes(h.values)
	if err != nil {
		return outcome{problems: []string{err.Error()}}
	}
	o = h.exchangeBytes(ctx, suite, v, known, request)
	if second := v.Second(); second != nil && len(o.problems) == 0 {
		o.problems = h.exchangeBytes(ctx, suite, second, known, request).problems
	}
	return o
}

func (h host) exchangeBytes(ctx context.Context, suite *vector.Suite, v *vector.Vector, known map[[2]string]difference, request []byte) (o outcome) {
	before := arrived(h.upstreams)
	response, err := h.send(ctx, request)
	o.status, o.arrived = response.Status, arrived(h.upstreams)-before
	if err != nil {
		o.problems = []string{err.Error()}
		return o
	}
	want := 0
	if response.Served {
		want = 1
	}
	if h.upstreams != nil && o.arrived != want {
		o.problems = append(o.problems, fmt.Sprintf("%d requests arrived at the upstreams, want %d", o.arrived, want))
	}
	if response.Served && response.Upstream == nil {
		received := h.upstreams[response.Header.Get("X-Service")].Received()
		response.Upstream = &received[len(received)-1]
	}
	d, differs := known[[2]string{v.Name, h.name}]
	if differs {
		o.problems = append(o.problems, h.judge(suite, v, d, request, response)...)
	} else {
		o.problems = append(o.problems, suite.Judge(v, h.name, request, response, h.values)...)
	}
	return o
}

// judge judges a difference by a vector that expects it.
func (h host) judge(suite *vector.Suite, v *vector.Vector, d difference, request []byte, response vector.Response) []string {
	if d.Class == v.Class && d.Upstream == "" {
		return []string{"is listed in differences.yaml with the class that it has anyway"}
	}
	expected := *v
	expected.Overrides, expected.UpstreamOn, expected.Header, expected.JSON = nil, nil, nil, ""
	expected.Class, expected.Upstream, expected.As, expected.Location = d.Class, d.Upstream, d.As, v.Location
	if d.Class == vector.Endpoint {
		expected.Status = http.StatusOK
	}
	if d.Class == vector.Allow {
		// What was decided on is what the proxy says it serves.
		request = []byte(strings.Join(strings.Fields(d.Upstream)[1:], " ") + " HTTP/1.1\r\n")
	}
	return suite.Judge(&expected, h.name, request, response, h.values)
}

func arrived(upstreams map[string]*upstream.Server) (n int) {
	for _, u := range upstreams {
		n += u.Hits()
	}
	return n
}
