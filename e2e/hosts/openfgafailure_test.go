package hosts

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse/dev/openfga"
)

// TestRelationThatOpenFGAHasRevokedPassesNoLongerThanStated removes a relation while calls go
// on: one that begins after cache_ttl must not pass, and none passes after a denial.
func TestRelationThatOpenFGAHasRevokedPassesNoLongerThanStated(t *testing.T) {
	d := newDocuments(t, openfga.Config{})
	const ttl = 2 * time.Second
	eachHost(t, d.config(map[string]any{"pdp_url": d.Store.URL(), "cache_ttl": ttl.Seconds()}), filepath.Join(t.TempDir(), "log"), func(t *testing.T, h *running) {
		member := openfga.Tuple{User: "user:" + filepath.Base(t.Name()), Relation: "member", Object: "group:night"}
		d.must(t, d.Store.Write(t.Context(), member))
		token := credentialOf(d.issuer, strings.TrimPrefix(member.User, "user:"), "staff")
		call := func() int { return h.made(t, "GET", "/documents/7", "Authorization", token) }
		if got := call(); got != 200 {
			t.Fatalf("before: status %d", got)
		}
		d.must(t, d.Store.Delete(t.Context(), member))
		revoked := time.Now()
		denied := 0
		for denied < 20 {
			begun := time.Now()
			switch got := call(); {
			case got == 200 && begun.Sub(revoked) >= ttl:
				t.Fatalf("a call passes that begins %s after the relation was revoked; an answer counts for %s", begun.Sub(revoked), ttl)
			case got == 200 && denied > 0:
				t.Fatal("a call passes after one was denied")
			case got == 403:
				denied++
			case got != 200:
				t.Fatalf("status %d", got)
			}
		}
		_, metrics := h.admin("/metrics")
		if !strings.Contains(metrics, `gatehouse_cache_lookups_total{provider="authzen",result="hit"} `) {
			t.Errorf("no look-up of an answer is counted: %s", metrics)
		}
	})
}

// TestOpenFGAIsFoundByMetadataOrByItsStore has the gate look for the endpoints in each way.
// The metadata of OpenFGA stand at another path than the identifier says.
func TestOpenFGAIsFoundByMetadataOrByItsStore(t *testing.T) {
	for _, publishes := range []bool{false, true} {
		d := newDocuments(t, openfga.Config{PublishesMetadata: publishes})
		endpoints := d.Store.URL() + "/access/v1/evaluation"
		for what, section := range map[string]map[string]any{
			"the store": {"pdp_url": d.Store.URL()},
			"endpoints": {"evaluation_endpoint": endpoints, "evaluations_endpoint": endpoints + "s"},
			"one":       {"evaluation_endpoint": endpoints}, // several questions, one after the other
		} {
			onHost(t, "forwardauth", d.config(section), filepath.Join(t.TempDir(), "log"), func(t *testing.T, h *running) {
				ada, eve := credentialOf(d.issuer, "ada", "staff"), credentialOf(d.issuer, "eve", "staff")
				for path, want := range map[string][2]int{"/documents/7": {200, 200}, "/documents/8": {200, 403}} {
					if got := [2]int{h.made(t, "GET", path, "Authorization", ada), h.made(t, "GET", path, "Authorization", eve)}; got != want {
						t.Errorf("metadata %t, %s: %s: statuses %d, want %d", publishes, what, path, got, want)
					}
				}
				if got := h.made(t, "POST", "/documents/7/to/plans", "Authorization", ada); got != 200 {
					t.Errorf("metadata %t, %s: two questions: status %d", publishes, what, got)
				}
			})
		}
	}
}

// TestAuthorizationModelIsTheOneThatIsNamed has OpenFGA decide by a model that is not the
// newest one, in which nobody may view.
func TestAuthorizationModelIsTheOneThatIsNamed(t *testing.T) {
	d := newDocuments(t, openfga.Config{})
	first := d.Model
	closed := strings.NewReplacer("\"viewer\"", "\"viewer_of_old\"").Replace(string(documentModel))
	d.must(t, d.Store.WriteModel(t.Context(), []byte(closed)))
	for model, want := range map[string]int{first: 200, d.Model: 503} { // it has no such relation
		output := filepath.Join(t.TempDir(), "log")
		section := map[string]any{"pdp_url": d.Store.URL(), "headers": map[string]string{"Openfga-Authorization-Model-Id": model}}
		onHost(t, "forwardauth", d.config(section), output, func(t *testing.T, h *running) {
			if got := h.made(t, "GET", "/documents/7", "Authorization", credentialOf(d.issuer, "ada", "staff")); got != want {
				t.Errorf("model %s: status %d, want %d", model, got, want)
			}
			if want == 503 {
				logs(t, output, "it does not understand the question")
			}
		})
	}
}

// slowed is a proxy before OpenFGA that holds up its responses.
func slowed(t *testing.T, d *documents, held *atomic.Bool) string {
	t.Helper()
	target, err := url.Parse(d.Server.URL)
	d.must(t, err)
	forward, done := httputil.NewSingleHostReverseProxy(target), make(chan struct{})
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if held.Load() {
			select {
			case <-r.Context().Done():
				return
			case <-done:
				return
			}
		}
		forward.ServeHTTP(w, r)
	}))
	t.Cleanup(func() { close(done); proxy.Close() })
	return proxy.URL
}

// TestOpenFGAThatDoesNotAnswerDenies has OpenFGA be slow, freeze, be killed, be asked for a
// store that it does not have, without its key, and without the experiment: 503, with a
// cause in the log, while calls about which nobody is asked go on.
func TestOpenFGAThatDoesNotAnswerDenies(t *testing.T) {
	const key = "a-preshared-key-of-the-gate"
	brief := map[string]any{"timeout": 2}
	off := newOff(t)
	for name := range starts {
		t.Run(name, func(t *testing.T) {
			d := newDocuments(t, openfga.Config{Key: key})
			var held atomic.Bool
			at := func(address string) map[string]any {
				return map[string]any{"pdp_url": address, "bearer_token": key, "cache_ttl": 0, "http": brief}
			}
			store := "/stores/" + d.ID
			for _, c := range []struct {
				what, says string
				section    map[string]any
				fail, mend func()
			}{
				{"a store that is not there", "latest_authorization_model_not_found", at(d.Server.URL + "/stores/01ARZ3NDEKTSV4RRFFQ69G5FAV"), nil, nil},
				{"an id that is none", "it does not understand the question", at(d.Server.URL + "/stores/x"), nil, nil},
				{"no key", "check authzen.bearer_token", map[string]any{"pdp_url": d.Store.URL()}, nil, nil},
				{"the experiment off", "Enable with --experimentals=authzen", map[string]any{"pdp_url": off.Store.URL()}, nil, nil},
				{"slow", "decision point: ", at(slowed(t, d, &held) + store), func() { held.Store(true) }, func() { held.Store(false) }},
				{"frozen", "decision point: ", at(d.Store.URL()), d.Freeze, d.Thaw},
				{"killed", "connection refused", at(d.Store.URL()), d.Kill, nil},
			} {
				output := filepath.Join(t.TempDir(), "log")
				config := askingConfig(d.issuer, documentTable+"authenticated: [GET /me]\n", c.section)
				onHost(t, name, config, output, func(t *testing.T, h *running) {
					call := func(path string) int {
						return h.made(t, "GET", path, "Authorization", credentialOf(d.issuer, "ada", "staff"))
					}
					if c.fail != nil {
						await(t, c.what+": before", func() bool { return call("/documents/7") == 200 })
						c.fail()
					}
					for range 3 {
						if got := call("/documents/7"); got != 503 {
							t.Errorf("%s: status %d", c.what, got)
						}
					}
					if got := call("/me"); got != 200 {
						t.Errorf("%s: a call about which nobody is asked: status %d", c.what, got)
					}
					logs(t, output, c.says)
					if c.mend != nil {
						c.mend()
						await(t, c.what+": it answers again", func() bool { return call("/documents/7") == 200 })
					}
				})
			}
		})
	}
}

// newOff is an OpenFGA whose endpoints of AuthZEN are off.
func newOff(t *testing.T) *documents {
	return newDocuments(t, openfga.Config{WithoutAuthZEN: true})
}
