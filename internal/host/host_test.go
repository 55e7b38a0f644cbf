package host

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"

	"gatehouse/core"
	"gatehouse/core/config"
	"gatehouse/core/coretest"
)

// A gateway that reloads has two processes for a moment, and the older one still
// holds the address.
func TestAdminAddressThatIsTakenIsTriedAgain(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	log := &coretest.Log{}
	h := New(slog.New(slog.NewTextHandler(log, nil)))
	h.retry = time.Millisecond
	h.ServeAdmin(t.Context(), taken.Addr().String())
	for !strings.Contains(log.String(), "address is taken") {
		time.Sleep(time.Millisecond)
	}
	taken.Close()
	for status := 0; status != http.StatusOK; {
		if response, err := http.Get("http://" + taken.Addr().String() + "/healthz"); err == nil {
			status = response.StatusCode
			response.Body.Close()
		}
	}
	if n := strings.Count(log.String(), "address is taken"); n != 1 {
		t.Errorf("said %d times", n)
	}
}

func get(t *testing.T, h *Host, path string) (int, string) {
	t.Helper()
	w := httptest.NewRecorder()
	adminHandler(h.Metrics.Handler(), h.Gates).ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	body, err := io.ReadAll(w.Result().Body)
	if err != nil {
		t.Fatal(err)
	}
	return w.Code, string(body)
}

func TestHostExportsMetricsAndReadiness(t *testing.T) {
	h := New(slog.New(slog.DiscardHandler))
	gate, err := h.Gates.Follow([]byte(`
session: {kratos_url: "http://127.0.0.1:1"}
jwt: {issuers: [{issuer: "http://127.0.0.1:1", insecure_any_audience: true}]}
permission_table: "authenticated: [GET /]"
`), config.Terms{})
	if err != nil {
		t.Fatal(err)
	}
	now, err := gate.Current()
	if err != nil {
		t.Fatal(err)
	}
	r := &core.Request{Method: "GET", Target: "/", Header: []core.Header{{Name: "X-Session-Token", Value: "st"}}}
	if d := now.Check(context.Background(), r); d.Status != 503 {
		t.Errorf("status %d", d.Status)
	}
	if status, body := get(t, h, "/readyz"); status != 503 || !strings.Contains(body, "keys of issuer http://127.0.0.1:1") {
		t.Errorf("ready: %d %s", status, body)
	}
	_, text := get(t, h, "/metrics")
	for _, want := range []string{
		`gatehouse_decisions_total{kind="",outcome="deny",reason="unavailable"`,
		`gatehouse_cache_lookups_total{provider="session",result="miss"} 1`,
		`gatehouse_cache_entries{provider="jwt",store="valid"} 0`,
		`gatehouse_provider_call_duration_seconds_count{provider="session",result="error"} 1`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no line %s in\n%s", want, text)
		}
	}
	runtime.KeepAlive(gate)
}
