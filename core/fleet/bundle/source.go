// Package bundle follows a permission table that a web server hands out: one file or
// several, each under a URL of its own, optionally signed as one.
//
// A table is taken over whole or not at all. What does not arrive complete, is not
// signed by a configured key or is older than what has been in force is an error that
// says so, and the last good table stays, on disk, too, for a start while the server is
// away.
package bundle

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"time"

	"gatehouse/core/authn/idp"
	"gatehouse/core/fleet/lastgood"
	"gatehouse/core/permission/live"
	"gatehouse/core/permission/strictyaml"
	"gatehouse/core/permission/tablefile"
)

// Options of a Source.
type Options struct {
	// URLs of the files of the table.
	URLs []string
	// SignatureURL has the signature of all files; it is needed with Keys, and only
	// there.
	SignatureURL string
	// Keys verify signatures; none: nothing is signed.
	Keys Keys
	// MaxAge is the greatest age of a signature; 0: any.
	MaxAge time.Duration
	// Header is sent with each request.
	Header http.Header
	// Client calls the server.
	Client *idp.Client
	// Interval is the time between two looks, give or take a tenth. Default 10 s.
	Interval time.Duration
	// Settle is how long several files without a common signature have to stand still.
	// Default 1 s.
	Settle time.Duration
	// Dir is where the last good table is kept for another start; empty: nowhere.
	Dir string
	// Log gets a line about a copy that is used or cannot be; nil: none.
	Log *slog.Logger
	// Now is the clock; nil: the system's.
	Now func() time.Time
}

func (o Options) withDefaults() Options {
	if o.Interval == 0 {
		o.Interval = 10 * time.Second
	}
	if o.Settle == 0 {
		o.Settle = time.Second
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return o
}

func (o Options) validate() error {
	switch {
	case len(o.URLs) == 0:
		return errors.New("no URL of a permission table")
	case o.Client == nil:
		return errors.New("no client to call the server with")
	case len(o.Keys) > 0 && o.SignatureURL == "":
		return errors.New("a key, and no URL of the signature")
	case len(o.Keys) == 0 && o.MaxAge != 0:
		return errors.New("the greatest age of a signature, and no key to verify one with")
	case len(o.Keys) == 0 && o.SignatureURL != "":
		return errors.New("the URL of a signature, and no key to verify it with")
	case o.Interval < 0 || o.Settle < 0 || o.MaxAge < 0:
		return errors.New("a time is negative")
	}
	return nil
}

const (
	// maxSignature is the greatest size of a signature, in bytes.
	maxSignature = 16 << 10
	// firstRetry is the time after a failure; it doubles up to the interval.
	firstRetry = time.Second
	// firstLook bounds the first look where there is a copy to begin with.
	firstLook = 3 * time.Second
)

// Source is a live.Source over HTTP.
type Source struct {
	options   Options
	files     []*document
	signature *document // nil: nothing is signed
	copies    lastgood.Copies

	begun    bool
	wait     time.Duration // until the next look
	failures int
	// last is what was returned last, good what was in force last; nil: nothing.
	last, good *bundle
	live.Condition
}

var (
	_ live.Keeper   = (*Source)(nil)
	_ live.Reporter = (*Source)(nil)
)

// New makes a source. Nothing is called yet.
func New(o Options) (*Source, error) {
	o = o.withDefaults()
	if err := o.validate(); err != nil {
		return nil, err
	}
	s := &Source{options: o}
	for _, text := range o.URLs {
		u, err := idp.ParseURL(text)
		if err != nil {
			return nil, fmt.Errorf("the URL of a permission table %w", err)
		}
		s.files = append(s.files, &document{url: u, limit: strictyaml.MaxFile})
	}
	if o.SignatureURL != "" {
		u, err := idp.ParseURL(o.SignatureURL)
		if err != nil {
			return nil, fmt.Errorf("the URL of the signature %w", err)
		}
		s.signature = &document{url: u, limit: maxSignature}
	}
	s.copies = lastgood.In(o.Dir, "bundle", o.URLs, o.SignatureURL)
	return s, nil
}

// Names are the addresses of the files, without what may be secret in them.
func (s *Source) Names() []string {
	names := make([]string, len(s.files))
	for i, d := range s.files {
		names[i] = idp.Name(d.url)
	}
	return names
}

// Next returns what the server hands out as soon as that is another version.
func (s *Source) Next(ctx context.Context, version string) (live.Content, error) {
	for {
		if err := sleep(ctx, s.wait); err != nil {
			return live.Content{}, err
		}
		b, err := s.look(ctx)
		s.schedule(err)
		switch {
		case err == nil:
			s.Confirmed()
		case ctx.Err() != nil:
			return live.Content{}, ctx.Err()
		default:
			s.Failed(s.options.Now())
		}
		if err != nil && !s.begun {
			b, err = s.copied(err)
		}
		if err != nil {
			return live.Content{}, err
		}
		s.begun, s.last = true, b
		if b.version != version {
			files, v, err := tablefile.ParseAll(b.texts...)
			return live.Content{Version: v, Files: files}, err
		}
	}
}

// schedule says when to look next: soon after a failure, less soon after each further
// one, and never all nodes at the same time.
func (s *Source) schedule(err error) {
	s.wait = s.options.Interval
	if err != nil {
		s.wait = min(firstRetry<<min(s.failures, 10), s.options.Interval)
		s.failures++
	} else {
		s.failures = 0
	}
	s.wait = time.Duration(float64(s.wait) * (0.9 + 0.2*rand.Float64()))
}

func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// bundle is a table with its signature.
type bundle struct {
	texts     []tablefile.Text
	version   string
	signature string
	validity            // of the signature
	saved     time.Time // of a copy
}

// copy is what is kept of a bundle.
func (b *bundle) copy() lastgood.Copy {
	c := lastgood.Copy{Signature: b.signature}
	for _, t := range b.texts {
		c.Texts = append(c.Texts, t.Content)
	}
	return c
}

// look returns what the server hands out now: as a whole, verified and not older than
// what was in force.
func (s *Source) look(ctx context.Context) (*bundle, error) {
	if !s.begun && s.copies.Exist() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, firstLook)
		defer cancel()
	}
	if s.last != nil && (s.good == nil || s.good.version != s.last.version) {
		s.forget() // it was refused: mended, it may have the same entity tag
	}
	b, err := s.fetch(ctx)
	if err != nil {
		return nil, err
	}
	if len(s.options.Keys) == 0 && len(s.files) > 1 && (s.last == nil || b.version != s.last.version) {
		if err := s.settled(ctx, b); err != nil {
			return nil, err
		}
	}
	if s.last != nil && s.last.version == b.version && s.last.signature == b.signature {
		return s.last, s.current(s.last)
	}
	if err := s.verify(b); err != nil {
		s.forget() // an entity tag may stand for two contents
		return nil, err
	}
	return b, nil
}

// settled looks once more at files that are published one after the other.
func (s *Source) settled(ctx context.Context, b *bundle) error {
	if err := sleep(ctx, s.options.Settle); err != nil {
		return err
	}
	again, err := s.fetch(ctx)
	if err != nil {
		return err
	}
	if again.version != b.version {
		return errors.New("the files at the URLs are being replaced; they are read again when they stand still")
	}
	return nil
}

// current reports why a bundle is too old to be loaded. One that is in force stays until
// there is a newer one.
func (s *Source) current(b *bundle) error {
	if s.signature == nil {
		return nil
	}
	if err := b.ended(s.options.Now(), s.options.MaxAge); err != nil {
		return fmt.Errorf("%s: %w", idp.Name(s.signature.url), err)
	}
	return nil
}

// verify checks the signature of a bundle, that it counts still and that it is not an
// older one.
func (s *Source) verify(b *bundle) error {
	if len(s.options.Keys) == 0 {
		return nil
	}
	where := idp.Name(s.signature.url)
	v, err := s.options.Keys.verify(b.signature, payload(b.texts), s.options.Now())
	if err != nil {
		return fmt.Errorf("%s: %w", where, err)
	}
	b.validity = v
	if err := s.current(b); err != nil {
		return err
	}
	if err := b.replaces(s.newest()); err != nil {
		return fmt.Errorf("%s: %w", where, err)
	}
	return nil
}

// newest is the newest bundle that was in force, here or in another process that keeps
// its copy in the same place; nil: none.
func (s *Source) newest() *bundle {
	stored, _ := s.stored() // what does not hold proves nothing
	if stored == nil || s.good != nil && s.good.issued.After(stored.issued) {
		return s.good
	}
	return stored
}

// replaces refuses a bundle that is older than one that was in force: whoever controls
// the server, or a cache before it, could else bring back what was withdrawn.
func (b *bundle) replaces(good *bundle) error {
	switch {
	case good == nil || good.issued.IsZero() || b.version == good.version:
		return nil
	case b.issued.IsZero():
		return fmt.Errorf("the signature states no iat, and one of %s was in force; sign with iat", show(good.issued))
	case !b.issued.After(good.issued):
		return fmt.Errorf("the table was signed at %s and one of %s was in force: an older table is not loaded again; sign it anew to go back to it", show(b.issued), show(good.issued))
	}
	return nil
}

// covered reports whether another bundle says at least as much as this one: it has the
// same content, or a newer one, and is as new.
func (b *bundle) covered(by *bundle) bool {
	return by != nil && !b.issued.After(by.issued) && (b.version == by.version || by.issued.After(b.issued))
}

func show(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

// Loaded is told that a version is in force. From then on no older one is, and this is
// the copy for another start.
func (s *Source) Loaded(version string) {
	if s.last == nil || s.last.version != version {
		return
	}
	if s.last.covered(s.good) {
		return
	}
	s.good = s.last
	if stored, _ := s.stored(); s.good.covered(stored) {
		return
	}
	if err := s.copies.Write(s.good.copy(), s.options.Now()); err != nil {
		s.options.Log.Error("the last good permission table is not kept for another start", "files", s.Names(), "error", err.Error())
	}
}

// copied is the copy that is used while the server cannot be read.
func (s *Source) copied(cause error) (*bundle, error) {
	b, err := s.stored()
	if b != nil {
		if err = s.current(b); err != nil {
			err = fmt.Errorf("the copy %s: %w", s.copies.Path(), err)
		}
	}
	switch {
	case err != nil:
		s.options.Log.Error("the copy of the last good permission table is not used", "files", s.Names(), "error", err.Error())
		return nil, cause
	case b == nil:
		return nil, cause
	}
	s.options.Log.Warn("the permission table cannot be read from its server; the last good copy is used", "files", s.Names(), "error", cause.Error())
	s.Copied(b.saved)
	s.good = b
	return b, nil
}

// stored reads the copy, and holds it to what is demanded of a server.
func (s *Source) stored() (*bundle, error) {
	kept, err := s.copies.Read(len(s.files))
	if kept == nil || err != nil {
		return nil, err
	}
	b := &bundle{signature: kept.Signature, saved: kept.At}
	for i, name := range s.Names() {
		b.texts = append(b.texts, tablefile.Text{Name: name, Content: kept.Texts[i]})
	}
	b.version = tablefile.Version(b.texts...)
	if len(s.options.Keys) == 0 {
		return b, nil
	}
	if b.validity, err = s.options.Keys.verify(b.signature, payload(b.texts), s.options.Now()); err != nil {
		return nil, fmt.Errorf("the copy %s: %w", s.copies.Path(), err)
	}
	return b, nil
}
