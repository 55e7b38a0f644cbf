package durable

import (
	"context"

	"gatehouse/core/revocation"
)

// Events reads those that the table holds and that are in force. With an error the events
// are those that could be read.
func (t *Table) Events(ctx context.Context) ([]revocation.Event, error) {
	r := revocation.NewReader()
	f := &follower{Table: t, list: r}
	err := f.readOn(ctx)
	return r.Events(err)
}
