package database

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"gatehouse/core"
	"gatehouse/core/authn/apitoken"
	"gatehouse/core/authn/apitoken/manage"
	"gatehouse/core/coretest"
	"gatehouse/core/fleet/apitokens"
	"gatehouse/core/fleet/postgres"
	"gatehouse/core/fleet/tables"
	"gatehouse/core/permission/tablefile"
	"gatehouse/core/revocation"
	"gatehouse/dev/postgrestest"
)

// The disk of the database is really full: whoever writes is told, what was committed
// stays as it was, and what is read goes on.
func TestFullDiskIsSaidAndKeepsWhatThereIs(t *testing.T) {
	s := setUp(t, postgrestest.StartOnSmallDisk(t, "160m"))
	store := tables.NewStore(editor(t, s))
	first := push(t, store, "main", opening("/1"))
	n := startNode(t, s, named)
	eventually(t, "the table is in force", func() bool { return n.opens("/1") })
	r := newRevoker(t, s)
	r.revoke(t, "ada")
	agree(t, []*revoker{r}, "ada")
	tokens := newTokens(t, s)
	token := tokens.create(t)

	s.FillDisk()
	full := func(what string, err error) {
		t.Helper()
		var server *pgconn.PgError
		if !errors.As(err, &server) || server.Code != "53100" || !strings.Contains(err.Error(), "make room for the database") {
			t.Errorf("%s: %v", what, err)
		}
	}
	noise := make([]byte, 64<<10)
	_, _ = rand.Read(noise)
	large := tables.Version{Name: "main", Base: first.Number, Author: "ada", Reason: "r", Program: "test", Files: []tablefile.Text{{Name: "t.yaml", Content: []byte(opening("/2") + "\n# " + hex.EncodeToString(noise))}}}
	for range 7 { // a breaker would be open by then
		_, err := store.Push(t.Context(), large)
		full("push", err)
	}
	acknowledged := []string{"ada"}
	for i := range 2000 {
		subject := fmt.Sprint(i, "-", strings.Repeat("x", 1000))
		if err := r.Publish(t.Context(), revocation.Event{Kind: revocation.Subject, Value: subject, Source: "test"}); err != nil {
			full("revoke", err)
			break
		}
		acknowledged = append(acknowledged, subject)
	}
	if len(acknowledged) > 1000 {
		t.Error("the disk is not full")
	}
	t.Logf("%d revocations were acknowledged", len(acknowledged))
	agree(t, []*revoker{r}, acknowledged...)
	if v, err := store.Newest(t.Context(), "main", nil); err != nil || v.ID() != first.ID() {
		t.Errorf("the newest version is %+v: %v", v, err)
	}
	if !n.opens("/1") || n.opens("/2") {
		t.Error("the table is not in force")
	}
	// That last uses cannot be written keeps no token from being looked up.
	for range 20 {
		tokens.use(t, token)
		time.Sleep(20 * time.Millisecond)
	}
	if !strings.Contains(tokens.log.String(), "when API tokens were used last cannot be written") || !strings.Contains(tokens.log.String(), "make room for the database") {
		t.Errorf("the log of tokens: %s", tokens.log)
	}
	s.EmptyDisk()
	eventually(t, "last uses are written", func() bool {
		all, err := tokens.keeper.List(t.Context())
		return err == nil && len(all) == 1 && !all[0].LastUsed.IsZero()
	})
	v, err := store.Push(t.Context(), large)
	if err != nil || v.Number != first.Number+1 {
		t.Errorf("%+v: %v", v, err)
	}
	eventually(t, "the next version is in force", func() bool { return n.opens("/2") })
}

// tokens are those of a node, with its rights, and of whoever manages them.
type tokens struct {
	keeper apitokens.Keeper
	gate   *apitoken.Authenticator
	used   func(*core.Principal)
	log    *coretest.Log
}

func newTokens(t *testing.T, s *postgrestest.Server) *tokens {
	t.Helper()
	node, log := connect(t, s, nil)
	store := apitokens.Open(apitokens.Options{
		Database: &postgres.Kept{Client: node}, UseInterval: 50 * time.Millisecond, Log: slog.New(slog.NewTextHandler(log, nil)), Now: time.Now,
	})
	gate, err := apitoken.New(apitoken.Options{Store: store, Owners: store, MaxLifetime: 24 * time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	return &tokens{apitokens.NewKeeper(editor(t, s)), gate, store.Used, log}
}

// create makes a service account with a token, with the rights of an editor.
func (k *tokens) create(t *testing.T) string {
	t.Helper()
	m := manage.New(manage.Options{Keeper: k.keeper, Owners: k.keeper, MaxLifetime: 24 * time.Hour, Now: time.Now})
	if err := m.SetAccount(t.Context(), "nightly", manage.Account{Grants: apitoken.Grants{Roles: []string{"clerk"}}}, "test"); err != nil {
		t.Fatal(err)
	}
	token, _, err := m.Create(t.Context(), manage.Request{Owner: apitoken.Owner{ServiceAccount: "nightly"}, Grants: apitoken.Grants{Roles: []string{"clerk"}}, Lifetime: time.Hour, By: "test"})
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func (k *tokens) use(t *testing.T, token string) {
	t.Helper()
	p, err := k.gate.AuthenticateToken(t.Context(), core.Credential{Place: core.BearerToken, Value: token})
	if err != nil || p.ClientID != "nightly" {
		t.Fatalf("the token is not found: %+v, %v", p, err)
	}
	k.used(p)
}
