// Package feeds puts together the ways by which revocations reach a node: a stream in
// Redis, a table in PostgreSQL, or both.
package feeds

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"gatehouse/core/fleet/revocations"
	"gatehouse/core/fleet/revocations/durable"
	"gatehouse/core/revocation"
)

// Feeds are those of one node. Either may be nil. Whatever is acknowledged is in each of
// them, so that one of the two is enough for a node to know all.
type Feeds struct {
	Table  *durable.Table
	Stream *revocations.Stream
}

var _ revocation.Publisher = Feeds{}

// Publish writes events to the table first and then to the stream. It returns nil once
// both have acknowledged them.
func (f Feeds) Publish(ctx context.Context, events ...revocation.Event) error {
	switch {
	case f.Table == nil && f.Stream == nil:
		return errors.New("revocations have no way to other nodes")
	case f.Table == nil:
		return f.Stream.Publish(ctx, events...)
	case f.Stream == nil:
		return f.Table.Publish(ctx, events...)
	}
	events = revocation.Identified(events) // the same in both
	kept, tableError := f.Table.Write(ctx, events...)
	if tableError == nil {
		events = kept
	}
	streamError := f.Stream.Publish(ctx, events...)
	switch {
	case tableError != nil && streamError == nil:
		return fmt.Errorf("%w; nodes that run now learn of it by Redis; revoke again once PostgreSQL keeps it", tableError)
	case tableError == nil && streamError != nil:
		return fmt.Errorf("%w; it is kept in PostgreSQL, and reaches the nodes that reach that", streamError)
	}
	return errors.Join(tableError, streamError)
}

// Follow fills a list by all feeds, until the context ends.
func (f Feeds) Follow(ctx context.Context, list revocation.Fed) {
	several := &several{Fed: list}
	var running sync.WaitGroup
	if f.Table != nil {
		running.Go(func() { f.Table.Follow(ctx, several.view()) })
	}
	if f.Stream != nil {
		running.Go(func() { f.Stream.Follow(ctx, several.view()) })
	}
	running.Wait()
}

// Inflows are whether revocations come in, by the name of the feed.
func (f Feeds) Inflows() map[string]*revocation.Inflow {
	all := map[string]*revocation.Inflow{}
	if f.Table != nil {
		all[Postgres] = f.Table.Inflow()
	}
	if f.Stream != nil {
		all[Redis] = f.Stream.Inflow()
	}
	return all
}

// The names of feeds, which are labels of metrics.
const (
	Postgres = "postgres"
	Redis    = "redis"
)

// Problems are why revocations do not come in, of each feed that has a problem.
func (f Feeds) Problems() (all []error) {
	inflows := f.Inflows()
	for _, name := range slices.Sorted(maps.Keys(inflows)) {
		if err := inflows[name].Problem(); err != nil {
			all = append(all, err)
		}
	}
	return all
}

// several is a list that several feeds fill: it is blind while all of them are.
type several struct {
	revocation.Fed
	mu      sync.Mutex
	current map[*view]bool
}

// view is the list as one of the feeds fills it.
type view struct{ *several }

func (s *several) view() *view { return &view{s} }

// Current says that the list holds all that was published until now.
func (v *view) Current() {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.current == nil {
		v.current = map[*view]bool{}
	}
	v.current[v] = true
	v.Fed.Current()
}

// Blind says that one feed brings nothing.
func (v *view) Blind(cause error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if delete(v.current, v); len(v.current) == 0 {
		v.Fed.Blind(cause)
	}
}
