package forwardauth

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse/core/config/fleet"
	"gatehouse/core/coretest"
	"gatehouse/core/fleet/postgres"
	"gatehouse/core/fleet/tables"
	"gatehouse/core/permission/tablefile"
	"gatehouse/core/revocation"
	"gatehouse/core/setting"
	"gatehouse/dev/demo"
	"gatehouse/dev/postgrestest"
	"gatehouse/internal/cli"
)

// Names of what nodes of a fleet share.
const (
	demoTable   = "demo"
	fleetTable  = "fleet"
	fleetIssuer = "https://id.fleet.test"
	pathOfAll   = "/fleet/shared"  // for everybody with a credential
	pathOfTable = "/fleet/guarded" // what it needs changes with each version
	pathOfClerk = "/fleet/clerks"  // for the role clerk
)

// shares is what the nodes share in Redis and PostgreSQL, with the rights of those who
// change it.
type shares struct {
	t    *testing.T
	key  *coretest.Key
	keys string // file of the key set
	url  atomic.Pointer[string]

	mu      sync.Mutex
	version int64 // the newest of the fleet's table that is acknowledged
}

// share sets a database up as the documentation says, and puts the first of all into it.
func share(t *testing.T, f *fleetEnvironment) *shares {
	t.Helper()
	s := &shares{t: t, key: coretest.NewKey(t, "fleet", "ES256"), keys: filepath.Join(t.TempDir(), "keys.json")}
	text, err := json.Marshal(map[string]any{"keys": []any{s.key.JWK(t)}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(s.keys, text, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, sql := range []string{"CREATE ROLE gatehouse_owner LOGIN", "CREATE ROLE gatehouse_editor LOGIN", "CREATE ROLE gatehouse_node LOGIN", "CREATE DATABASE gatehouse OWNER gatehouse_owner"} {
		postgrestest.Exec(t, f.postgres.DSN, sql)
	}
	s.at(f.postgres.Addr)
	s.run("db", "migrate", "--database-url", strings.Replace(*s.url.Load(), "_editor", "_owner", 1))
	postgrestest.Exec(t, strings.Replace(f.postgres.DSN, "dbname=postgres", "dbname=gatehouse", 1), s.run("db", "rights"))
	if err := s.push(t.Context(), demoTable, demo.PermissionTable); err != nil {
		t.Fatal(err)
	}
	if err := s.pushNext(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.run("token", "account", "--database-url", *s.url.Load(), "--permission", "clerks", "nightly")
	s.setClerk("clerk", true)
	return s
}

// at says where the database is that takes changes.
func (s *shares) at(address string) {
	url := "postgres://gatehouse_editor@" + address + "/gatehouse?sslmode=disable&connect_timeout=2"
	s.url.Store(&url)
}

// run runs a command of the command line, and returns what it prints.
func (s *shares) run(args ...string) string {
	s.t.Helper()
	out, err := s.try(args...)
	if err != nil {
		s.t.Fatal(err)
	}
	return out
}

func (s *shares) try(args ...string) (string, error) {
	var out, errs bytes.Buffer
	if status := cli.Main(args, strings.NewReader(""), &out, &errs); status != 0 {
		return "", fmt.Errorf("gatehouse %s: status %d: %s", strings.Join(args, " "), status, &errs)
	}
	return out.String(), nil
}

// newToken makes an API token of a service account that may what clerks may.
func (s *shares) newToken() string {
	s.t.Helper()
	return strings.TrimSpace(s.run("token", "create", "--database-url", *s.url.Load(), "--service-account", "nightly", "--permission", "clerks", "--name", "test"))
}

// setClerk gives a subject the role of a clerk, or takes it away.
func (s *shares) setClerk(subject string, is bool) {
	s.t.Helper()
	args := []string{"roles", "set", subject, "--database-url", *s.url.Load(), "--issuer", fleetIssuer, "--reason", "a test", "--author", "test"}
	if is {
		args = append(args, "--role", "clerk")
	}
	s.run(args...)
}

// tableOf is version n of the fleet's table. Each contradicts those beside it: what editors hold
// opens the guarded path in the same version alone, and guests hold what opens it in
// others.
func tableOf(n int64) string {
	all := []string{"permissions:", "  clerks: {activities: [GET " + pathOfClerk + "]}", fmt.Sprintf("  p%d: {activities: [GET %s]}", n, pathOfTable)}
	var others []string
	for _, k := range []int64{n - 2, n - 1, n + 1, n + 2} {
		all = append(all, fmt.Sprintf("  p%d: {activities: [GET /fleet/other/%d]}", k, k-n+2))
		others = append(others, fmt.Sprintf("p%d", k))
	}
	all = append(all, "roles:", "  clerk: [clerks]", fmt.Sprintf("  editor: [p%d]", n), "  guest: ["+strings.Join(others, ", ")+"]",
		"authenticated: [GET "+pathOfAll+"]")
	return strings.Join(all, "\n")
}

func (s *shares) push(ctx context.Context, name, text string) error {
	client, err := postgres.New(postgres.Options{Connection: postgres.Connection{URL: *s.url.Load()}, Timeout: time.Second})
	if err != nil {
		return err
	}
	defer client.Close()
	store := tables.NewStore(client)
	base := int64(0)
	if all, err := store.History(ctx, name, 1); err != nil {
		return err
	} else if len(all) > 0 {
		base = all[0].Number
	}
	if name == fleetTable {
		text = tableOf(base + 1)
	}
	pushed, err := store.Push(ctx, tables.Version{Name: name, Base: base, Author: "test", Reason: "test", Program: "test", Files: []tablefile.Text{{Name: "t.yaml", Content: []byte(text)}}})
	if err == nil && name == fleetTable {
		s.mu.Lock()
		s.version = max(s.version, pushed.Number)
		s.mu.Unlock()
	}
	return err
}

func (s *shares) pushNext(ctx context.Context) error { return s.push(ctx, fleetTable, "") }

func (s *shares) newest() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.version
}

// keepPushing puts version after version into the database, until the context ends.
func (s *shares) keepPushing(ctx context.Context) {
	for ctx.Err() == nil {
		_ = s.pushNext(ctx) // the database may be away
		select {
		case <-ctx.Done():
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// config is that of the routes that are asked all the time.
func (s *shares) config(f *fleetEnvironment) map[string]any {
	return map[string]any{
		"introspection": map[string]any{"introspection_endpoint": f.provider.URL, "audience": []string{"api"}, "issuer": fleetIssuer, "cache_ttl": 3600},
		"jwt":           map[string]any{"issuers": []any{map[string]any{"issuer": fleetIssuer, "jwks_file": s.keys, "audience": []string{"api"}}}, "cache_ttl": 3600},
		"api_token":     map[string]any{"token_store": "postgres"},
		"subject_roles": map[string]any{"max_stale": 3600},
		"upstream_headers": map[string]any{
			"X-User-Id": "sub", "X-User-Permissions": "permissions",
		},
		"permission_table_name": fleetTable,
	}
}

// issued is when all tokens were.
var issued = time.Now().Add(-time.Minute)

// introspected is what the provider says of a token: ROLE-SUBJECT-ANYTHING.
func introspected(token string) map[string]any {
	role, rest, _ := strings.Cut(token, "-")
	subject, _, _ := strings.Cut(rest, "-")
	roles := []string{}
	if role == "editor" || role == "guest" {
		roles = append(roles, role)
	}
	return map[string]any{
		"active": slices.Contains([]string{"editor", "guest", "none"}, role), "sub": subject, "iss": fleetIssuer, "aud": "api",
		"exp": time.Now().Add(time.Hour).Unix(), "iat": issued.Unix(), "roles": roles,
	}
}

// jwt is a JWT of a subject, which nodes verify themselves.
func (s *shares) jwt(subject string) string {
	claims, err := json.Marshal(map[string]any{
		"iss": fleetIssuer, "sub": subject, "aud": "api", "exp": time.Now().Add(time.Hour).Unix(), "iat": issued.Unix(),
		"jti": rand.Text(),
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return s.key.Sign(s.t, map[string]any{"alg": "ES256", "kid": "fleet", "typ": "at+jwt"}, string(claims))
}

// publish revokes as the command line does: by Redis and PostgreSQL, acknowledged by both.
func (s *shares) publish(ctx context.Context, f *fleetEnvironment, events ...revocation.Event) error {
	host, port := hostPort(strings.Split(strings.TrimPrefix(*s.url.Load(), "postgres://gatehouse_editor@"), "/")[0])
	sender, err := fleet.NewBuilder(fleet.Options{Now: time.Now}).Sender(fleet.Sections{
		Redis: &fleet.Redis{
			SentinelNodes: f.redis.Addresses(), SentinelMaster: f.redis.Name, Secret: fleetSecret, KeyPrefix: "gatehouse:",
			PoolSize: 1, Timeout: 1, ConnectTimeout: 1, WaitReplicas: -1,
		},
		Postgres:   &fleet.Postgres{Host: host, Port: port, User: "gatehouse_editor", Database: "gatehouse", Schema: "gatehouse", Timeout: 1, ConnectTimeout: 1, PoolSize: 1, PollInterval: 1},
		Revocation: &fleet.Revocation{Retention: setting.Seconds(86400), Leeway: 10},
	}, false)
	if err != nil {
		return err
	}
	defer sender.Close()
	within, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	return sender.Publish(within, events...)
}

// victims are credentials that are revoked.
type victims struct {
	events []revocation.Event
	tokens []string
}

// newVictims are an opaque token, a JWT and an API token, revoked by their digests, and a subject
// with another opaque token and another JWT.
func (s *shares) newVictims(name string) victims {
	gone := "gone" + name
	v := victims{tokens: []string{"none-victim-" + name, s.jwt("victim"), s.newToken()}}
	for _, token := range v.tokens {
		v.events = append(v.events, revocation.Event{Kind: revocation.Token, Value: revocation.TokenDigest(token), Source: "test"})
	}
	v.events = revocation.Identified(append(v.events, revocation.Event{Kind: revocation.Subject, Value: gone, Issuer: fleetIssuer, Source: "test"}))
	v.tokens = append(v.tokens, "none-"+gone+"-1", s.jwt(gone))
	return v
}
