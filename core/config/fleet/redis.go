// Package fleet has the parts of a configuration by which the nodes of a fleet agree:
// what they share, and what is made of it once per content.
package fleet

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"runtime"
	"strconv"

	"gatehouse/core/config/section"
	"gatehouse/core/fleet/redis"
	"gatehouse/core/fleet/sharedcache"
	"gatehouse/core/setting"
	"gatehouse/core/shared"
)

// Redis is what the nodes of a fleet share. Its keys are those of Kong's plugins.
type Redis struct {
	Host             string          `config:"host" doc:"Host of the Redis server. One of host, sentinel_nodes and cluster_nodes is needed."`
	Port             int             `config:"port" default:"6379" between:"1,65535" doc:"Port of the Redis server."`
	SentinelNodes    []string        `config:"sentinel_nodes" doc:"Sentinels, each as HOST:PORT, that know which server is the master."`
	SentinelMaster   string          `config:"sentinel_master" doc:"Name of the master among the sentinels."`
	SentinelUsername string          `config:"sentinel_username" doc:"User name at the sentinels. The user needs SENTINEL and SUBSCRIBE on all channels."`
	SentinelPassword setting.Secret  `config:"sentinel_password" secret:"true" doc:"Password at the sentinels. Takes a literal value, $env://NAME or $file:///path."`
	ClusterNodes     []string        `config:"cluster_nodes" doc:"Some nodes of a Redis Cluster, each as HOST:PORT."`
	Username         string          `config:"username" doc:"User name (ACL of Redis 6). The user needs GET, SET, DEL, PTTL, TIME and EVALSHA, EVAL and SCRIPT LOAD on keys that begin with key_prefix; with login.oidc.session.storage: redis also ZADD, ZRANGE, ZREM, ZREMRANGEBYSCORE and PEXPIRE; with a section revocation also XADD, XREAD, XRANGE, XTRIM, XINFO STREAM, INFO and, with wait_replicas, WAIT. It also needs SELECT for another database than 0, and CLUSTER SLOTS for a Cluster."`
	Password         setting.Secret  `config:"password" secret:"true" doc:"Password. Takes a literal value, $env://NAME or $file:///path."`
	Database         int             `config:"database" default:"0" between:"0,1023" doc:"Number of the database. A Cluster has only 0."`
	SSL              bool            `config:"ssl" default:"false" doc:"Whether Redis is reached by TLS."`
	SSLVerify        bool            `config:"ssl_verify" default:"true" doc:"Whether the certificate of Redis is verified. Switch off in development only."`
	ServerName       string          `config:"server_name" doc:"Name in the certificate of Redis, where it is not the host."`
	CAFile           string          `config:"ca_file" file:"true" doc:"Path of a PEM file with the certificate authorities to trust instead of the system's."`
	Timeout          setting.Seconds `config:"timeout" default:"0.01" between:"0.001,5" doc:"Time limit of one command, in seconds. After five failures in a row Redis is left alone for a second. Where sessions are in Redis (login.oidc.session.storage), a request whose session does not come in time gets 503: write a longer time there, such as 1."`
	ConnectTimeout   setting.Seconds `config:"connect_timeout" default:"2" between:"0.01,30" doc:"Time limit of a new connection, in seconds. No request waits longer than timeout for it."`
	WaitReplicas     int             `config:"wait_replicas" default:"-1" between:"-1,10" doc:"How many replicas have to acknowledge a revocation, within a second, before it counts as done: what no replica has is lost with the master. -1 is 1 with sentinel_nodes, else 0."`
	PoolSize         int             `config:"keepalive_pool_size" default:"16" between:"1,10000" doc:"Maximum number of connections to one server."`
	KeyPrefix        string          `config:"key_prefix" default:"gatehouse:" doc:"What the names of all keys in Redis begin with."`
	Secret           setting.Secret  `config:"secret" required:"true" secret:"true" doc:"Secret of the fleet, at least 32 bytes, such as of openssl rand -base64 32. Names in Redis are hashed with it, values are encrypted with it. Takes a literal value, $env://NAME or $file:///path."`
	PreviousSecret   setting.Secret  `config:"previous_secret" secret:"true" doc:"A former or a coming secret, with which values are read, too, so that the secret can be changed node by node."`
}

// Check reports what no single tag can say.
func (r *Redis) Check(v section.Validator) {
	ways := 0
	for _, set := range []bool{r.Host != "", len(r.SentinelNodes) > 0, len(r.ClusterNodes) > 0} {
		if set {
			ways++
		}
	}
	if ways != 1 {
		v.Add("redis", "want one of host, sentinel_nodes and cluster_nodes, not %d of them", ways)
	}
	if (len(r.SentinelNodes) > 0) != (r.SentinelMaster != "") {
		v.Add("redis.sentinel_master", "is needed beside sentinel_nodes, and only there")
	}
	if len(r.ClusterNodes) > 0 && r.Database != 0 {
		v.Add("redis.database", "must be 0: a Cluster has no other")
	}
	nodes(v, "redis.sentinel_nodes", r.SentinelNodes)
	nodes(v, "redis.cluster_nodes", r.ClusterNodes)
	if !r.SSL && (r.CAFile != "" || r.ServerName != "") {
		v.Add("redis.ssl", "is needed for ca_file and server_name")
	}
}

func nodes(v section.Validator, path string, nodes []string) {
	for i, node := range nodes {
		if host, port, err := net.SplitHostPort(node); err != nil || host == "" || port == "" {
			v.Add(section.Item(path, i), "want HOST:PORT")
		}
	}
}

// store is what a node shares with others, by one Redis.
type store struct {
	*sharedcache.Store
	redis *redis.Client
	// secrets are those of the fleet; the first one writes.
	secrets []string
	// prefix begins the names of all keys.
	prefix string
	// options are those of the connection, for a further one.
	options redis.Options
}

// store finds or makes the one connection of a section, and what identifies it.
// Whoever uses the connection keeps the store, or it is closed.
func (b *Builder) store(r *Redis) (*store, shared.Key, error) {
	secrets, err := r.secrets()
	if err != nil {
		return nil, shared.Key{}, err
	}
	trust, err := section.Authorities("redis.ca_file", r.CAFile)
	if err != nil {
		return nil, shared.Key{}, err
	}
	key := shared.KeyOf("redis", r, secrets, trust)
	f, err := b.stores.Get(key, func() (*store, error) { return r.connect(b, secrets, trust) })
	return f, key, err
}

// secrets are the passwords of Redis and of its sentinels, the secret and the one
// before it, resolved.
func (r *Redis) secrets() ([4]string, error) {
	var resolved [4]string
	for i, s := range []struct {
		path      string
		reference setting.Secret
	}{{"password", r.Password}, {"sentinel_password", r.SentinelPassword}, {"secret", r.Secret}, {"previous_secret", r.PreviousSecret}} {
		value, err := setting.Resolve(string(s.reference))
		if err != nil {
			return resolved, section.At("redis."+s.path, err)
		}
		resolved[i] = value
	}
	return resolved, nil
}

func (r *Redis) connect(b *Builder, secrets [4]string, trust string) (*store, error) {
	options := redis.Options{
		Addresses:        r.addresses(),
		Master:           r.SentinelMaster,
		Cluster:          len(r.ClusterNodes) > 0,
		Username:         r.Username,
		Password:         secrets[0],
		SentinelUsername: r.SentinelUsername,
		SentinelPassword: secrets[1],
		Database:         r.Database,
		Timeout:          r.Timeout.Duration(),
		ConnectTimeout:   r.ConnectTimeout.Duration(),
		Connections:      r.PoolSize,
		Log:              b.options.Log,
	}
	if r.SSL {
		options.TLS = &tls.Config{MinVersion: tls.VersionTLS12, ServerName: r.ServerName, InsecureSkipVerify: !r.SSLVerify}
	}
	if trust != "" {
		options.TLS.RootCAs = x509.NewCertPool()
		if !options.TLS.RootCAs.AppendCertsFromPEM([]byte(trust)) {
			return nil, section.At("redis.ca_file", fmt.Errorf("%s holds no PEM certificate", r.CAFile))
		}
	}
	client, err := redis.New(options)
	if err != nil {
		return nil, section.At("redis", err)
	}
	keys := []string{secrets[2]}
	if secrets[3] != "" {
		keys = append(keys, secrets[3])
	}
	shared, err := sharedcache.New(sharedcache.Options{Redis: client, Secrets: keys, Prefix: r.KeyPrefix, Counters: &b.shared, Now: b.options.Now})
	if err != nil {
		return nil, section.At("redis.secret", err)
	}
	f := &store{shared, client, keys, r.KeyPrefix, options}
	runtime.AddCleanup(f, func(c *redis.Client) { c.Close() }, client)
	return f, nil
}

// replicas is how many have to acknowledge a revocation.
func (r *Redis) replicas() int {
	switch {
	case r.WaitReplicas >= 0:
		return r.WaitReplicas
	case len(r.SentinelNodes) > 0:
		return 1
	}
	return 0
}

func (r *Redis) addresses() []string {
	switch {
	case len(r.SentinelNodes) > 0:
		return r.SentinelNodes
	case len(r.ClusterNodes) > 0:
		return r.ClusterNodes
	}
	return []string{net.JoinHostPort(r.Host, strconv.Itoa(r.Port))}
}

// SharedStats are for metrics.
type SharedStats struct {
	sharedcache.Stats
	// Up and Down are the Redis servers that configurations name, by whether they
	// respond.
	Up, Down int
}

// SharedStats are the counters of all fleets.
func (b *Builder) SharedStats() SharedStats {
	s := SharedStats{Stats: b.shared.Stats()}
	for f := range b.stores.All() {
		if f.redis.Available() {
			s.Up++
		} else {
			s.Down++
		}
	}
	return s
}
