package scaling

import (
	"maps"
	"math"
)

// cost is what one event costs. Bytes are those that TCP carries.
type cost struct {
	event string
	// sent are the commands that nodes send to Redis, inScripts those that their scripts
	// execute there.
	sent, inScripts map[string]int
	redis           size
	// micros are microseconds of the processor of Redis, as measured. No test compares
	// them.
	micros float64
	// statements go to PostgreSQL, calls to an identity provider.
	statements int
	postgres   size
	calls      int
	provider   size
	// kept are bytes of the memory of Redis until the time is over.
	kept int
	// Connections are made at the start of a node.
	redisConnections, postgresConnections int
}

// size is in bytes, from the nodes and to them.
type size struct{ up, down int }

func total(m map[string]int) (n int) {
	for _, k := range m {
		n += k
	}
	return n
}

func (c cost) executed() int { return total(c.sent) + total(c.inScripts) }

// plus is the cost of two events at once.
func (c cost) plus(other cost) cost {
	add := func(a, b map[string]int) map[string]int {
		all := maps.Clone(a)
		if all == nil {
			all = map[string]int{}
		}
		for name, n := range b {
			all[name] += n
		}
		return all
	}
	c.sent, c.inScripts = add(c.sent, other.sent), add(c.inScripts, other.inScripts)
	c.redis.up += other.redis.up
	c.redis.down += other.redis.down
	return c
}

// costs are the model. TestEventsCostWhatTheModelSays compares them with what is measured.
var (
	tokenFirst = cost{
		event: "a token, on the first node that asks (introspection by Hydra)",
		sent:  map[string]int{"evalsha": 1, "get": 2, "pttl": 2, "set": 2}, inScripts: map[string]int{"get": 1, "del": 1},
		redis: size{1538, 30}, micros: 80, kept: 970, calls: 1, provider: size{313, 439},
	}
	tokenOther = cost{
		event: "the same token, on another node",
		sent:  map[string]int{"get": 1, "pttl": 1},
		redis: size{159, 810}, micros: 17,
	}
	sessionFirst = cost{
		event: "a session, on the first node that asks (`whoami` of Kratos)",
		sent:  map[string]int{"evalsha": 1, "get": 2, "pttl": 2, "set": 2}, inScripts: map[string]int{"get": 1, "del": 1},
		redis: size{2204, 30}, micros: 80, kept: 1600, calls: 1, provider: size{163, 1180},
	}
	sessionOther = cost{
		event: "the same session, on another node",
		sent:  map[string]int{"get": 1, "pttl": 1},
		redis: size{159, 1476}, micros: 17,
	}
	stranger = cost{
		event: "look-up of failed attempts, where the node has not known the credential to be good within half an hour; in addition",
		sent:  map[string]int{"evalsha": 2}, inScripts: map[string]int{"time": 2, "get": 2},
		redis: size{352, 8}, micros: 40,
	}
	remembered = cost{event: "a valid credential that the node remembers"}

	invalidFirst = cost{
		event: "an invalid token on the first node that sees it",
		sent:  map[string]int{"evalsha": 5, "get": 2, "pttl": 2, "set": 2}, inScripts: map[string]int{"time": 4, "get": 5, "set": 2, "del": 1},
		redis: size{1598, 48}, micros: 155, calls: 1, provider: size{306, 182},
	}
	invalidAgain = cost{
		event: "the same invalid token there once more",
		sent:  map[string]int{"evalsha": 4}, inScripts: map[string]int{"time": 4, "get": 4, "set": 2},
		redis: size{684, 18}, micros: 68,
	}
	invalidOther = cost{
		event: "the same invalid token on another node",
		sent:  map[string]int{"evalsha": 4, "get": 1, "pttl": 1}, inScripts: map[string]int{"time": 4, "get": 4, "set": 2},
		redis: size{853, 194}, micros: 85,
	}
	apiTokenMiss = cost{
		event:      "an API token that the node does not remember",
		statements: 2, postgres: size{565, 953},
	}
	lastUses = cost{
		event:      "when 100 API tokens were used last, from one node",
		statements: 3, postgres: size{3979, 116},
	}
	rolesMiss = cost{
		event:      "a subject whose roles (`subject_roles`) the node does not remember",
		statements: 1, postgres: size{227, 147},
	}
	rolesChange = cost{
		event:      "a change of roles, for each node",
		statements: 1, postgres: size{370, 280},
	}
	tableVersion = cost{
		event:      "a version of a permission table, for each node, beside its own bytes",
		statements: 2, postgres: size{1324, 1236},
	}
	revocationByRedis = cost{
		event: "a revocation by Redis, for whoever sends it",
		sent:  map[string]int{"info": 1, "evalsha": 2}, inScripts: map[string]int{"time": 1, "xinfo|stream": 2, "xadd": 1},
		redis: size{746, 1992},
	}
	revocationFromRedis = cost{
		event: "a revocation by Redis, for each node",
		sent:  map[string]int{"xread": 1},
		redis: size{119, 496},
	}
	revocationByTable = cost{
		event:      "a revocation by PostgreSQL, for whoever sends it",
		statements: 4, postgres: size{557, 163},
	}
	revocationFromTable = cost{
		event:      "a revocation by PostgreSQL, for each node",
		statements: 1, postgres: size{259, 717},
	}
	idleMinute = cost{
		event: "a minute of a node, whatever it does",
		sent:  map[string]int{"evalsha": 60, "xread": 60, "info": 1}, inScripts: map[string]int{"time": 60, "xinfo|stream": 60},
		redis: size{15800, 9500}, statements: 20, postgres: size{10400, 8600},
	}
	start = cost{
		event: "the start of a node, and its first five seconds",
		sent:  map[string]int{"hello": 1, "info": 1, "evalsha": 7, "xrange": 1, "xread": 7}, inScripts: map[string]int{"time": 7, "xinfo|stream": 7},
		redis: size{2200, 2900}, statements: 23, postgres: size{8200, 7600}, redisConnections: 2, postgresConnections: 4,
	}
	keptRevocation = cost{
		event: "a revocation in force, at the start of a node",
		redis: size{0, 470}, postgres: size{0, 200},
	}
)

// The connections of a node at most: keepalive_pool_size of redis and four for revocations,
// pool_size of postgres and the one that listens.
const redisConnections, postgresConnections = 16 + 4, 8 + 1

// fleet is what the model is asked about. Rates are those of a second.
type fleet struct {
	nodes float64
	// rate are the requests on each node, each those of one valid credential, which is
	// spread evenly over the nodes.
	rate, each float64
	// Shares of the requests by their credential. Each invalid token comes once.
	sessions, tokens, apiTokens, invalid float64
	// ttl is cache_ttl of sessions, tokens and API tokens in seconds, rolesTTL that of
	// subject_roles; 0: there is none.
	ttl, apiTTL, rolesTTL float64
	// What happens in the whole fleet.
	revocations, roleChanges, versions float64
	// tableSize is that of a permission table in bytes.
	tableSize float64
}

// demand is what a fleet asks of the systems in a second, on average.
type demand struct {
	kratos, hydra        float64 // calls
	kratosUp, kratosDown float64 // bytes
	hydraUp, hydraDown   float64
	sent, executed       float64 // commands to Redis
	redisUp, redisDown   float64
	redisProcessors      float64
	statements           float64
	postgresUp           float64
	postgresDown         float64
	// alone are the calls to both providers without Redis. unremembered is the share of
	// requests whose credential the node does not remember.
	alone, unremembered float64
	redisMemory         float64
}

func (d *demand) add(rate float64, c cost) {
	d.sent += rate * float64(total(c.sent))
	d.executed += rate * float64(c.executed())
	d.redisUp += rate * float64(c.redis.up)
	d.redisDown += rate * float64(c.redis.down)
	d.redisProcessors += rate * c.micros / 1e6
	d.statements += rate * float64(c.statements)
	d.postgresUp += rate * float64(c.postgres.up)
	d.postgresDown += rate * float64(c.postgres.down)
}

// learned says how often credentials are learned in a second. A credential is learned from
// its provider once its time is over and it comes again; other nodes that it meets until
// then learn it from Redis. alone is how often each node would learn it by itself.
func (f fleet) learned(share float64) (first, other, alone float64) {
	active := share * f.rate * f.nodes / f.each
	first = active / (f.ttl + 1/f.each)
	other = first * (f.nodes - 1) * (1 - math.Exp(-f.each*f.ttl/f.nodes))
	return first, other, f.alone(share, f.ttl)
}

// alone is how often nodes learn credentials each by itself, if each remembers them for so
// long.
func (f fleet) alone(share, ttl float64) float64 {
	active := share * f.rate * f.nodes / f.each
	return active * f.nodes / (ttl + f.nodes/f.each)
}

// apiTokenLife is how long a node remembers an API token: until a change of roles, too.
func (f fleet) apiTokenLife() float64 {
	if f.roleChanges == 0 {
		return f.apiTTL
	}
	return (1 - math.Exp(-f.roleChanges*f.apiTTL)) / f.roleChanges
}

// knownGood is of how many credentials a node knows at least that they were good.
const knownGood = 1 << 15

// strange is the share of valid credentials that a node does not remember and of which it
// does not know any more that they were good, where there are that many misses.
func (f fleet) strange(misses float64) float64 {
	if (f.sessions+f.tokens+f.apiTokens)*f.rate*f.nodes/f.each <= knownGood {
		return 0
	}
	known := 1.5 * knownGood / (misses / f.nodes)
	return math.Exp(-math.Max(0, known-f.ttl) * f.each / f.nodes)
}

func (f fleet) demand() (d demand) {
	first, other, alone := f.learned(f.sessions)
	d.kratos, d.alone, d.unremembered = first, alone, first+other
	d.add(first, sessionFirst)
	d.add(other, sessionOther)
	d.redisMemory = first * f.ttl * float64(sessionFirst.kept)
	d.kratosUp, d.kratosDown = first*float64(sessionFirst.provider.up), first*float64(sessionFirst.provider.down)

	first, other, alone = f.learned(f.tokens)
	invalid := f.invalid * f.rate * f.nodes
	d.hydra, d.alone, d.unremembered = first+invalid, d.alone+alone+invalid, d.unremembered+first+other
	d.add(first, tokenFirst)
	d.add(other, tokenOther)
	d.add(invalid, invalidFirst)
	d.redisMemory += first * f.ttl * float64(tokenFirst.kept)
	d.hydraUp = first*float64(tokenFirst.provider.up) + invalid*float64(invalidFirst.provider.up)
	d.hydraDown = first*float64(tokenFirst.provider.down) + invalid*float64(invalidFirst.provider.down)

	misses := f.alone(f.apiTokens, f.apiTokenLife())
	d.unremembered += misses
	d.add(misses, apiTokenMiss)
	d.add(d.unremembered*f.strange(d.unremembered), stranger)
	d.unremembered = (d.unremembered + invalid) / (f.rate * f.nodes)
	if f.rolesTTL > 0 {
		d.add(f.alone(f.sessions+f.tokens, f.rolesTTL), rolesMiss)
	}

	d.add(f.revocations*f.nodes, revocationFromRedis)
	d.add(f.revocations*f.nodes, revocationFromTable)
	d.add(f.roleChanges*f.nodes, rolesChange)
	version := tableVersion
	version.postgres.down += int(f.tableSize)
	d.add(f.versions*f.nodes, version)
	d.add(f.nodes/60, idleMinute)
	return d
}

// unlike is how many unlike credentials a node meets within cache_ttl.
func (f fleet) unlike() float64 {
	return f.rate * f.nodes / f.each * (1 - math.Exp(-f.each*f.ttl/f.nodes))
}
