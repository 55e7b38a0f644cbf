package main

import (
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse/core"
	"gatehouse/core/coretest"
)

// behind is an auth request of a dialect with the addresses that its proxy sends.
func (r *rig) behind(t testing.TB, d *dialect, addresses, token string) *http.Response {
	t.Helper()
	lines := append(without(forwarded(d, "GET", "/private"), d.peer), d.peer+": "+addresses, "Authorization: Bearer "+token)
	if d.own {
		return r.send(t, "GET", "/auth/"+d.name+"/private", lines...)
	}
	return r.send(t, "GET", "/auth/"+d.name, lines...)
}

func TestFailedAttemptsInEveryDialect(t *testing.T) {
	r := newRig(t, onLoopback+everyDialect, "    failed_attempts: {count: 4, time_window: 40}")
	good := r.issuer.Token(nil)
	for i := range dialects {
		d := &dialects[i]
		eve := fmt.Sprintf("192.0.2.%d", i)
		for n := range 6 {
			// What stands before the last address is the client's own.
			response := r.behind(t, d, fmt.Sprintf("203.0.113.%d, %s", n, eve), fmt.Sprintf("bad%d.%d", i, n))
			want := "401"
			if n >= 4 {
				want = "429"
			}
			if got := clientStatus(response); got != want {
				t.Errorf("%s, attempt %d: %s", d.name, n, got)
			}
			if after := response.Header.Get("Retry-After"); (after == "10") != (n >= 4) {
				t.Errorf("%s, attempt %d: Retry-After %q", d.name, n, after)
			}
			if challenge := response.Header.Get("WWW-Authenticate") + response.Header.Get(challengeHeader); n >= 4 && challenge != "" {
				t.Errorf("%s: 429 with the challenge %s", d.name, challenge)
			}
		}
		if got := clientStatus(r.behind(t, d, "198.51.100.1", good)); got != "200" {
			t.Errorf("%s: another client gets %s", d.name, got)
		}
		if got := clientStatus(r.behind(t, d, eve, good)); got != "200" {
			t.Errorf("%s: a remembered credential gets %s", d.name, got)
		}
	}
}

func TestClientsBehindALoadBalancerAreToldApart(t *testing.T) {
	r := newRig(t, onLoopback+`
endpoints:
  - {path: /auth/traefik, dialect: traefik, gate: main, real_ip_from: [10.0.0.0/8]}
`, "    failed_attempts: {count: 4}")
	d := dialectNamed("traefik")
	for n := range 5 {
		r.behind(t, d, fmt.Sprintf("203.0.113.%d, 192.0.2.1, 10.0.0.7", n), fmt.Sprint("bad", n))
	}
	for addresses, want := range map[string]string{
		"203.0.113.9, 192.0.2.1, 10.0.0.7": "429",
		"192.0.2.1":                        "429",
		"192.0.2.2, 10.0.0.7":              "401",
		"192.0.2.1, 192.0.2.2, 10.0.0.7":   "401",
		"192.0.2.1, 192.0.2.3":             "401", // not from the load balancer
	} {
		if got := clientStatus(r.behind(t, d, addresses, fmt.Sprintf("bad%x", addresses))); got != want {
			t.Errorf("%s: %s, want %s", addresses, got, want)
		}
	}
}

func TestClientBehindLoadBalancersIsTheLastThatIsNone(t *testing.T) {
	balancers := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8:f::/48")}
	for lines, want := range map[string]string{
		"192.0.2.1":                              "192.0.2.1",
		"192.0.2.1, 10.0.0.7":                    "192.0.2.1",
		"192.0.2.1:4711, 10.0.0.8, 10.0.0.7":     "192.0.2.1",
		"192.0.2.1|10.0.0.8|10.0.0.7":            "192.0.2.1",
		"192.0.2.1, ::ffff:10.0.0.7":             "192.0.2.1",
		"[2001:db8::1]:4711, 2001:db8:f::1":      "2001:db8::1",
		"192.0.2.9, 192.0.2.1, 10.0.0.7":         "192.0.2.1",
		"10.0.0.9, 10.0.0.7":                     "10.0.0.9",
		"nonsense, 10.0.0.7":                     "10.0.0.7",
		"192.0.2.1, nonsense, 10.0.0.8,10.0.0.7": "10.0.0.8",
		"192.0.2.1, , 10.0.0.7":                  "10.0.0.7",
	} {
		list := strings.Split(lines, "|")
		if got := clientBehind(balancers, lastAddress(list), list); got.String() != want {
			t.Errorf("%s: %s, want %s", lines, got, want)
		}
	}
	if got := clientBehind(balancers, netip.Addr{}, nil); got.IsValid() {
		t.Errorf("an address out of nothing: %s", got)
	}
	if got := clientBehind(nil, netip.MustParseAddr("10.0.0.7"), []string{"192.0.2.1, 10.0.0.7"}); got.String() != "10.0.0.7" {
		t.Errorf("without load balancers: %s", got)
	}
}

func TestFloodOfOneClientBehindAProxyLeavesRoomForOthers(t *testing.T) {
	idp := coretest.NewFakeIntrospection(t)
	release := make(chan struct{})
	idp.Instead(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if r.PostForm.Get("token") != "good" {
			<-release // a slow provider
			fmt.Fprint(w, `{"active":false}`)
			return
		}
		fmt.Fprint(w, `{"active":true,"sub":"ada","exp":4102444800}`)
	})
	r := newRig(t, onLoopback+everyDialect, fmt.Sprintf("    introspection: {introspection_endpoint: %q, insecure_any_audience: true, http: {timeout: 30}}", idp.URL))
	d := dialectNamed("traefik")
	var flood sync.WaitGroup
	for i := range 1500 {
		flood.Go(func() { r.behind(t, d, "192.0.2.1", fmt.Sprint("garbage", i)) })
	}
	for idp.Calls() < 96 { // of the 128 that may be under way
		time.Sleep(time.Millisecond)
	}
	if got := clientStatus(r.behind(t, d, "192.0.2.2", "good")); got != "200" {
		t.Errorf("a new good caller gets %s", got)
	}
	close(release)
	flood.Wait()
}

// Load balancers that do not tell the client, or tell nonsense, are not the client: a
// token that may be used in their network would be good for everybody behind them.
func TestLoadBalancerIsNotTakenForTheClient(t *testing.T) {
	balancers := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	for lines, want := range map[string]string{
		"10.0.0.7":                         "",
		"nonsense, 10.0.0.7":               "",
		"10.0.0.9, 10.0.0.7":               "",
		"192.0.2.1, nonsense, 10.0.0.7":    "",
		", 10.0.0.7":                       "",
		"192.0.2.1, 10.0.0.7":              "192.0.2.1",
		"10.1.2.3, 192.0.2.1, 10.0.0.7":    "192.0.2.1", // who writes the address of the network into the header
		"10.1.2.3, 192.0.2.1":              "192.0.2.1",
		"10.1.2.3,10.1.2.4|192.0.2.1":      "192.0.2.1",
		"::ffff:10.1.2.3, 10.0.0.7":        "",
		"10.1.2.3:80, [::ffff:10.1.2.4]:1": "",
	} {
		list := strings.Split(lines, "|")
		r := &core.Request{Peer: lastAddress(list)}
		setClient(r, balancers, list)
		if got := r.KnownClient(); got.IsValid() != (want != "") || want != "" && got.String() != want {
			t.Errorf("%s: %s, want %q", lines, got, want)
		}
		if !r.ClientAddr().IsValid() {
			t.Errorf("%s: failed attempts have no address to count by", lines)
		}
	}
}
