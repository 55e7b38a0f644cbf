package apitokens

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"gatehouse/core/fleet/postgres"
)

// maxUses bounds the tokens whose use is not written yet.
const maxUses = 100_000

// uses are when tokens were used last, until they are written. What cannot be written
// is lost in the end: no request depends on it.
type uses struct {
	database *postgres.Kept
	log      *slog.Logger

	mu     sync.Mutex
	at     map[string]time.Time
	failed bool
}

func (u *uses) note(id string, at time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.at == nil {
		u.at = map[string]time.Time{}
	}
	if _, known := u.at[id]; known || len(u.at) < maxUses {
		u.at[id] = at
	}
}

func (u *uses) take() (ids []string, at []time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for id, t := range u.at {
		ids, at = append(ids, id), append(at, t)
	}
	clear(u.at)
	return ids, at
}

// write writes all at once.
func (u *uses) write(ctx context.Context) {
	ids, at := u.take()
	if len(ids) == 0 {
		return
	}
	err := u.database.Write(ctx, func(ctx context.Context, tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `INSERT INTO `+u.database.In("api_token_uses")+` AS had (token_id, used_at)
			SELECT t.id, now.used_at FROM unnest($1::text[], $2::timestamptz[]) now (id, used_at) JOIN `+u.database.In("api_tokens")+` t ON t.id = now.id ORDER BY t.id
			ON CONFLICT (token_id) DO UPDATE SET used_at = greatest(had.used_at, excluded.used_at)`, ids, at)
		return err
	})
	if err == nil {
		u.failed = false
		return
	}
	if !u.failed {
		u.failed = true
		u.log.Warn("when API tokens were used last cannot be written", "error", err.Error())
	}
	for i, id := range ids {
		u.noteAgain(id, at[i])
	}
}

// noteAgain keeps a later use.
func (u *uses) noteAgain(id string, at time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if before, known := u.at[id]; len(u.at) < maxUses && (!known || before.Before(at)) {
		u.at[id] = at
	}
}
