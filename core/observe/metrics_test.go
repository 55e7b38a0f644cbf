package observe

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse/core"
	"gatehouse/internal/ports"
)

func get(t *testing.T, client *http.Client, url string) (int, string) {
	t.Helper()
	answer, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(body)
}

// serveAdmin runs the admin listener on a unix socket.
func serveAdmin(t *testing.T, m *Metrics, ready Ready) *http.Client {
	t.Helper()
	path := filepath.Join(t.TempDir(), "admin.sock")
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- ServeAdmin(ctx, "unix:"+path, AdminHandler(m, ready)) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	for range 200 {
		if _, err := os.Stat(path); err == nil {
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", path)
	}
	return &http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}
}

func TestMetricsAreServed(t *testing.T) {
	m := NewMetrics("v1.2.3")
	event := func(d core.Decision) core.Event {
		return core.Event{Request: &core.Request{}, Decision: &d, Duration: time.Millisecond}
	}
	m.Record(context.Background(), event(core.Decision{Outcome: core.Allow, Reason: "allowed", Rule: "users:read", Principal: &core.Principal{Kind: core.KindJWT}}))
	m.Record(context.Background(), event(core.Decision{Status: 401, Reason: "no_credential", Rule: "users:read"}))
	m.Call("session", time.Millisecond, nil)
	m.Call("session", time.Millisecond, errors.New("down"))
	m.TableLoaded("a.yaml", nil)
	m.TableLoaded("a.yaml", nil)
	m.TableLoaded("a.yaml", errors.New("line 1"))
	m.TableLoaded("b.yaml", nil)
	m.ShadowDiffers("allowed", "denied")
	client := serveAdmin(t, m, func() []string { return nil })
	_, text := get(t, client, "http://admin/metrics")
	for _, want := range []string{
		`gatehouse_decisions_total{kind="jwt",outcome="allow",reason="allowed",rule="users:read"} 1`,
		`gatehouse_decisions_total{kind="",outcome="deny",reason="no_credential",rule="users:read"} 1`,
		`gatehouse_decision_duration_seconds_count{outcome="allow"} 1`,
		`gatehouse_provider_call_duration_seconds_count{provider="session",result="error"} 1`,
		`gatehouse_build_info{version="v1.2.3"} 1`,
		`gatehouse_table_loads_total{result="ok",table="a.yaml"} 2`,
		`gatehouse_table_loads_total{result="error",table="a.yaml"} 1`,
		// An alert on the increase of errors has to see the first one.
		`gatehouse_table_loads_total{result="error",table="b.yaml"} 0`,
		`gatehouse_configuration_loads_total{result="error"} 0`,
		`gatehouse_shadow_differences_total{enforced="allowed",shadow="denied"} 1`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no line %s", want)
		}
	}
}

func TestReadyOnlyWhenNothingIsWaitedFor(t *testing.T) {
	waiting := []string{"jwks of https://id.test"}
	client := serveAdmin(t, NewMetrics("devel"), func() []string { return waiting })
	if status, body := get(t, client, "http://admin/readyz"); status != 503 || !strings.Contains(body, "jwks of https://id.test") {
		t.Errorf("%d %s", status, body)
	}
	if status, _ := get(t, client, "http://admin/healthz"); status != 200 {
		t.Errorf("health %d", status)
	}
	waiting = nil
	if status, _ := get(t, client, "http://admin/readyz"); status != 200 {
		t.Errorf("ready %d", status)
	}
}

func TestManyRulesDoNotMakeManySeries(t *testing.T) {
	m := NewMetrics("devel")
	for i := range 3 * maxRules {
		m.Record(context.Background(), core.Event{Request: &core.Request{}, Decision: &core.Decision{Rule: fmt.Sprint("rule ", i)}})
	}
	families, err := m.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "gatehouse_decisions_total" && len(f.Metric) != maxRules+1 {
			t.Errorf("%d series, want %d", len(f.Metric), maxRules+1)
		}
	}
}

func TestAdminListenerIsNotOpenToTheNetwork(t *testing.T) {
	for _, address := range []string{"0.0.0.0:9180", ":9180", "192.0.2.1:9180", "[::]:9180", "localhost:9180", ""} {
		err := ServeAdmin(context.Background(), address, http.NotFoundHandler())
		if err == nil || !strings.Contains(err.Error(), "want an IP address and port on loopback") {
			t.Errorf("%q: %v", address, err)
		}
	}
}

// A page in a browser on this machine can have a name of its own point at
// loopback, and then read what it fetches from there.
func TestDNSRebindingOfTheAdminListener(t *testing.T) {
	free, err := ports.Addresses(1)
	if err != nil {
		t.Fatal(err)
	}
	address := free[0]
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- ServeAdmin(ctx, address, AdminHandler(NewMetrics("devel"), func() []string { return nil }))
	}()
	defer func() { stop(); <-done }()
	port := address[strings.LastIndexByte(address, ':'):]
	for host, want := range map[string]int{
		address: 200, "localhost" + port: 200, "LOCALHOST": 200, "127.0.0.1": 200, "[::1]" + port: 200,
		"evil.test": 421, "evil.test" + port: 421, "127.0.0.1.evil.test": 421, "localhost.evil.test" + port: 421, "192.0.2.1" + port: 421, "[::2]": 421, "": 421,
	} {
		if got := statusFor(t, address, host); got != want {
			t.Errorf("%q: status %d, want %d", host, got, want)
		}
	}
}

// statusFor asks for the metrics of an address by a name.
func statusFor(t *testing.T, address, host string) int {
	t.Helper()
	var c net.Conn
	for err := error(os.ErrNotExist); err != nil; {
		c, err = net.Dial("tcp", address)
	}
	defer c.Close()
	fmt.Fprintf(c, "GET /metrics HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", host)
	response, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	return response.StatusCode
}

// Two processes run for a moment while a gateway reloads; the older one must
// not take the newer one's socket away as it ends.
func TestAdminSocketOutlivesTheProcessBefore(t *testing.T) {
	m := NewMetrics("devel")
	path := filepath.Join(t.TempDir(), "admin.sock")
	serve := func() (stop func()) {
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		before, _ := os.Lstat(path)
		go func() { done <- ServeAdmin(ctx, "unix:"+path, AdminHandler(m, func() []string { return nil })) }()
		for info, err := os.Lstat(path); err != nil || before != nil && os.SameFile(info, before); info, err = os.Lstat(path) {
		}
		return func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	}
	older := serve()
	newer := serve()
	older()
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatalf("the newer one is not heard any more: %v", err)
	}
	conn.Close()
	newer()
	if _, err := os.Lstat(path); err == nil {
		t.Error("a socket is left behind")
	}
}

// A name that is no UTF-8 is the operator's to choose, and no reason for a panic.
func TestRuleWithOddBytes(t *testing.T) {
	m := NewMetrics("devel")
	m.Record(context.Background(), core.Event{Request: &core.Request{}, Decision: &core.Decision{Rule: "\xff"}})
	m.TableLoaded("\xff.yaml", nil)
	m.TableLoaded("\xff.yaml", errors.New("line 1"))
	if _, err := m.registry.Gather(); err != nil {
		t.Error(err)
	}
}

func TestRulesAtOnceDoNotMakeMoreSeries(t *testing.T) {
	m := NewMetrics("devel")
	var all sync.WaitGroup
	for i := range 64 {
		all.Go(func() {
			for j := range maxRules {
				m.rule(fmt.Sprint(i, " ", j))
			}
		})
	}
	all.Wait()
	if len(m.rules) > maxRules {
		t.Errorf("%d rules, want at most %d", len(m.rules), maxRules)
	}
}

func TestEachRecorderIsTold(t *testing.T) {
	a, b := NewMetrics("devel"), NewMetrics("devel")
	Recorders{a, b}.Record(context.Background(), core.Event{Request: &core.Request{}, Decision: &core.Decision{Rule: "r"}})
	if !a.rules["r"] || !b.rules["r"] {
		t.Error("a recorder was left out")
	}
}
