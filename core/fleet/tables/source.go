package tables

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"gatehouse/core/fleet/postgres"
	"gatehouse/core/permission/live"
)

// SourceOptions say which table is followed.
type SourceOptions struct {
	Database *postgres.Kept
	Name     string
	// Poll is how often the database is asked where no notification came.
	Poll time.Duration
	// Folder is where the last good version is kept; empty: nowhere.
	Folder string
	Log    *slog.Logger
	Now    func() time.Time
}

// Source follows a table of the database.
type Source struct {
	options SourceOptions
	store   *Store
	copies  *copies // nil: none
	told    *postgres.Subscription

	// last is the version that was handed out last; pending is it until it is kept.
	last, pending *Version

	live.Condition
}

var _ interface {
	live.Keeper
	live.Reporter
} = (*Source)(nil)

const (
	// tableTime is how many time limits of the database one table may take.
	tableTime = 10
	// firstTime is how long the database may take before a copy is used instead.
	firstTime = 2 * time.Second
	// channel is where the database tells of versions.
	channel = "permission_tables"
)

// NewSource makes a source.
func NewSource(o SourceOptions) *Source {
	s := &Source{options: o, store: NewStore(o.Database.Times(tableTime)), told: o.Database.Subscribe(channel)}
	if o.Folder != "" {
		s.copies = newCopies(o.Folder, o.Database.Name(), o.Name, o.Now)
	}
	return s
}

// Close ends the subscription.
func (s *Source) Close() { s.told.Close() }

// Names name the table.
func (s *Source) Names() []string { return []string{s.options.Name} }

// Next waits for another version than the one given.
func (s *Source) Next(ctx context.Context, version string) (live.Content, error) {
	for {
		if content, news, err := s.look(ctx, version); news {
			return content, err
		}
		poll := time.NewTimer(s.options.Poll)
		select {
		case <-ctx.Done():
		case <-s.told.C:
		case <-poll.C:
		}
		poll.Stop()
		if ctx.Err() != nil {
			return live.Content{}, ctx.Err()
		}
	}
}

// look asks the database once. It reports no news while that holds the given version.
func (s *Source) look(ctx context.Context, version string) (c live.Content, news bool, err error) {
	v, err := s.ask(ctx, version)
	var unreadable *UnreadableError
	switch {
	case errors.As(err, &unreadable):
		s.confirmed()
		id := unreadable.Version.ID()
		return live.Content{Version: id}, id != version, err
	case errors.Is(err, ErrNone):
		s.confirmed()
		return live.Content{}, true, err
	case err != nil:
		s.Failed(s.options.Now())
		if saved := s.copy(err); saved != nil {
			c, err = s.hand(saved)
		}
		return c, true, err
	}
	s.confirmed()
	if v.ID() == version {
		return live.Content{}, false, nil
	}
	if s.last != nil && v.Number < s.last.Number {
		s.options.Log.Warn("the database holds an older version of a permission table than before; it was restored, or is a standby that lags", "table", v.Name, "version", v.Number, "before", s.last.Number)
	}
	c, err = s.hand(v)
	return c, true, err
}

func (s *Source) ask(ctx context.Context, version string) (*Version, error) {
	has := s.last
	if has != nil && has.ID() != version {
		has = nil
	}
	if s.last == nil && s.copies != nil {
		if _, _, err := s.copies.load(s.options.Name); err == nil {
			first, cancel := context.WithTimeout(ctx, firstTime)
			defer cancel()
			ctx = first
		}
	}
	return s.store.Newest(ctx, s.options.Name, has)
}

// hand makes content of a version.
func (s *Source) hand(v *Version) (live.Content, error) {
	files, err := v.Table()
	s.pending = v
	without := *v
	without.Files = nil
	s.last = &without
	return live.Content{Version: v.ID(), Files: files}, err
}

// copy is what was saved, where nothing has been in use yet and the database cannot be
// asked.
func (s *Source) copy(cause error) *Version {
	if s.copies == nil || s.last != nil {
		return nil
	}
	v, at, err := s.copies.load(s.options.Name)
	if err != nil {
		if !absent(err) {
			s.options.Log.Error("the copy of a permission table is not used", "table", s.options.Name, "error", err.Error())
		}
		return nil
	}
	s.options.Log.Warn("the database cannot be asked; the permission table comes from the copy in state_dir",
		"table", v.Name, "version", v.ID(), "saved", at, "error", cause.Error())
	s.Copied(at)
	return v
}

// Loaded saves a version that is in use now.
func (s *Source) Loaded(version string) {
	v := s.pending
	if v == nil || v.ID() != version {
		return
	}
	s.pending = nil
	if s.copies == nil {
		return
	}
	if err := s.copies.save(v); err != nil {
		s.options.Log.Error("the permission table could not be saved in state_dir; a start while the database is away will deny everything", "table", v.Name, "error", err.Error())
	}
}

// confirmed notes that the database has said what it holds.
func (s *Source) confirmed() {
	if s.Confirmed() {
		s.options.Log.Info("the database can be asked again; the permission table comes from there", "table", s.options.Name)
	}
}
