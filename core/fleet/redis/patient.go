package redis

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"

	goredis "github.com/redis/go-redis/v9"
)

// Patient sends commands that no request waits for, such as those that wait for news. A
// command takes as long as its context allows, and no breaker counts it. It is safe for
// concurrent use.
type Patient struct {
	goredis.UniversalClient
	connects atomic.Uint64
}

// patientConnections is how many there are at most to one server: one that waits, and
// some for what is to be written meanwhile.
const patientConnections = 4

// NewPatient makes a client. Nothing is called yet. Timeout and Connections of the
// options do not count: every command needs a context with a deadline.
func NewPatient(o Options) (*Patient, error) {
	o = o.withDefaults()
	if err := o.validate(); err != nil {
		return nil, err
	}
	p := &Patient{}
	u := o.universal()
	u.ReadTimeout, u.WriteTimeout, u.PoolTimeout = -1, -1, o.ConnectTimeout
	u.PoolSize, u.MinIdleConns = patientConnections, 0
	u.OnConnect = func(context.Context, *goredis.Conn) error {
		p.connects.Add(1)
		return nil
	}
	p.UniversalClient = connect(u, nil)
	return p, nil
}

// Connects counts the connections that were made.
func (p *Patient) Connects() uint64 { return p.connects.Load() }

// Server is the server that holds a key: of a Cluster one of several.
func (p *Patient) Server(ctx context.Context, key string) (*goredis.Client, error) {
	switch c := p.UniversalClient.(type) {
	case *goredis.Client:
		return c, nil
	case *goredis.ClusterClient:
		return c.MasterForKey(ctx, key)
	}
	return nil, fmt.Errorf("no single server of a %T", p.UniversalClient) // New makes no other
}

// Explain is an error of a command with what helps against it.
func Explain(err error) error {
	switch {
	case err == nil:
		return nil
	case answered(err):
		return fmt.Errorf("Redis refuses a command: %w; %s", err, advice(err.Error()))
	}
	return fmt.Errorf("Redis does not respond: %w; %s", err, adviceOn(err))
}

// NeedsOperator reports whether a command that has failed fails until somebody changes
// Redis or the configuration.
func NeedsOperator(err error) bool {
	if err == nil || !answered(err) {
		return false
	}
	for _, word := range []string{"NOAUTH", "WRONGPASS", "NOPERM", "OOM", "MISCONF"} {
		if goredis.HasErrorPrefix(err, word) {
			return true
		}
	}
	return strings.Contains(err.Error(), scriptNotPermitted)
}
