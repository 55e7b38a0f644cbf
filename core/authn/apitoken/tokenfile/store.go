package tokenfile

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"
	"time"

	"gatehouse/core/authn/apitoken"
	"gatehouse/core/follow"
)

// Store is a token file that is followed. While it has an error, the last good one stays
// in force.
type Store struct {
	value   *follow.Value[content]
	changed *atomic.Int64 // when, in nanoseconds
	path    string
}

var (
	_ apitoken.Store  = (*Store)(nil)
	_ apitoken.Owners = (*Store)(nil)
)

// content is a file as it is looked up.
type content struct {
	tokens map[apitoken.Digest]*apitoken.Record
	owners map[apitoken.Owner]Grants
}

// interval is how often the file is looked at. A change counts at the second look.
const interval = 250 * time.Millisecond

// Open follows a file. One that does not load is followed until it does.
func Open(path string, log *slog.Logger, now func() time.Time) *Store {
	changed := &atomic.Int64{}
	begun := false
	value := follow.Open(follow.Options[content]{
		Interval: interval,
		Now:      now,
		Make: func() (*content, []string, error) {
			c, err := load(path)
			return c, []string{path}, err
		},
		OnChange: func(err error, kept bool) {
			changed.Store(now().UnixNano())
			switch {
			case err == nil && begun:
				log.Info("API tokens loaded", "file", path)
			case err == nil:
			case kept:
				log.Error("API tokens did not load; the last good file stays in force: a token that the new one revokes still counts", "file", path, "error", err.Error())
			default:
				log.Error("API tokens did not load; all are refused with 503 until the file is mended", "file", path, "error", err.Error())
			}
			begun = true
			warnOfMode(path, log)
		},
	})
	return &Store{value, changed, path}
}

func load(path string) (*content, error) {
	if err := checkMode(path); err != nil {
		return nil, err
	}
	f, err := Read(path)
	if err != nil {
		return nil, err
	}
	c := &content{tokens: make(map[apitoken.Digest]*apitoken.Record, len(f.Tokens)), owners: f.Owners}
	for _, r := range f.Tokens {
		c.tokens[r.Digest] = r
	}
	return c, nil
}

// checkMode refuses a file that everybody may write: whoever does makes tokens.
func checkMode(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if info.Mode().Perm()&0o002 != 0 {
		return fmt.Errorf("%s may be written by everybody (mode %04o), who could make tokens: chmod 0600", path, info.Mode().Perm())
	}
	return nil
}

// warnOfMode tells of a file that everybody may read: digests cannot be turned into
// tokens, but it says who may do what.
func warnOfMode(path string, log *slog.Logger) {
	if info, err := os.Stat(path); err == nil && info.Mode().Perm()&0o004 != 0 {
		log.Warn("the file of API tokens may be read by everybody; it holds no token, but says who may do what: chmod 0600", "file", path, "mode", fmt.Sprintf("%04o", info.Mode().Perm()))
	}
}

// Find finds the record of a token.
func (s *Store) Find(_ context.Context, d apitoken.Digest) (*apitoken.Record, error) {
	c, err := s.content()
	if err != nil {
		return nil, err
	}
	if r := c.tokens[d]; r != nil {
		return r, nil
	}
	return nil, apitoken.ErrUnknown
}

// Grants are those of an owner in the file.
func (s *Store) Grants(_ context.Context, o apitoken.Owner) (apitoken.Grants, error) {
	c, err := s.content()
	if err != nil {
		return apitoken.Grants{}, err
	}
	return grantsOf(c.owners, o, s.path)
}

func grantsOf(owners map[apitoken.Owner]Grants, o apitoken.Owner, path string) (apitoken.Grants, error) {
	g, known := owners[o]
	switch {
	case !known:
		return apitoken.Grants{}, fmt.Errorf("%w: %s is not in %s", apitoken.ErrGone, o, path)
	case g.Suspended:
		return apitoken.Grants{}, fmt.Errorf("%w: %s is suspended in %s", apitoken.ErrGone, o, path)
	}
	return g.Grants, nil
}

var errEmpty = errors.New("the file of API tokens has not loaded")

func (s *Store) content() (*content, error) {
	state := s.value.State()
	if state.Value == nil {
		return nil, fmt.Errorf("%w: %w", errEmpty, state.Err)
	}
	return state.Value, nil
}

// Changed is when the content changed last. What was found before does not count.
func (s *Store) Changed() time.Time { return time.Unix(0, s.changed.Load()) }

// Loaded reports whether there is a content.
func (s *Store) Loaded() bool { return s.value.State().Value != nil }
