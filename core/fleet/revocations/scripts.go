package revocations

import (
	"context"
	"fmt"
	"strconv"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"gatehouse/core/fleet/redis"
	"gatehouse/core/fleet/seal"
)

// look is what the scripts have in common: the length of the stream, -1 for a key that
// holds something else; the ids of the first and of the last entry, and the last one that
// was ever given out; the value of the last entry and its sum.
const look = `
local function look(key)
	local info = redis.pcall("XINFO", "STREAM", key)
	if info.err and string.find(info.err, "no such key") then return {length = 0, first = "", last = "", generated = "", value = "", sum = ""} end
	if info.err and string.find(info.err, "WRONGTYPE") then return {length = -1, first = "", last = "", generated = "", value = "", sum = ""} end
	if info.err then redis.call("XINFO", "STREAM", key) end
	local field = {}
	for i = 1, #info, 2 do field[info[i]] = info[i + 1] end
	local state = {length = field["length"], first = "", last = "", generated = field["last-generated-id"], value = "", sum = ""}
	if field["first-entry"] then state.first = field["first-entry"][1] end
	if field["last-entry"] then
		state.last = field["last-entry"][1]
		state.value = field["last-entry"][2][2] or ""
		state.sum = redis.sha1hex(state.value)
	end
	return state
end
`

var (
	// lookScript tells the state of the stream, without the last value where the caller
	// knows it.
	lookScript = goredis.NewScript(look + `
local now, state = redis.call("TIME"), look(KEYS[1])
if state.sum == ARGV[1] then state.value = "" end
return {now[1], now[2], state.length, state.first, state.last, state.generated, state.sum, state.value}
`)
	// appendScript adds an entry after the one that the caller has seen last, and removes
	// those before an id.
	appendScript = goredis.NewScript(look + `
local state = look(KEYS[1])
if state.length < 1 or state.last ~= ARGV[1] or state.sum ~= ARGV[2] or state.generated ~= state.last then return 0 end
redis.call("XADD", KEYS[1], ARGV[3], "entry", ARGV[4])
if ARGV[5] ~= "" then redis.call("XTRIM", KEYS[1], "MINID", ARGV[5]) end
return 1
`)
	// beginScript begins a new epoch where the stream is as the caller has seen it.
	beginScript = goredis.NewScript(look + `
local state = look(KEYS[1])
if tostring(state.length) ~= ARGV[1] or state.last ~= ARGV[2] or state.sum ~= ARGV[3] then return 0 end
redis.call("DEL", KEYS[1])
redis.call("XADD", KEYS[1], ARGV[4], "entry", ARGV[5])
return 1
`)
)

// state is that of the stream.
type state struct {
	now                    time.Time // by the clock of Redis
	length                 int64
	first, last, generated id
	lastText               string // as Redis writes it
	sum, value             string
}

// look asks for the state of the stream. The value is left out where its sum is known.
func (s *Stream) look(ctx context.Context, known string) (*state, error) {
	ctx, cancel := context.WithTimeout(ctx, commandTime)
	defer cancel()
	reply, err := lookScript.Run(ctx, s.redis, []string{s.key}, known).Slice()
	if err != nil {
		return nil, redis.Explain(err)
	}
	if len(reply) != 8 {
		return nil, fmt.Errorf("the script replied with %d values", len(reply))
	}
	text := func(i int) string { return fmt.Sprint(reply[i]) }
	seconds, _ := strconv.ParseInt(text(0), 10, 64)
	micros, _ := strconv.ParseInt(text(1), 10, 64)
	length, _ := reply[2].(int64)
	return &state{
		now: time.Unix(seconds, micros*1000).UTC(), length: length,
		first: parseID(text(3)), last: parseID(text(4)), lastText: text(4), generated: parseID(text(5)), sum: text(6), value: text(7),
	}, nil
}

// begin begins a new epoch, unless somebody else was faster.
func (s *Stream) begin(ctx context.Context, l *state) (begun bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, commandTime)
	defer cancel()
	first := id{uint64(l.now.UnixMilli()), 1}
	if after := l.last.epoch + 1; after > first.epoch && after < first.epoch+uint64(maxAhead.Milliseconds()) {
		first.epoch = after // whoever waits for an entry after the last one gets this one
	}
	value, err := sealRecord(s.box, s.key, first, &record{Oldest: 1, At: l.now})
	if err != nil {
		return false, err
	}
	n, err := beginScript.Run(ctx, s.redis, []string{s.key}, l.length, l.lastText, l.sum, first.String(), value).Int()
	if n == 1 {
		s.Epochs.Add(1)
	}
	return n == 1, redis.Explain(err)
}

// maxAhead is by how much the clock of a Redis server may be ahead of the one after it.
const maxAhead = time.Hour

// append writes a record after the tip; nothing where somebody else was faster. As many
// replicas as are asked for have to acknowledge it.
func (s *Stream) append(ctx context.Context, box *seal.Box, t *tip, r *record, replicas int) (value string, after *tip, err error) {
	ctx, cancel := context.WithTimeout(ctx, commandTime+s.options.ReplicaTime)
	defer cancel()
	server, err := s.redis.Server(ctx, s.key)
	if err != nil {
		return "", nil, redis.Explain(err)
	}
	connection := server.Conn() // WAIT is about what its own connection has written
	defer connection.Close()
	r.Previous = t.digest
	trim := ""
	if r.Oldest = max(r.Oldest, t.oldest); r.Oldest > t.oldest {
		trim = id{t.id.epoch, r.Oldest}.String()
	}
	next := t.id.next()
	value, err = sealRecord(box, s.key, next, r)
	if err != nil {
		return "", nil, err
	}
	n, err := appendScript.Run(ctx, connection, []string{s.key}, t.id.String(), t.sum, next.String(), value, trim).Int()
	if err != nil || n == 0 {
		return "", nil, redis.Explain(err)
	}
	return value, tipOf(next, value, r), s.acknowledged(ctx, connection, replicas)
}

// ErrUnacknowledged is of an event that reaches the nodes, and that a failover may lose.
type ErrUnacknowledged struct{ Got, Want int }

func (e *ErrUnacknowledged) Error() string {
	return fmt.Sprintf("the event is written, but %d of %d replicas of Redis have acknowledged it: a failover may lose it; see to the replicas and revoke again, or lower redis.wait_replicas", e.Got, e.Want)
}

func (s *Stream) acknowledged(ctx context.Context, connection *goredis.Conn, want int) error {
	if want == 0 {
		return nil
	}
	got, err := connection.Wait(ctx, want, s.options.ReplicaTime).Result()
	if err != nil {
		return redis.Explain(err)
	}
	if int(got) < want {
		return &ErrUnacknowledged{int(got), want}
	}
	return nil
}
