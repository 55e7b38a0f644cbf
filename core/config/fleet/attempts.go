package fleet

import (
	"net/netip"

	"gatehouse/core/authn/attempts"
	"gatehouse/core/config/section"
	fleetattempts "gatehouse/core/fleet/attempts"
	"gatehouse/core/fleet/redis"
	"gatehouse/core/setting"
	"gatehouse/core/shared"
)

// FailedAttempts limits failed attempts to authenticate.
type FailedAttempts struct {
	Count      int             `config:"count" default:"600" between:"0,1000000" doc:"Number of failed attempts that one client address (IPv4 address or IPv6 /64 network), and one invalid credential from whatever addresses, may make at once; that many become free again within time_window, one after the other. Further requests with a credential that is not known to be good get 429 with Retry-After. 0 for no limit."`
	TimeWindow setting.Seconds `config:"time_window" default:"60" between:"1,3600" doc:"Time in which count failed attempts become free again, in seconds."`
	Policy     string          `config:"policy" default:"auto" one_of:"auto,local,redis" doc:"Where failed attempts are counted: local, by each process for itself; redis, by all nodes together in the Redis of the section redis, and by each process for itself while Redis is away; or auto, which is redis where there is a section redis, else local."`
	Allow      []string        `config:"allow" doc:"Addresses and networks of clients that are never limited, such as 198.51.100.0/24: an office, a monitoring system. Their failed attempts do not count. Behind a load balancer that the gateway does not trust to tell the client's address, its own address must not be among them."`
}

// Values of FailedAttempts.Policy.
const (
	policyLocal = "local"
	policyRedis = "redis"
)

// Check reports what no single tag can say.
func (f FailedAttempts) Check(v section.Validator, hasRedis bool) {
	if f.Policy == policyRedis && !hasRedis {
		v.Add("failed_attempts.policy", "is redis, but there is no section redis: add it, or write local")
	}
	for i, text := range f.Allow {
		path := section.Item("failed_attempts.allow", i)
		switch network, err := setting.ParseNetwork(text); {
		case err != nil:
			v.Add(path, "%v", err)
		case network.Bits() == 0:
			v.Add(path, "has every address in it; to limit nobody, write count: 0")
		}
	}
}

// maxFailing is how many addresses, and how many credentials, with failed attempts
// a process counts at once.
const maxFailing = 1 << 16

// Limit finds or makes the limit on failed attempts, which is counted in the Redis that
// a section describes; nil: there is none. Gates with the same settings share it: a
// client does not get another one on the next route.
func (b *Builder) Limit(f FailedAttempts, r *Redis) (*attempts.Limit, error) {
	if f.Policy == policyLocal || f.Count == 0 {
		r = nil
	}
	var common *store
	var key shared.Key
	if r != nil {
		var err error
		if common, key, err = b.store(r); err != nil {
			return nil, err
		}
	}
	return b.limits.Get(shared.KeyOf(f, key), func() (*attempts.Limit, error) { return b.limit(f, common) })
}

func (b *Builder) limit(f FailedAttempts, common *store) (*attempts.Limit, error) {
	o := attempts.Options{Counters: &b.attempts, Log: b.options.Log, Now: b.options.Now}
	if allow := setting.ParseNetworks(f.Allow); len(allow) > 0 {
		o.Allow = func(client netip.Addr) bool { return setting.Within(allow, client) }
	}
	if f.Count == 0 {
		return attempts.New(o), nil
	}
	o.Rate = attempts.Rate{Count: f.Count, Window: f.TimeWindow.Duration()}
	var err error
	if common != nil {
		if o.Hash, err = fleetattempts.Hash(common.secrets[0]); err != nil {
			return nil, section.At("redis.secret", err)
		}
	}
	if o.Clients, err = b.counting(o.Rate, common); err != nil {
		return nil, err
	}
	if o.Credentials, err = b.counting(o.Rate, common); err != nil {
		return nil, err
	}
	return attempts.New(o), nil
}

// counting makes what counts: in this process, and where nodes have something in common,
// in that too.
func (b *Builder) counting(r attempts.Rate, common *store) (attempts.Store, error) {
	local, err := attempts.NewMemory(r, maxFailing, b.options.Now)
	if err != nil || common == nil {
		return local, err
	}
	return fleetattempts.New(fleetattempts.Options{
		Redis: inUse{Client: common.redis, store: common}, Local: local, Rate: r, Prefix: common.prefix, Counters: &b.counted, Now: b.options.Now,
	})
}

// inUse is a connection that keeps its store, and so itself, open.
type inUse struct {
	*redis.Client
	store *store
}

// AttemptStats are the counters of failed attempts.
type AttemptStats struct {
	attempts.Stats
	// Fleet is of those that all nodes count together.
	Fleet fleetattempts.Stats
}

// AttemptStats are the counters of failed attempts.
func (b *Builder) AttemptStats() AttemptStats {
	total := AttemptStats{b.attempts.Stats(), b.counted.Stats()}
	for l := range b.limits.All() {
		clients, credentials := l.Failing()
		total.Clients += clients
		total.Credentials += credentials
	}
	return total
}
