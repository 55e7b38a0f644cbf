package fleet

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse/core"
	"gatehouse/core/config"
	"gatehouse/core/coretest"
	"gatehouse/core/revocation"
	"gatehouse/dev/postgrestest"
	"gatehouse/dev/redistest"
	"gatehouse/internal/cli"
	"gatehouse/internal/host"
)

// scraped is a process that is watched by its admin socket.
type scraped struct {
	t      *testing.T
	host   *host.Host
	client *http.Client
}

func newScraped(t *testing.T) *scraped {
	t.Helper()
	h := host.New(slog.New(slog.DiscardHandler))
	path := filepath.Join(t.TempDir(), "admin")
	h.ServeAdmin(t.Context(), "unix:"+path)
	s := &scraped{t, h, &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", path)
	}}}}
	eventually(t, "the admin socket", func() bool { status, _ := s.get("/healthz"); return status == 200 })
	return s
}

func (s *scraped) gate(text string) *core.Gate {
	s.t.Helper()
	gate, err := s.host.Gates.Gate([]byte(text))
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { runtime.KeepAlive(gate) })
	return gate
}

func (s *scraped) get(page string) (int, string) {
	response, err := s.client.Get("http://localhost" + page)
	if err != nil {
		return 0, ""
	}
	defer response.Body.Close()
	body, _ := io.ReadAll(response.Body)
	return response.StatusCode, string(body)
}

// value is that of a series, -1 where there is none.
func (s *scraped) value(series string) float64 {
	_, text := s.get("/metrics")
	for lines := bufio.NewScanner(strings.NewReader(text)); lines.Scan(); {
		if rest, found := strings.CutPrefix(lines.Text(), series+" "); found {
			v, _ := strconv.ParseFloat(rest, 64)
			return v
		}
	}
	return -1
}

func (s *scraped) reaches(series string, want float64) {
	s.t.Helper()
	eventually(s.t, fmt.Sprintf("%s is %v; it is %v", series, want, s.value(series)), func() bool { return s.value(series) >= want })
}

func (s *scraped) is(series string, want float64) {
	s.t.Helper()
	eventually(s.t, fmt.Sprintf("%s is %v; it is %v", series, want, s.value(series)), func() bool { return s.value(series) == want })
}

func TestMetricsTellHowRevocationsComeIn(t *testing.T) {
	server, database := redistest.Start(t), postgrestest.StartServer(t)
	if status := cli.Main([]string{"db", "migrate", "--database-url", database.URL}, strings.NewReader(""), io.Discard, io.Discard); status != 0 {
		t.Fatal("no schema")
	}
	s := newScraped(t)
	gate := s.gate(`
jwt: {issuers: [{issuer: "https://id.example.test/", jwks_uri: "http://127.0.0.1:1", audience: [api]}]}
permission_table: "authenticated: [GET /orders]"
revocation: {}
` + redisSection(server.Addr, "") + postgresSection(database, ""))
	for _, feed := range []string{"redis", "postgres"} {
		s.is(fmt.Sprintf("gatehouse_revocation_feeds{feed=%q,state=\"up\"}", feed), 1)
		if got := s.value(fmt.Sprintf("gatehouse_revocation_feed_age_seconds{feed=%q}", feed)); got < 0 || got > 20 {
			t.Errorf("%s: the feed is %v s old", feed, got)
		}
	}
	s.is("gatehouse_revocation_epochs_total", 1) // Redis was empty
	events := []revocation.Event{{Kind: revocation.Subject, Value: "ada"}, {Kind: revocation.Subject, Value: "bob"}}
	if err := s.host.Gates.Revoke(t.Context(), events...); err != nil {
		t.Fatal(err)
	}
	for _, feed := range []string{"redis", "postgres"} {
		for _, what := range []string{"published", "read"} {
			s.reaches(fmt.Sprintf("gatehouse_revocation_feed_events_total{feed=%q,what=%q}", feed, what), 2)
		}
	}
	s.is("gatehouse_revocations", 2)
	before := s.value("gatehouse_revocations_lost_total")
	server.Do("FLUSHALL")
	s.is("gatehouse_revocation_epochs_total", 2)
	s.reaches(`gatehouse_revocation_feed_losses_total{feed="redis"}`, 1)
	s.reaches(`gatehouse_revocation_feed_events_total{feed="redis",what="restored"}`, 2)
	s.reaches("gatehouse_revocations_lost_total", before+1)
	last := server.Do("XREVRANGE", streamKey, "+", "-", "COUNT", "1").([]any)[0].([]any)[0].(string)
	epoch, number, _ := strings.Cut(last, "-")
	n, _ := strconv.Atoi(number)
	server.Do("XADD", streamKey, fmt.Sprintf("%s-%d", epoch, n+1), "entry", "of somebody else")
	s.reaches("gatehouse_revocation_unopened_total", 1)
	postgrestest.Exec(t, database.DSN, "ALTER TABLE gatehouse.revocations DISABLE TRIGGER ALL; DELETE FROM gatehouse.revocations; ALTER TABLE gatehouse.revocations ENABLE TRIGGER ALL")
	s.reaches(`gatehouse_revocation_feed_losses_total{feed="postgres"}`, 1)
	server.Stop()
	s.is(`gatehouse_revocation_feeds{feed="redis",state="down"}`, 1)
	s.reaches(`gatehouse_revocation_feed_age_seconds{feed="redis"}`, 1)
	s.is("gatehouse_revocations_blind_seconds", 0) // PostgreSQL goes on
	database.Stop()
	s.is(`gatehouse_revocation_feeds{feed="postgres",state="down"}`, 1)
	s.reaches("gatehouse_revocations_blind_seconds", 0.01)
	runtime.KeepAlive(gate)
}

func TestNodeWithoutAListOfRevocationsIsNotReady(t *testing.T) {
	server := redistest.Start(t)
	server.Stop()
	issuer := coretest.NewIssuer(t, coretest.NewClock())
	s := newScraped(t)
	followed, err := s.host.Gates.Follow([]byte(fmt.Sprintf(`
jwt: {issuers: [{issuer: %q, audience: [%q]}]}
permission_table: "authenticated: [GET /orders]"
revocation: {}
`, issuer.URL, coretest.Audience)+redisSection(server.Addr, "")), config.Terms{}) // as hosts do
	if err != nil {
		t.Fatal(err)
	}
	var status int
	var body string
	defer func() {
		if t.Failed() {
			t.Log(status, body)
		}
	}()
	eventually(t, "it says what is missing and why", func() bool {
		status, body = s.get("/readyz")
		return status == 503 && strings.Contains(body, `"list of revocations"`) && strings.Contains(body, `"revocations: Redis does not respond`)
	})
	server.Restart()
	eventually(t, "it is ready", func() bool {
		status, body := s.get("/readyz")
		return status == 200 && !strings.Contains(body, "revocations")
	})
	runtime.KeepAlive(followed)
}

func TestMetricsTellWhetherAServerHasItsTableAndTheDatabaseItsRoles(t *testing.T) {
	var broken atomic.Bool
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if broken.Load() {
			w.WriteHeader(500)
			return
		}
		io.WriteString(w, "authenticated: [GET /orders]\n")
	}))
	defer web.Close()
	database, issuer := postgrestest.StartServer(t), coretest.NewIssuer(t, coretest.NewClock())
	if status := cli.Main([]string{"db", "migrate", "--database-url", database.URL}, strings.NewReader(""), io.Discard, io.Discard); status != 0 {
		t.Fatal("no schema")
	}
	s := newScraped(t)
	gate := s.gate(fmt.Sprintf(`
jwt: {issuers: [{issuer: %q, audience: [%q]}]}
subject_roles: {cache_ttl: 0.1, max_stale: 60}
bundle: {urls: [%q], poll_interval: 1}
`, issuer.URL, coretest.Audience, web.URL+"/permissions.yaml") + postgresSection(database, ""))
	call := func() bool {
		return gate.Check(t.Context(), &core.Request{Method: "GET", Target: "/orders", Header: []core.Header{{Name: "Authorization", Value: "Bearer " + issuer.Token(nil)}}}).Outcome == core.Allow
	}
	eventually(t, "a caller is admitted", call)
	s.reaches(`gatehouse_subject_roles_lookups_total{result="miss"}`, 1)
	eventually(t, "what was read is used again", func() bool { call(); return s.value(`gatehouse_subject_roles_lookups_total{result="hit"}`) > 0 })
	eventually(t, "a change drops what was read", func() bool {
		call()
		cli.Main([]string{"roles", "set", "--database-url", database.URL, "--issuer", issuer.URL, "--role", fmt.Sprint("r", time.Now().UnixNano()), "--reason", "test", "alice"}, strings.NewReader(""), io.Discard, io.Discard)
		return s.value("gatehouse_subject_roles_dropped_total") > 0
	})
	table := fmt.Sprintf("gatehouse_table_source_failing_seconds{table=%q}", web.URL+"/permissions.yaml")
	s.is(table, 0)
	broken.Store(true)
	s.reaches(table, 0.01)
	broken.Store(false)
	s.is(table, 0)
	database.Stop()
	eventually(t, "roles are used beyond their time", func() bool { call(); return s.value(`gatehouse_subject_roles_lookups_total{result="stale"}`) > 0 })
}
