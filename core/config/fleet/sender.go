package fleet

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"gatehouse/core/revocation"
)

// Sender takes revocations to the nodes of a configuration from outside of them.
type Sender struct {
	*ways
	redis, database string // names; empty: none
}

var _ revocation.Publisher = (*Sender)(nil)

// errNoWay is of a configuration without anything that nodes share.
var errNoWay = errors.New("the configuration has neither a section redis nor a section postgres, by which revocations would reach nodes")

// Sender makes that of a configuration with a section revocation. It is to be closed.
// Where no node has begun a stream in Redis it fails, unless it may begin one.
func (b *Builder) Sender(s Sections, begin bool) (*Sender, error) {
	r, _, err := b.reach(s)
	if err != nil {
		return nil, err
	}
	w, err := b.ways(s, r, !begin)
	if err == nil && w == nil {
		err = errNoWay
	}
	if err != nil {
		return nil, err
	}
	sender := &Sender{ways: w}
	if r.store != nil {
		sender.redis = s.Redis.Name()
	}
	if r.database != nil {
		sender.database = "PostgreSQL " + r.database.Name()
	}
	return sender, nil
}

// Name says which Redis it is, and who else acknowledges what is written.
func (r *Redis) Name() string {
	name := "Redis " + strings.Join(r.addresses(), ", ")
	if r.SentinelMaster != "" {
		name = fmt.Sprintf("Redis %s of the sentinels %s", r.SentinelMaster, strings.Join(r.addresses(), ", "))
	}
	if n := r.replicas(); n > 0 {
		name += fmt.Sprintf(" and %d of its replicas", n)
	}
	return name
}

// Name says by what ways events are sent, each of which has to acknowledge them.
func (s *Sender) Name() string {
	return strings.Join(slices.DeleteFunc([]string{s.database, s.redis}, func(name string) bool { return name == "" }), " and ")
}

// HeldAt are the events in force by the place that holds them.
type HeldAt struct {
	Place  string
	Events []revocation.Event
	Err    error
}

// Held reads what each place holds.
func (s *Sender) Held(ctx context.Context) (all []HeldAt) {
	if s.Table != nil {
		events, err := s.Table.Events(ctx)
		all = append(all, HeldAt{s.database, newest(events), err})
	}
	if s.Stream != nil {
		events, err := s.Stream.Events(ctx)
		all = append(all, HeldAt{s.redis, newest(events), err})
	}
	return all
}
