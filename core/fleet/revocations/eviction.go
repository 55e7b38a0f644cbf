package revocations

import (
	"context"
	"errors"
	"fmt"
	"strings"

	goredis "github.com/redis/go-redis/v9"

	"gatehouse/core/fleet/redis"
)

// ErrEvicts is of a Redis that may drop revocations to make room for something else.
var ErrEvicts = errors.New("Redis may evict revocations")

// checkEviction returns an error where the policy of Redis lets it drop a key that has no
// end. Where Redis does not tell its policy, it is logged once and nothing else.
func (s *Stream) checkEviction(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, commandTime)
	defer cancel()
	server, err := s.redis.Server(ctx, s.key)
	if err != nil {
		return redis.Explain(err)
	}
	policy, err := evictionPolicy(ctx, server)
	var reply goredis.Error
	switch {
	case errors.As(err, &reply) && redis.NeedsOperator(err) && !goredis.HasErrorPrefix(err, "NOPERM"):
		return redis.Explain(err)
	case errors.As(err, &reply), err == nil && policy == "":
		s.unknownPolicy.Do(func() {
			s.options.Log.Warn("Redis does not tell its maxmemory-policy; see to it that it is none of allkeys-*: such a policy drops revocations", "error", err, "advice", "give the user INFO")
		})
	case err != nil:
		return redis.Explain(err)
	case strings.HasPrefix(policy, "allkeys-"):
		return fmt.Errorf("%w: its maxmemory-policy is %s, which drops keys that have no end; set maxmemory-policy to volatile-ttl (or noeviction), and raise maxmemory where it is reached", ErrEvicts, policy)
	}
	return nil
}

// evictionPolicy asks INFO, which services that run Redis for others leave in, and then
// CONFIG GET.
func evictionPolicy(ctx context.Context, server *goredis.Client) (string, error) {
	info, err := server.Info(ctx, "memory").Result()
	for line := range strings.Lines(info) {
		if policy, found := strings.CutPrefix(strings.TrimSpace(line), "maxmemory_policy:"); found {
			return policy, nil
		}
	}
	var reply goredis.Error
	if err != nil && !errors.As(err, &reply) {
		return "", err
	}
	all, err := server.ConfigGet(ctx, "maxmemory-policy").Result()
	return all["maxmemory-policy"], err
}
