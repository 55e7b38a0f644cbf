package audit

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"sync"
	"time"

	"gatehouse/core"
	"gatehouse/core/account"
	"gatehouse/core/audit"
	"gatehouse/core/audit/kept"
	"gatehouse/core/audit/sink"
	"gatehouse/core/config/otlp"
	"gatehouse/core/config/section"
	"gatehouse/core/config/tables"
	otel "gatehouse/core/otlp"
	"gatehouse/core/otlp/records"
	"gatehouse/core/permission"
	"gatehouse/core/shared"
)

// Options are what is needed of the process.
type Options struct {
	Log *slog.Logger
	Now func() time.Time
	// Version is that of the program, for OpenTelemetry.
	Version string
}

// Builder makes what writes records, once for each content of settings, and counts for all.
type Builder struct {
	options Options
	outputs shared.Values[output]
	counts  map[string]*audit.Counts

	mu     sync.Mutex
	queues map[*audit.Queue]bool
	kept   map[shared.Key]*kept.Tables
}

// Sinks are the sorts of places where records go.
func Sinks() []string { return []string{"file", "stdout", "syslog", "otlp"} }

// NewBuilder makes a builder.
func NewBuilder(o Options) *Builder {
	b := &Builder{options: o, counts: map[string]*audit.Counts{}, queues: map[*audit.Queue]bool{}, kept: map[shared.Key]*kept.Tables{}}
	for _, name := range Sinks() {
		b.counts[name] = &audit.Counts{}
	}
	return b
}

// output is the queues of one configuration.
type output struct {
	key    shared.Key
	queues []*audit.Queue
}

// Recorder makes what records the decisions of a gate; nil without a section.
func (b *Builder) Recorder(a *Audit, policy core.Policy) (core.Recorder, shared.Key, error) {
	if a == nil {
		return nil, shared.Key{}, nil
	}
	out, err := b.output(a)
	if err != nil {
		return nil, shared.Key{}, err
	}
	o := audit.Options{Admissions: a.SamplingRate, Refusals: a.RefusalSamplingRate, Redact: a.patterns(), Queues: out.queues, Now: b.options.Now}
	if versioned, ok := policy.(account.Versioned); ok {
		o.InForce = versioned.InForce
	}
	return &recorder{audit.New(o), out}, out.key, nil
}

// recorder keeps its output open.
type recorder struct {
	*audit.Recorder
	out *output
}

// output finds or makes the queues of a section.
func (b *Builder) output(a *Audit) (*output, error) {
	var (
		collector otlp.Resolved
		trust     string
		err       error
	)
	if a.OTLP != nil {
		if collector, err = a.OTLP.Resolve("audit.otlp"); err != nil {
			return nil, err
		}
	}
	if a.Syslog != nil {
		if trust, err = section.Authorities("audit.syslog.ca_file", a.Syslog.CAFile); err != nil {
			return nil, err
		}
	}
	key := shared.KeyOf(a.File, a.Stdout, a.Syslog, trust, a.OTLP, collector, a.Queue)
	return b.outputs.Get(key, func() (*output, error) {
		sinks, err := b.sinks(a, collector, trust)
		if err != nil {
			return nil, err
		}
		out := &output{key: key}
		for _, s := range sinks {
			out.queues = append(out.queues, b.queue(a.Queue, s))
		}
		runtime.AddCleanup(out, b.close, out.queues)
		return out, nil
	})
}

// named is a sink and its sort.
type named struct {
	name string
	audit.Sink
}

// sinks opens all places, or none.
func (b *Builder) sinks(a *Audit, collector otlp.Resolved, trust string) (all []named, err error) {
	defer func() {
		for _, s := range all {
			if err != nil {
				s.Close()
			}
		}
	}()
	if a.File != nil {
		file, err := sink.NewFile(sink.FileOptions{Path: a.File.Path, MaxSize: int64(a.File.MaxSize), MaxKept: a.File.MaxKept, Now: b.options.Now})
		if err != nil {
			return all, section.At("audit.file.path", err)
		}
		all = append(all, named{"file", file})
	}
	if a.Stdout {
		all = append(all, named{"stdout", sink.NewStdout(os.Stdout)})
	}
	if a.Syslog != nil {
		options, err := a.Syslog.options(trust)
		if err != nil {
			return all, err
		}
		all = append(all, named{"syslog", sink.NewSyslog(options)})
	}
	if a.OTLP != nil {
		s, err := b.collector(a.OTLP, collector)
		if err != nil {
			return all, err
		}
		all = append(all, named{"otlp", s})
	}
	return all, nil
}

func (s *Syslog) options(trust string) (sink.SyslogOptions, error) {
	network, address := s.address()
	o := sink.SyslogOptions{Network: network, Address: address, Facility: facilities[s.Facility], AppName: "gatehouse", Timeout: s.Timeout.Duration()}
	if !s.TLS {
		return o, nil
	}
	o.TLS = &tls.Config{MinVersion: tls.VersionTLS12, ServerName: s.Host, InsecureSkipVerify: !s.SSLVerify}
	if trust != "" {
		o.TLS.RootCAs = x509.NewCertPool()
		if !o.TLS.RootCAs.AppendCertsFromPEM([]byte(trust)) {
			return o, section.At("audit.syslog.ca_file", errors.New("holds no certificate as PEM"))
		}
	}
	return o, nil
}

func (b *Builder) collector(c *otlp.Collector, r otlp.Resolved) (audit.Sink, error) {
	endpoint, err := c.Connect("audit.otlp", r)
	if err != nil {
		return nil, err
	}
	exporter, err := endpoint.Logs(context.Background())
	if err != nil {
		return nil, section.At("audit.otlp", err)
	}
	host, _ := os.Hostname() // is left out where it is not known
	return records.New(exporter, otel.Resource(b.options.Version, host, c.Attributes)), nil
}

func (b *Builder) queue(q Queue, s named) *audit.Queue {
	made := audit.NewQueue(audit.QueueOptions{
		Name: s.name, Sink: s.Sink, MaxEntries: q.MaxEntries, MaxBytes: q.MaxBytes, Counts: b.counts[s.name], Log: b.options.Log,
		Closed: b.forget,
	})
	b.mu.Lock()
	defer b.mu.Unlock()
	b.queues[made] = true
	return made
}

// close ends queues that no gate uses any more, once all is written.
func (b *Builder) close(queues []*audit.Queue) {
	for _, q := range queues {
		q.Close()
	}
}

func (b *Builder) forget(q *audit.Queue) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.queues, q)
}

// Flush waits until all records are written, or the context ends.
func (b *Builder) Flush(ctx context.Context) {
	b.mu.Lock()
	var all sync.WaitGroup
	for q := range b.queues {
		all.Go(func() { q.Flush(ctx) })
	}
	b.mu.Unlock()
	all.Wait()
}

// Stats count records.
type Stats struct{ Written, Dropped uint64 }

// Stats count the records of each sort of place.
func (b *Builder) Stats() map[string]Stats {
	all := map[string]Stats{}
	for name, c := range b.counts {
		all[name] = Stats{c.Written.Load(), c.Dropped.Load()}
	}
	return all
}

// Archive is where the tables are kept; nil: nowhere.
func (b *Builder) Archive(a *Audit) *tables.Archive {
	if a == nil || a.Tables == nil {
		return nil
	}
	key := shared.KeyOf("tables", a.Tables)
	b.mu.Lock()
	dir := b.kept[key]
	if dir == nil {
		dir = kept.New(kept.Options{Dir: a.Tables.Path, MaxKept: a.Tables.MaxKept, MaxAge: a.Tables.MaxAge.Duration(), Now: b.options.Now})
		b.kept[key] = dir
	}
	b.mu.Unlock()
	return &tables.Archive{Key: key, Keep: func(v account.Table, files []*permission.File) {
		if err := keep(dir, v, files); err != nil {
			b.options.Log.Error("a permission table is in force and not kept: gatehouse why cannot explain by it", "source", v.Source, "version", v.Version, "directory", a.Tables.Path, "error", err.Error())
		}
	}}
}

// keep survives a model that cannot be written.
func keep(dir *kept.Tables, v account.Table, files []*permission.File) (err error) {
	defer func() {
		if thrown := recover(); thrown != nil {
			err = fmt.Errorf("panic while writing: %s", core.Thrown(thrown))
		}
	}()
	return dir.Keep(v, files)
}
