package postgres

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/sony/gobreaker/v2"
)

const (
	// failuresToOpen open the breaker, one after the other.
	failuresToOpen = 5
	// openFor is how long it stays open before one use tries.
	openFor = time.Second
)

// breaker leaves a database alone that does not respond.
type breaker struct {
	*gobreaker.CircuitBreaker[struct{}]
	// last is the failure before it opened.
	last atomic.Pointer[error]
}

func newBreaker(log *slog.Logger, name string) *breaker {
	return &breaker{CircuitBreaker: gobreaker.NewCircuitBreaker[struct{}](gobreaker.Settings{
		Name:         "postgres",
		Timeout:      openFor,
		ReadyToTrip:  func(c gobreaker.Counts) bool { return c.ConsecutiveFailures >= failuresToOpen },
		IsSuccessful: func(err error) bool { return !unusable(err) },
		IsExcluded:   func(err error) bool { return errors.Is(err, context.Canceled) },
		OnStateChange: func(_ string, from, to gobreaker.State) {
			switch {
			case to == gobreaker.StateClosed:
				log.Info("PostgreSQL responds again", "database", name)
			case to == gobreaker.StateOpen && from == gobreaker.StateClosed:
				log.Error("PostgreSQL does not respond; this node goes on with what it has", "database", name)
			}
		},
	})}
}

// do uses the database. While the breaker is open the error is the one that opened it.
func (b *breaker) do(use func() error) error {
	_, err := b.Execute(func() (struct{}, error) {
		err := use()
		if unusable(err) {
			b.last.Store(&err)
		}
		return struct{}{}, err
	})
	if last := b.last.Load(); last != nil && (errors.Is(err, gobreaker.ErrOpenState) || errors.Is(err, gobreaker.ErrTooManyRequests)) {
		return *last
	}
	return err
}

// ended reports whether a connection had ended that seemed to be there.
func ended(err error) bool {
	var server *pgconn.PgError
	return errors.As(err, &server) && (strings.HasPrefix(server.Code, "57P") || server.Code == idleInTransaction) || err != nil && !errors.As(err, new(*pgconn.ConnectError)) && isBroken(err)
}

// unusable reports whether an error says that the database cannot be used now: it is
// away, slow, full of connections or of another version. One that refuses a statement
// is there, also one whose disk is full: it can be read.
func unusable(err error) bool {
	var schema *SchemaError
	var connecting *pgconn.ConnectError
	var server *pgconn.PgError
	switch {
	case err == nil, errors.Is(err, pgx.ErrNoRows), errors.Is(err, pgx.ErrTxClosed):
		return false
	case errors.As(err, &schema), errors.As(err, &connecting), errors.Is(err, errTimeout):
		return true
	case errors.As(err, &server):
		// Connection exceptions, insufficient resources, operator intervention.
		return strings.HasPrefix(server.Code, "08") || strings.HasPrefix(server.Code, "53") && server.Code != diskFull || strings.HasPrefix(server.Code, "57P")
	}
	return pgconn.SafeToRetry(err) || pgconn.Timeout(err) || isBroken(err)
}
