package fleet

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"runtime"
	"slices"
	"time"

	"gatehouse/core/config/section"
	"gatehouse/core/revocation"
	"gatehouse/core/setting"
	"gatehouse/core/shared"
)

// Revocation is how credentials are revoked before they end.
type Revocation struct {
	WithoutList string          `config:"without_list" default:"deny" one_of:"deny,accept" doc:"What becomes of a credential that is verified locally (a JWT) while this node has no list of revocations at all: deny refuses it with 503, accept lets it pass. Credentials that a provider is asked about go on."`
	MaxBlind    setting.Seconds `config:"max_blind" default:"30" between:"1,3600" doc:"How long a result is cached, in seconds, while new revocations cannot be received. It is then looked up anew."`
	Retention   setting.Seconds `config:"retention" default:"86400" between:"60,31536000" doc:"How long a revocation is kept, in seconds, unless it says otherwise. A credential that is verified locally and was issued longer ago is refused, and so is one that does not say when it was issued (iat). Has to be longer than such credentials live."`
	Leeway      setting.Seconds `config:"leeway" default:"10" between:"0,300" doc:"By how much the clock of an issuer may be ahead, in seconds: what was issued so shortly after a revocation of a subject, a client or an issuer is revoked, too. At least jwt.leeway and introspection.leeway."`
	MaxEvents   int             `config:"max_events" default:"500000" between:"1000,10000000" doc:"Maximum number of revocations that are kept. No revocation is dropped for another: a further one is refused, or, where it comes from other nodes, counts as missed."`
}

// Check reports what no single tag can say. A fleet has redis or postgres. The leeways are those of the sections that
// read iat.
func (r *Revocation) Check(v section.Validator, fleet bool, stateDir string, leeways map[string]setting.Seconds) {
	if !fleet && stateDir == "" {
		v.Add("revocation", "needs state_dir, redis or postgres: a process that starts again would accept what was revoked")
	}
	for _, name := range slices.Sorted(maps.Keys(leeways)) {
		if r.Leeway < leeways[name] {
			v.Add("revocation.leeway", "is less than %s: a credential could be issued after its revocation by a clock that is ahead", name)
		}
	}
}

// revocationList is what a node knows to be revoked, and how it tells of it.
type revocationList struct {
	*revocation.List
	publisher revocation.Publisher
	ways      *ways // to other nodes; nil: there are none
	since     time.Time
	now       func() time.Time
	life      time.Duration // of an event that does not say
}

// revocations finds or makes the list of a configuration.
func (b *Builder) revocations(s Sections) (*revocationList, shared.Key, error) {
	r := s.Revocation
	reach, reachKey, err := b.reach(s)
	if err != nil {
		return nil, shared.Key{}, err
	}
	key := shared.KeyOf("revocation", r, s.StateDir, reachKey)
	list, err := b.lists.Get(key, func() (*revocationList, error) {
		w, err := b.ways(s, reach, false)
		if err != nil {
			return nil, err
		}
		list, err := revocation.Open(revocation.Options{
			Retention: r.Retention.Duration(), Leeway: r.Leeway.Duration(), MaxBlind: r.MaxBlind.Duration(), MaxEvents: r.MaxEvents,
			AcceptWithoutList: r.WithoutList == "accept", Fed: w != nil, Dir: s.StateDir, Counters: &b.revoked, Log: b.options.Log, Now: b.options.Now,
		})
		if err != nil {
			return nil, section.At("state_dir", err)
		}
		l := &revocationList{List: list, publisher: list, ways: w, since: time.Now(), now: b.options.Now, life: (r.Retention + r.Leeway).Duration()}
		ctx, stop := context.WithCancel(context.Background())
		go list.Run(ctx) // refers to the list only, so that l can become garbage
		if w != nil {
			l.publisher = w.Feeds
			go w.Follow(ctx, list)
		}
		runtime.AddCleanup(l, func(stop context.CancelFunc) { stop() }, stop)
		return l, nil
	})
	return list, key, err
}

// Revoke takes events to all nodes by every way that configurations name.
func (b *Builder) Revoke(ctx context.Context, events ...revocation.Event) error {
	found, failed := false, error(nil)
	for l := range b.lists.All() {
		found = true
		failed = errors.Join(failed, l.publisher.Publish(ctx, events...))
	}
	if !found {
		return errors.New("no configuration in use has a section revocation")
	}
	return failed
}

// Publisher takes events to all nodes, by the way that a configuration names. The key
// identifies it.
func (b *Builder) Publisher(s Sections) (revocation.Publisher, shared.Key, error) {
	list, key, err := b.revocations(s)
	if err != nil {
		return nil, key, err
	}
	return published{list}, key, nil
}

// published keeps the list for as long as somebody publishes to it.
type published struct{ *revocationList }

// Publish tells this node, too: its feed brings the events a moment later, and the next
// request of who has just signed out may come before.
func (p published) Publish(ctx context.Context, events ...revocation.Event) error {
	events = revocation.Identified(events)
	err := p.publisher.Publish(ctx, events...)
	if err != nil || p.ways == nil {
		return err
	}
	for i := range events {
		events[i] = events[i].Stamped(p.now(), p.life)
	}
	_ = p.Add(events...) // fails where the list is full, which its feed reports
	return nil
}

// RevocationStats are for metrics.
type RevocationStats struct {
	// Status is that of the list that knows least; Events are of the largest one.
	revocation.Status
	// Lists are those in use.
	Lists int
	*revocation.Counters
}

// RevocationStats are those of all lists in use.
func (b *Builder) RevocationStats() RevocationStats {
	total := RevocationStats{Counters: &b.revoked}
	for l := range b.lists.All() {
		s := l.Status()
		total.Lists++
		total.Events, total.Blind = max(total.Events, s.Events), max(total.Blind, s.Blind)
		total.Missing = total.Missing || s.Missing
	}
	return total
}

// Revocations are the events in force, the last one first.
func (b *Builder) Revocations() []revocation.Event {
	byID := map[string]revocation.Event{}
	for l := range b.lists.All() {
		for _, e := range l.All() {
			byID[e.ID] = e
		}
	}
	return newest(slices.Collect(maps.Values(byID)))
}

// newest sorts events: the last one first.
func newest(events []revocation.Event) []revocation.Event {
	slices.SortFunc(events, func(a, b revocation.Event) int {
		return cmp.Or(b.At.Compare(a.At), cmp.Compare(a.ID, b.ID))
	})
	return events
}
