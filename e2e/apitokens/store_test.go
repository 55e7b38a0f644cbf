package apitokens

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"gatehouse/core"
	"gatehouse/core/authn/apitoken"
	"gatehouse/core/authn/apitoken/manage"
	"gatehouse/core/fleet/apitokens"
	"gatehouse/core/fleet/postgres"
	"gatehouse/core/fleet/postgres/migrate"
	"gatehouse/core/fleet/postgres/migrations"
	"gatehouse/dev/postgrestest"
	"gatehouse/internal/cli"
)

// database is a migrated database.
func database(t testing.TB, dsn string) {
	t.Helper()
	config, err := postgres.Connection{URL: dsn}.Config()
	if err != nil {
		t.Fatal(err)
	}
	m, err := migrate.Open(t.Context(), migrate.Options{Connection: config, Schema: "gatehouse", Files: fs.FS(migrations.Files)})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if _, err := m.To(t.Context(), migrations.Newest(migrations.Files)); err != nil {
		t.Fatal(err)
	}
}

// rights are the statements of gatehouse db rights.
func rights(t testing.TB) string {
	t.Helper()
	var out, errs bytes.Buffer
	if status := cli.Main([]string{"db", "rights"}, strings.NewReader(""), &out, &errs); status != 0 {
		t.Fatal(errs.String())
	}
	return out.String()
}

// rig is a node's view of a database, and that of who manages tokens.
type rig struct {
	t       testing.TB
	dsn     string
	server  *postgrestest.Server
	store   *apitokens.Store
	manager *manage.Manager
	keeper  apitokens.Keeper
	gate    *apitoken.Authenticator
}

func newRig(t testing.TB) *rig {
	t.Helper()
	server := postgrestest.StartServer(t)
	r := &rig{t: t, server: server, dsn: server.DSN}
	database(t, r.dsn)
	client := r.client("")
	r.keeper = apitokens.NewKeeper(client)
	r.manager = manage.New(manage.Options{Keeper: r.keeper, Owners: r.keeper, MaxLifetime: 365 * 24 * time.Hour, Now: time.Now})
	r.store, r.gate = r.node("")
	return r
}

func (r *rig) client(role string) *postgres.Client {
	r.t.Helper()
	dsn := r.dsn
	if role != "" {
		dsn += " user=" + role
	}
	client, err := postgres.New(postgres.Options{Connection: postgres.Connection{URL: dsn}, Timeout: 2 * time.Second})
	if err != nil {
		r.t.Fatal(err)
	}
	return client
}

func (r *rig) node(role string) (*apitokens.Store, *apitoken.Authenticator) {
	r.t.Helper()
	store := apitokens.Open(apitokens.Options{Database: postgres.Keep(r.client(role)), UseInterval: 100 * time.Millisecond, Log: slog.New(slog.NewTextHandler(os.Stderr, nil)), Now: time.Now})
	gate, err := apitoken.New(apitoken.Options{Store: store, Owners: store, MaxLifetime: 365 * 24 * time.Hour})
	if err != nil {
		r.t.Fatal(err)
	}
	return store, gate
}

func (r *rig) exec(sql string) {
	r.t.Helper()
	postgrestest.Exec(r.t, r.dsn, "SET search_path = gatehouse; "+sql)
}

func (r *rig) account(name string, g apitoken.Grants, suspended bool) {
	r.t.Helper()
	if err := r.manager.SetAccount(r.t.Context(), name, manage.Account{Grants: g, Suspended: suspended}, "test"); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) create(want manage.Request) (string, *apitoken.Record) {
	r.t.Helper()
	if want.Lifetime == 0 {
		want.Lifetime = time.Hour
	}
	want.By = "test"
	token, record, err := r.manager.Create(r.t.Context(), want)
	if err != nil {
		r.t.Fatal(err)
	}
	return token, record
}

func ask(ctx context.Context, gate *apitoken.Authenticator, token string) (*core.Principal, error) {
	return gate.AuthenticateToken(ctx, core.Credential{Place: core.BearerToken, Value: token})
}

// outcome is how an attempt ends: good, refused or unknown (503).
func outcome(t testing.TB, gate *apitoken.Authenticator, token string) string {
	t.Helper()
	p, err := ask(t.Context(), gate, token)
	switch {
	case err == nil && p != nil:
		return "good"
	case errors.Is(err, core.ErrInvalid):
		return "refused"
	}
	return "unknown"
}

var nightly = apitoken.Owner{ServiceAccount: "nightly"}

func TestTokenInTheDatabaseIsWhatWasWritten(t *testing.T) {
	r := newRig(t)
	r.account("nightly", apitoken.Grants{Roles: []string{"clerk"}, Permissions: []string{"orders:read"}, Scopes: []string{"s"}}, false)
	token, _ := r.create(manage.Request{
		Name: "report", Owner: nightly, Grants: apitoken.Grants{Roles: []string{"clerk"}, Permissions: []string{"orders:read"}, Scopes: []string{"s"}},
		Networks: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8::/32"), netip.MustParsePrefix("192.0.2.7/32")}, Hosts: []string{"api.test"},
	})
	p, err := ask(t.Context(), r.gate, token)
	if err != nil {
		t.Fatal(err)
	}
	if p.ClientID != "nightly" || len(p.Networks) != 3 || p.Networks[2].String() != "192.0.2.7/32" || len(p.Hosts) != 1 || len(p.Roles) != 1 || len(p.Scopes) != 1 || len(p.Limit.Permissions) != 1 {
		t.Errorf("%+v, limit %+v", p, p.Limit)
	}
	var held string
	conn, err := pgx.Connect(t.Context(), r.dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	if err := conn.QueryRow(t.Context(), "SELECT (SELECT string_agg(t::text, ' ') FROM gatehouse.api_tokens t) || (SELECT string_agg(a::text, ' ') FROM gatehouse.service_accounts a)").Scan(&held); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(held, token) || strings.Contains(held, token[4:20]) || strings.Contains(held, "gth_") {
		t.Error("the database holds a token")
	}
	digest := apitoken.DigestOf(token).String()
	for _, stolen := range []string{digest, digest[7:], "gth_" + digest[7:56]} { // what a reader of the database has
		if got := outcome(t, r.gate, stolen); got != "refused" {
			t.Errorf("a digest as a token: %s", got)
		}
	}
}

// Whatever somebody writes into the database by hand, it never means more.
func TestRowThatNoProgramWroteOpensNothing(t *testing.T) {
	r := newRig(t)
	r.account("nightly", apitoken.Grants{Roles: []string{"clerk"}, Permissions: []string{"orders:read"}}, false)
	open := func() string {
		token, _ := r.create(manage.Request{Owner: nightly, Grants: apitoken.Grants{Roles: []string{"clerk"}}})
		return token
	}
	r.exec(`ALTER TABLE api_tokens DROP CONSTRAINT api_tokens_digest_key, DROP CONSTRAINT api_tokens_networks_check, DROP CONSTRAINT api_tokens_hosts_check, DROP CONSTRAINT api_tokens_check2,
		DROP CONSTRAINT api_tokens_check, DROP CONSTRAINT api_tokens_check1, DROP CONSTRAINT api_tokens_service_account_fkey,
		ALTER roles DROP NOT NULL, ALTER permissions DROP NOT NULL, ALTER scopes DROP NOT NULL, ALTER created_at DROP NOT NULL`)
	for name, c := range map[string]struct{ sql, want string }{
		"networks empty":           {"SET networks = '{}'", "refused"},
		"networks every address":   {"SET networks = '{0.0.0.0/0}'", "refused"},
		"networks with NULL":       {"SET networks = ARRAY[NULL]::cidr[]", "unknown"},
		"hosts empty":              {"SET hosts = '{}'", "refused"},
		"hosts with a wildcard":    {"SET hosts = '{*}'", "refused"},
		"no expiry":                {"SET expires_at = NULL", "refused"},
		"expiry that never is":     {"SET expires_at = 'infinity'", "refused"},
		"expiry before time":       {"SET expires_at = '-infinity'", "refused"},
		"far expiry":               {"SET expires_at = now() + interval '10 years'", "refused"},
		"no creation":              {"SET created_at = NULL", "refused"},
		"creation at the end":      {"SET created_at = now() + interval '10 years', expires_at = now() + interval '10 years 1 day'", "refused"},
		"revoked for ever":         {"SET revoked_at = 'infinity'", "refused"},
		"revoked before time":      {"SET revoked_at = '-infinity'", "refused"},
		"no owner":                 {"SET service_account = NULL", "refused"},
		"two owners":               {"SET subject = 'ada'", "refused"},
		"an owner who is none":     {"SET service_account = 'ghost'", "refused"},
		"a user whom nobody knows": {"SET service_account = NULL, subject = 'ada'", "refused"},
		"a newer version":          {"SET format = 2", "unknown"},
		"a wildcard role":          {"SET roles = '{*}'", "refused"},
		"untouched":                {"SET name = 'x'", "good"},
	} {
		token := open()
		r.exec("UPDATE api_tokens " + c.sql + " WHERE digest = '\\x" + apitoken.DigestOf(token).String()[7:] + "'")
		if got := outcome(t, r.gate, token); got != c.want {
			_, err := ask(t.Context(), r.gate, token)
			t.Errorf("%s: %s, want %s: %v", name, got, c.want, err)
		}
		if _, err := ask(t.Context(), r.gate, token); c.want == "unknown" && name == "a newer version" && !strings.Contains(err.Error(), "update this node") {
			t.Errorf("%s: %v does not say what to do", name, err)
		}
		r.exec("DELETE FROM api_tokens")
	}
	token := open()
	r.exec("INSERT INTO api_tokens (id, format, digest, service_account, roles, created_by, expires_at) SELECT 'second', 1, digest, service_account, '{admin}', 'evil', expires_at FROM api_tokens")
	if got := outcome(t, r.gate, token); got != "refused" {
		t.Errorf("two rows of one digest: %s", got)
	}
	r.exec("DELETE FROM api_tokens WHERE id = 'second'; UPDATE api_tokens SET roles = NULL, permissions = NULL, scopes = NULL")
	if p, err := ask(t.Context(), r.gate, token); err != nil || len(p.Roles)+len(p.Permissions)+len(p.Scopes) > 0 {
		t.Errorf("NULL grants: %+v, %v", p, err)
	}
	r.exec("ALTER TABLE service_accounts ALTER roles DROP NOT NULL, ALTER permissions DROP NOT NULL; UPDATE api_tokens SET roles = '{clerk}'; UPDATE service_accounts SET roles = NULL, permissions = NULL")
	if p, err := ask(t.Context(), r.gate, token); err != nil || len(p.Roles)+len(p.Limit.Roles)+len(p.Limit.Permissions) > 0 {
		t.Errorf("NULL grants of the owner: %+v, %v", p, err)
	}
}

func TestDatabaseThatIsAwayIsNoRefusal(t *testing.T) {
	r := newRig(t)
	r.account("nightly", apitoken.Grants{}, false)
	token, _ := r.create(manage.Request{Owner: nightly})
	for name, away := range map[string]struct{ fail, fix func() }{
		"stopped": {r.server.Stop, r.server.Restart}, "frozen": {r.server.Freeze, r.server.Thaw},
	} {
		away.fail()
		if got := outcome(t, r.gate, token); got != "unknown" {
			t.Errorf("%s: a good token is %s", name, got)
		}
		if got := outcome(t, r.gate, apitoken.Generate()); got != "unknown" {
			t.Errorf("%s: one that nobody made is %s", name, got)
		}
		if got := outcome(t, r.gate, token[:52]+"-"); got != "refused" {
			t.Errorf("%s: a malformed one is %s, and needs no database", name, got)
		}
		away.fix()
		await(t, name+": good again", func() bool { return outcome(t, r.gate, token) == "good" })
	}
}

func await(t testing.TB, what string, is func() bool) {
	t.Helper()
	awaitOr(t, func() string { return what }, is)
}

// awaitOr says at the end what there is instead.
func awaitOr(t testing.TB, what func() string, is func() bool) {
	t.Helper()
	for range 300 {
		if is() {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatalf("not within 6 s: %s", what())
}

func TestOwnerThatLosesARoleIsSuspendedOrIsGone(t *testing.T) {
	r := newRig(t)
	r.account("nightly", apitoken.Grants{Roles: []string{"clerk", "admin"}}, false)
	token, _ := r.create(manage.Request{Owner: nightly, Grants: apitoken.Grants{Roles: []string{"admin"}}})
	await(t, "changes are followed", func() bool { return r.store.Changed().After(time.Unix(1, 0)) })
	before := r.store.Changed()
	r.account("nightly", apitoken.Grants{Roles: []string{"clerk"}}, false)
	if p, err := ask(t.Context(), r.gate, token); err != nil || len(p.Roles) > 0 || len(p.Limit.Roles) != 1 {
		t.Errorf("%+v, %v", p, err)
	}
	await(t, "what is cached does not count any more", func() bool { return r.store.Changed().After(before) })
	r.account("nightly", apitoken.Grants{Roles: []string{"admin"}}, true)
	if got := outcome(t, r.gate, token); got != "refused" {
		t.Errorf("suspended: %s", got)
	}
}

func TestRotatedTokenGoesOnForTheOverlapAlone(t *testing.T) {
	r := newRig(t)
	r.account("nightly", apitoken.Grants{Permissions: []string{"orders:read"}}, false)
	token, old := r.create(manage.Request{Name: "report", Owner: nightly, Grants: apitoken.Grants{Permissions: []string{"orders:read"}}, Hosts: []string{"api.test"}, Lifetime: 24 * time.Hour})
	fresh, made, err := r.manager.Rotate(t.Context(), old, 0, time.Hour, "test")
	if err != nil {
		t.Fatal(err)
	}
	if made.Name != "report" || len(made.Hosts) != 1 || len(made.Permissions) != 1 || made.Expires.Sub(made.Created) != 24*time.Hour {
		t.Errorf("%+v", made)
	}
	was, err := r.manager.Find(t.Context(), token)
	if err != nil || time.Until(was.Expires) > time.Hour {
		t.Errorf("the old one ends at %s, %v", was.Expires, err)
	}
	if outcome(t, r.gate, token) != "good" || outcome(t, r.gate, fresh) != "good" {
		t.Error("one of the two is refused during the overlap")
	}
	if _, _, err := r.manager.Rotate(t.Context(), made, 0, 0, "test"); err != nil {
		t.Fatal(err)
	}
	if got := outcome(t, r.gate, fresh); got != "refused" {
		t.Errorf("rotated without an overlap: %s", got)
	}
	revoked, err := r.manager.Find(t.Context(), fresh)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := r.manager.Rotate(t.Context(), revoked, 0, time.Hour, "test"); err == nil {
		t.Error("a revoked token was rotated")
	}
}

// What is half done leaves a token that nobody has, or takes one away that is in use.
func TestRotationIsWholeOrNotAtAll(t *testing.T) {
	r := newRig(t)
	r.account("nightly", apitoken.Grants{}, false)
	token, old := r.create(manage.Request{Owner: nightly})
	r.exec("CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'the disk is full'; END $$")
	for _, overlap := range []time.Duration{0, time.Minute} {
		for _, step := range []string{"INSERT", "UPDATE"} {
			r.exec("CREATE TRIGGER fails BEFORE " + step + " ON api_tokens FOR EACH ROW EXECUTE FUNCTION fail()")
			if token, made, err := r.manager.Rotate(t.Context(), old, 0, overlap, "test"); err == nil || made != nil || token != "" {
				t.Errorf("%s fails: %+v, %v", step, made, err)
			}
			r.exec("DROP TRIGGER fails ON api_tokens")
			all, err := r.manager.List(t.Context())
			if err != nil || len(all) != 1 || !all[0].Revoked.IsZero() || !all[0].Expires.Equal(old.Expires) {
				t.Errorf("%s fails, overlap %s: %d tokens, %+v, %v", step, overlap, len(all), all[0], err)
			}
		}
	}
	if got := outcome(t, r.gate, token); got != "good" {
		t.Errorf("the old token is %s", got)
	}
}

func TestTwoRotationsAtOnceMakeOneToken(t *testing.T) {
	r := newRig(t)
	r.account("nightly", apitoken.Grants{}, false)
	_, old := r.create(manage.Request{Owner: nightly})
	var made atomic.Int32
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			if _, _, err := r.manager.Rotate(t.Context(), old, 0, 0, "test"); err == nil {
				made.Add(1)
			} else if !strings.Contains(err.Error(), "is revoked") {
				t.Error(err)
			}
		})
	}
	all.Wait()
	tokens, err := r.manager.List(t.Context())
	if made.Load() != 1 || err != nil || len(tokens) != 2 {
		t.Errorf("%d rotations succeed and leave %d tokens, %v", made.Load(), len(tokens), err)
	}
}

// The role of a node reads tokens and writes when they were used, and nothing else.
func TestNodeMayMakeNoTokens(t *testing.T) {
	r := newRig(t)
	r.account("nightly", apitoken.Grants{}, false)
	token, record := r.create(manage.Request{Owner: nightly})
	r.exec("CREATE ROLE gatehouse_node LOGIN; CREATE ROLE gatehouse_editor LOGIN; " + rights(t))
	store, gate := r.node("gatehouse_node")
	if got := outcome(t, gate, token); got != "good" {
		t.Errorf("a node finds a token to be %s", got)
	}
	keeper := apitokens.NewKeeper(r.client("gatehouse_node"))
	if err := keeper.Add(t.Context(), &apitoken.Record{ID: "evil", Owner: nightly, Created: time.Now(), CreatedBy: "node"}); err == nil {
		t.Error("a node made a token")
	}
	if err := keeper.SetAccount(t.Context(), "nightly", manage.Account{Grants: apitoken.Grants{Roles: []string{"admin"}}}, "node"); err == nil {
		t.Error("a node changed a service account")
	}
	if err := keeper.Update(t.Context(), record.ID, func(r *apitoken.Record) error { r.Expires = r.Expires.Add(time.Hour); return nil }); err == nil {
		t.Error("a node changed a token")
	}
	store.Used(&core.Principal{Kind: core.KindJWT, ID: "of-another-kind"})
	store.Used(&core.Principal{Kind: core.KindAPIToken, ID: record.ID})
	await(t, "its last use is written", func() bool {
		found, err := r.manager.Find(t.Context(), token)
		return err == nil && time.Since(found.LastUsed) < time.Minute
	})
}
