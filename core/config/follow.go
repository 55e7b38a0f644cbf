package config

import (
	"context"
	"errors"
	"fmt"

	"gatehouse/core"
	"gatehouse/core/config/asking"
	"gatehouse/core/config/certheader"
	"gatehouse/core/config/consumer"
	"gatehouse/core/config/section"
	"gatehouse/core/config/tables"
	"gatehouse/core/follow"
	"gatehouse/core/identity"
	"gatehouse/core/setting"
	"gatehouse/core/shared"
)

// Followed is the gate of a configuration. It is renewed when a file changes that the
// configuration names: the configuration itself, a secret, trusted authorities or keys.
// While such a file has an error, the last good gate stays in use.
type Followed struct{ value *follow.Value[Current] }

// Current is what is in use of a configuration. Requests that have begun with it end
// with it.
type Current struct {
	*core.Gate
	Config *Config
	// Consumers say which consumer of the gateway a caller is; nil: none.
	Consumers *consumer.Mapping

	parts []*section.Part
	table *tables.Table
	// point answers what the table asks; nil: nobody does.
	point *asking.Point
	// certificates reads those of a load balancer's clients; nil: none does.
	certificates *certheader.Reader
	// names are those of the headers that tell an upstream who calls.
	names []string
}

// Terms are what a host asks of the configurations that it uses.
type Terms struct {
	// Name tells places apart whose terms differ.
	Name string
	// Check refuses what the host cannot do; nil: nothing.
	Check func(*Current) error
	// Whole is for hosts that do not start with a configuration which does not load:
	// it is then an error, as it is wherever no file can mend it.
	Whole bool
}

// Follow returns the gate of a configuration given inline. On an error the host must
// deny every request of the route; the error says what is wrong and holds no secret.
func (b *Builder) Follow(raw []byte, terms Terms) (*Followed, error) {
	created := false
	f, err := b.followed.Get(shared.Digest(terms.Name, string(raw)), func() (*Followed, error) {
		created = true
		return b.open(raw, terms)
	})
	if !created {
		b.options.Loads(f.value.State().Err)
	}
	return f, err
}

func (b *Builder) open(raw []byte, terms Terms) (*Followed, error) {
	m := maker{Builder: b, raw: raw, terms: terms}
	value := follow.Open(follow.Options[Current]{
		Make: m.make, OnChange: m.changed, Interval: b.interval, Now: b.options.Now,
	})
	if s := value.State(); s.Err != nil && (len(s.Files) == 0 || terms.Whole) {
		return nil, s.Err
	}
	return &Followed{value}, nil
}

// Current returns what is in use, or why every request is denied.
func (f *Followed) Current() (*Current, error) {
	s := f.value.State()
	if s.Value == nil {
		return nil, fmt.Errorf("the configuration has not loaded: %w", s.Err)
	}
	return s.Value, nil
}

// InUse tells what is in use of a configuration; a [Followed] does.
type InUse interface {
	Current() (*Current, error)
}

// Decide is [Current.Decide] with what is in use.
func (b *Builder) Decide(ctx context.Context, f InUse, r *core.Request, unread error) core.Decision {
	now, err := f.Current()
	if err != nil {
		return b.Refuse(ctx, r, err)
	}
	return now.Decide(ctx, r, unread)
}

// Decide decides a request. unread says why the host could not read it, as far as it has,
// or cannot let it go on; nil: it can. What does not go on to the upstream is stripped of
// the identity that its client claims, too, for hosts whose logs have the headers.
func (now *Current) Decide(ctx context.Context, r *core.Request, unread error) core.Decision {
	return now.DecideThen(ctx, r, unread, nil)
}

// DecideThen is Decide for a host that has to confirm an admission, see [core.Gate.CheckThen].
func (now *Current) DecideThen(ctx context.Context, r *core.Request, unread error, confirm func(*core.Decision) error) (d core.Decision) {
	now.certificates.Tell(r)
	if unread != nil {
		d = now.Refuse(ctx, r, unread)
	} else {
		d = now.CheckThen(ctx, r, confirm)
	}
	if d.Outcome != core.Allow {
		d.Strip = identity.Claimed(now.names, r.Header)
	}
	return d
}

// maker makes the gate of one configuration, again and again.
type maker struct {
	*Builder
	raw   []byte
	terms Terms
	last  *Current
	files []string
	begun bool
}

func (m *maker) make() (now *Current, files []string, err error) {
	defer func() { m.files = files }()
	c, problems := Inspect(m.raw)
	if len(problems) > 0 {
		return nil, nil, setting.ErrorOf("", problems)
	}
	source := c.File
	files = setting.Files(c)
	if source != "" {
		if c, err = LoadFile(source); err != nil {
			return nil, files, err
		}
		files = append(files, setting.Files(c)...)
	}
	now, err = m.assemble(c)
	switch {
	case err != nil:
		return nil, files, inFile(err, source)
	case m.last != nil && now.Gate == m.last.Gate:
		return m.last, files, nil
	case m.last != nil && !now.table.Loaded():
		// It is followed until it loads: the new gate would deny everything till then.
		return nil, append(files, c.PermissionTableFiles...), inFile(now.table.Failure(), source)
	}
	if m.terms.Check != nil {
		if err := m.terms.Check(now); err != nil {
			return nil, files, inFile(err, source)
		}
	}
	m.last = now
	return now, files, nil
}

// inFile names the file that an error is about.
func inFile(err error, file string) error {
	var e *setting.Error
	switch {
	case file == "":
		return err
	case !errors.As(err, &e):
		return &setting.Error{Source: file, Problems: []setting.Problem{{Text: err.Error()}}}
	case e.Source == "":
		return &setting.Error{Source: file, Problems: e.Problems}
	}
	return err
}

// changed tells the log and the metrics. The host itself tells of a configuration that
// it does not get.
func (m *maker) changed(err error, kept bool) {
	m.options.Loads(err)
	quiet := !m.begun && (m.terms.Whole || err == nil)
	m.begun = true
	switch {
	case quiet || len(m.files) == 0:
	case err == nil:
		m.options.Log.Info("configuration loaded", "files", m.files)
	case kept:
		m.options.Log.Error("configuration did not load; the last good one stays in force", "files", m.files, "error", err.Error())
	default:
		m.options.Log.Error("configuration did not load; everything is denied until its files are mended", "files", m.files, "error", err.Error())
	}
}
