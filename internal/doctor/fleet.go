package doctor

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"gatehouse/core/config/fleet"
	"gatehouse/core/fleet/postgres"
	"gatehouse/core/fleet/redis"
	"gatehouse/core/setting"
)

// patience is how long Redis and PostgreSQL are waited for: longer than a node does.
const patience = 5 * time.Second

// nearby is what to do about a server that does not respond as it should.
const nearby = "see what the message says of it; run this on a machine of a node, because addresses and firewalls may differ elsewhere"

// redis examines the Redis of a fleet by commands that read.
func (x *examination) redis(ctx context.Context) {
	if x.Config.Redis == nil {
		return
	}
	patient := *x.Config.Redis
	subject := patient.Name()
	patient.Timeout = setting.Seconds(patience.Seconds())
	caching, err := fleet.NewBuilder(fleet.Options{Log: slog.New(slog.DiscardHandler), Now: x.Now}).Caching(fleet.Sections{Redis: &patient})
	if err != nil {
		x.add("redis", Error, subject, "correct the section redis", "%v", err)
		return
	}
	client := caching.Redis
	defer client.Close()
	ctx, end := context.WithTimeout(ctx, 2*patience)
	defer end()
	before := x.Now()
	now, err := client.Time(ctx).Result()
	if err != nil {
		x.add("redis", Error, subject, nearby, "%v", redis.Explain(err))
		return
	}
	x.clock(subject, now, before, x.Now())
	took := x.Now().Sub(before)
	info := client.InfoMap(ctx, "server", "memory", "replication")
	if err := info.Err(); err != nil {
		x.add("redis", Note, subject, "the right +info shows more", "responds in %s, and does not show its settings: %v", took.Round(time.Millisecond), err)
		return
	}
	x.redisInfo(subject, took, info)
}

func (x *examination) redisInfo(subject string, took time.Duration, info *goredis.InfoCmd) {
	if info.Item("Replication", "role") != "master" && len(x.Config.Redis.SentinelNodes)+len(x.Config.Redis.ClusterNodes) == 0 {
		x.add("redis", Error, subject, "configure the master, or the sentinels", "is a replica, which takes no revocations")
	}
	if policy := info.Item("Memory", "maxmemory_policy"); strings.HasPrefix(policy, "allkeys") && x.Config.Revocation != nil {
		x.add("redis", Warning, subject, "set maxmemory-policy to volatile-ttl or noeviction", "maxmemory-policy is %s: Redis may evict the stream of revocations, and nodes then ask identity providers about every credential anew", policy)
	}
	if limit := x.Config.Redis.Timeout.Duration(); took > limit {
		x.add("redis", Warning, subject, "raise redis.timeout, or bring Redis nearer", "the first command took %s, and redis.timeout is %s", took.Round(time.Millisecond), limit)
		return
	}
	x.ok("redis", subject, "Redis %s responds", info.Item("Server", "redis_version"))
}

// postgres reads from the database of a fleet.
func (x *examination) postgres(ctx context.Context) {
	if x.Config.Postgres == nil {
		return
	}
	options, err := x.Config.Postgres.Options()
	if err != nil {
		x.add("postgres", Error, "postgres", "correct the section postgres", "%v", err)
		return
	}
	options.Timeout, options.ConnectTimeout = 2*patience, patience
	client, err := postgres.New(options)
	if err != nil {
		x.add("postgres", Error, "postgres", "correct the section postgres", "%v", err)
		return
	}
	defer client.Close()
	subject := "postgres " + client.Name()
	var version string
	var now time.Time
	before := x.Now()
	err = client.Read(ctx, func(ctx context.Context, q postgres.Querier) error {
		return q.QueryRow(ctx, "SELECT current_setting('server_version'), clock_timestamp()").Scan(&version, &now)
	})
	if err != nil {
		x.add("postgres", Error, subject, nearby, "%v", postgres.Advise(err))
		return
	}
	x.clock(subject, now, before, x.Now())
	x.ok("postgres", subject, "PostgreSQL %s responds and has the schema that this program needs", version)
	x.rights(ctx, subject, client)
}

// rights says what the role of the nodes may not do that the sections of the
// configuration need. gatehouse db rights grants all of it.
func (x *examination) rights(ctx context.Context, subject string, client *postgres.Client) {
	var missing []string
	err := client.Read(ctx, func(ctx context.Context, q postgres.Querier) error {
		missing = nil
		for table, rights := range x.neededRights() {
			for _, right := range rights {
				var may bool
				if err := q.QueryRow(ctx, "SELECT has_table_privilege($1, $2)", client.In(table), right).Scan(&may); err != nil {
					return err
				}
				if !may {
					missing = append(missing, right+" on "+table)
				}
			}
		}
		return nil
	})
	slices.Sort(missing)
	switch {
	case err != nil:
		x.add("postgres", Warning, subject, nearby, "its rights are not known: %v", err)
	case len(missing) > 0:
		x.add("postgres", Error, subject, "have the owner of the schema run what gatehouse db rights prints", "the user of the section postgres lacks %s", strings.Join(missing, ", "))
	}
}

func (x *examination) neededRights() map[string][]string {
	c, needs := x.Config, map[string][]string{}
	if c.PermissionTableName != "" || c.ShadowTableName != "" {
		needs["permission_table_versions"] = []string{"SELECT"}
	}
	if c.Revocation != nil {
		needs["revocations"] = []string{"SELECT", "INSERT", "DELETE"}
	}
	if c.APIToken != nil {
		needs["api_tokens"], needs["service_accounts"], needs["api_token_uses"] = []string{"SELECT"}, []string{"SELECT"}, []string{"SELECT", "INSERT", "UPDATE"}
	}
	if c.SubjectRoles != nil {
		needs["subject_roles"], needs["subject_role_changes"] = []string{"SELECT"}, []string{"SELECT"}
	}
	return needs
}
