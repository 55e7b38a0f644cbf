package hosts

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"gatehouse/core/audit"
	"gatehouse/core/coretest"
)

// Every request that a host decides has one record, with who, what, why and where, and the id
// that the client reads in a refusal.
func TestEveryDecisionHasARecordOnEveryHost(t *testing.T) {
	clock := coretest.NewClock()
	issuer := coretest.NewIssuer(t, clock)
	for name := range starts {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			file := filepath.Join(dir, "audit.jsonl")
			config := map[string]any{
				"jwt":              map[string]any{"issuers": []any{map[string]any{"issuer": issuer.URL, "insecure_any_audience": true}}},
				"permission_table": "permissions: {orders: {activities: [\"GET /orders\"]}}\npublic: [GET /healthz]\n",
				"audit":            map[string]any{"file": map[string]any{"path": file, "max_size": 4096, "max_kept": 1000}, "tables": map[string]any{"path": filepath.Join(dir, "tables")}},
			}
			onHost(t, name, config, filepath.Join(dir, "log"), func(t *testing.T, h *running) {
				allowed, refused := "Bearer "+issuer.Token(map[string]any{"scope": "orders"}), "Bearer "+issuer.Token(map[string]any{"scope": "other"})
				ask := func(path, credential string, want int) {
					r, err := http.NewRequest(http.MethodGet, "http://api.test"+path, nil)
					if err != nil {
						t.Error(err)
						return
					}
					if credential != "" {
						r.Header.Set("Authorization", credential)
					}
					response, err := http.DefaultClient.Do(h.call(r))
					if err != nil {
						t.Error(err)
						return
					}
					response.Body.Close()
					if response.StatusCode != want {
						t.Errorf("%s: %d, want %d", path, response.StatusCode, want)
					}
				}
				const rounds, clients = 20, 4
				var all sync.WaitGroup
				for range clients {
					all.Go(func() {
						for range rounds {
							ask("/orders?token=s3cr3t", allowed, 200)
							ask("/orders", refused, 403)
							ask("/orders", "", 401)
							ask("/orders", "Bearer nobody", 401)
							ask("/healthz", "", 200)
							ask("/nothing", allowed, 403)
						}
					})
				}
				all.Wait()
				await(t, "every decision has its record", func() bool { return len(auditRecords(t, file)) >= 6*rounds*clients })
				counts, ids := map[string]int{}, map[string]bool{}
				for _, r := range auditRecords(t, file) {
					counts[r.Decision+" "+r.Reason]++
					if ids[r.RequestID] || r.RequestID == "" || r.Gateway == "" || r.Table == nil || r.Method != "GET" {
						t.Fatalf("%+v", r)
					}
					ids[r.RequestID] = true
					if r.Reason == "allowed" && (r.Caller == nil || r.Permission != "orders" || r.Grant != "scope orders" || len(r.Query) != 1) {
						t.Fatalf("%+v", r)
					}
				}
				want := map[string]int{"allow allowed": 1, "allow public": 1, "deny no_credential": 1, "deny invalid_credential": 1, "deny insufficient_scope": 1, "deny forbidden": 1}
				for kind, n := range want {
					if counts[kind] != n*rounds*clients {
						t.Errorf("%s: %d records, want %d of all %v", kind, counts[kind], n*rounds*clients, counts)
					}
				}
			})
		})
	}
}

// auditRecords are those of the file and of those that were put aside.
func auditRecords(t *testing.T, file string) (all []audit.Record) {
	t.Helper()
	names, err := filepath.Glob(strings.TrimSuffix(file, ".jsonl") + "*.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			continue // put aside meanwhile; the next look finds it
		}
		for line := range strings.Lines(string(text)) {
			var r audit.Record
			if err := json.Unmarshal([]byte(line), &r); err != nil {
				t.Fatalf("%s: %v", fmt.Sprintf("%.200q", line), err)
			}
			if strings.Contains(line, "s3cr3t") {
				t.Fatalf("a secret: %s", line)
			}
			all = append(all, r)
		}
	}
	return all
}
