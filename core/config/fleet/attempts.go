package fleet

import (
	"gatehouse/core/authn/attempts"
	"gatehouse/core/setting"
	"gatehouse/core/shared"
)

// FailedAttempts limits failed attempts to authenticate.
type FailedAttempts struct {
	Count      int             `config:"count" default:"600" between:"0,1000000" doc:"Number of failed attempts that one client address (IPv4 address or IPv6 /64 network), and one invalid credential from whatever addresses, may make at once; that many become free again within time_window, one after the other. Further requests with a credential that is not known to be good get 429 with Retry-After. 0 for no limit."`
	TimeWindow setting.Seconds `config:"time_window" default:"60" between:"1,3600" doc:"Time in which count failed attempts become free again, in seconds."`
}

// maxFailing is how many addresses, and how many credentials, with failed attempts
// are counted at once.
const maxFailing = 1 << 16

// Limit finds or makes the limit on failed attempts. Gates with the same settings
// share it: a client does not get another one on the next route.
func (b *Builder) Limit(f FailedAttempts) (*attempts.Limit, error) {
	return b.limits.Get(shared.KeyOf(f), func() (*attempts.Limit, error) {
		o := attempts.Options{Counters: &b.attempts, Log: b.options.Log, Now: b.options.Now}
		if f.Count == 0 {
			return attempts.New(o), nil
		}
		o.Rate = attempts.Rate{Count: f.Count, Window: f.TimeWindow.Duration()}
		clients, err := attempts.NewMemory(o.Rate, maxFailing, b.options.Now)
		if err != nil {
			return nil, err
		}
		credentials, err := attempts.NewMemory(o.Rate, maxFailing, b.options.Now)
		if err != nil {
			return nil, err
		}
		o.Clients, o.Credentials = clients, credentials
		return attempts.New(o), nil
	})
}

// AttemptStats are the counters of failed attempts.
func (b *Builder) AttemptStats() attempts.Stats {
	total := b.attempts.Stats()
	for l := range b.limits.All() {
		clients, credentials := l.Failing()
		total.Clients += clients
		total.Credentials += credentials
	}
	return total
}
