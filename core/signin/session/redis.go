package session

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"gatehouse/core"
	"gatehouse/core/fleet/seal"
	"gatehouse/core/keyedhash"
)

// InRedis is a Store whose cookies are 256 random bits. Redis is not trusted with the
// sessions: a session is named after the digest of its cookie, from which nobody gets
// the cookie, and is encrypted and bound to that name.
type InRedis struct {
	in    *browser
	life  Life
	codec *codec
	redis goredis.Cmdable
	// prefix of all keys.
	prefix string
	// users name users in Redis, by each of the secrets; the first one writes.
	users []*keyedhash.Hash
}

var _ Store = (*InRedis)(nil)

// NewInRedis makes a store in Redis. The first secret seals, all of them open.
func NewInRedis(redis goredis.Cmdable, prefix string, cookie Cookie, life Life, secrets ...string) (*InRedis, error) {
	in, err := newBrowser(cookie)
	if err != nil {
		return nil, err
	}
	c, err := newCodec("gatehouse session in Redis", secrets)
	if err != nil {
		return nil, err
	}
	s := &InRedis{in: in, life: life.withDefaults(), codec: c, redis: redis, prefix: prefix}
	for _, secret := range secrets {
		key, err := seal.Key(secret, "gatehouse sessions of a user")
		if err != nil {
			return nil, err
		}
		s.users = append(s.users, keyedhash.New(key))
	}
	return s, nil
}

func (s *InRedis) key(handle string) string { return s.prefix + "sign-in:" + handle }

// of are the keys of the lists of a user's sessions, that of the first secret first.
func (s *InRedis) of(issuer, subject string) (keys []string) {
	for _, h := range s.users {
		sum := h.Sum(issuer, subject)
		keys = append(keys, s.prefix+"sign-ins:"+text.EncodeToString(sum[:]))
	}
	return keys
}

// handleOf is what names the session of a cookie.
func handleOf(cookie []byte) string {
	sum := sha256.Sum256(cookie)
	return text.EncodeToString(sum[:])
}

// Save keeps a session. One that was loaded keeps its cookie; it is not kept where it
// has been deleted meanwhile, or where another node has kept a later one.
func (s *InRedis) Save(ctx context.Context, session *Session, r *core.Request) ([]core.Header, error) {
	session, err := s.life.begun(session)
	if err != nil {
		return nil, err
	}
	var cookie []byte
	mode := "XX"
	if session.handle == "" {
		cookie, mode = random(), "NX"
		session.handle = handleOf(cookie)
	}
	if err := s.write(ctx, session, mode); err != nil || cookie == nil {
		return nil, err
	}
	return s.in.cookie.set(text.EncodeToString(cookie), session.CreatedAt.Add(s.life.Absolute), s.life.Now(), r)
}

func (s *InRedis) write(ctx context.Context, session *Session, mode string) error {
	sealed, err := s.codec.encode([]byte(session.handle), session)
	if err != nil {
		return err
	}
	left := s.life.end(session).Sub(s.life.Now()).Truncate(time.Millisecond)
	if left <= 0 {
		return fmt.Errorf("%w: the session is over", core.ErrInvalid)
	}
	kept, err := s.replace(ctx, session, sealed, left, mode)
	switch {
	case errors.Is(err, goredis.Nil):
		return fmt.Errorf("%w: the session has been ended meanwhile", core.ErrInvalid)
	case err != nil:
		return unavailable(err)
	case !kept:
		return nil
	}
	return s.list(ctx, session)
}

// replace writes a session where it is not yet (NX), or where it is (XX). One that was
// loaded and is only noted to be used replaces what was loaded: another node may have
// renewed its tokens since. The error is goredis.Nil where there is none to replace.
func (s *InRedis) replace(ctx context.Context, session *Session, sealed []byte, left time.Duration, mode string) (kept bool, err error) {
	if session.stored == "" {
		err := s.redis.SetArgs(ctx, s.key(session.handle), sealed, goredis.SetArgs{Mode: mode, TTL: left}).Err()
		return err == nil, err
	}
	n, err := replaceScript.Run(ctx, s.redis, []string{s.key(session.handle)}, session.stored, sealed, left.Milliseconds()).Int()
	return n > 0, err
}

// replaceScript sets a key that has a value to another one, and returns nil where there
// is none.
var replaceScript = goredis.NewScript(`local now = redis.call("GET", KEYS[1]) if not now then return false end if now ~= ARGV[1] then return 0 end redis.call("SET", KEYS[1], ARGV[2], "PX", ARGV[3]) return 1`)

// list notes a session among those of its user.
func (s *InRedis) list(ctx context.Context, session *Session) error {
	now := s.life.Now()
	key := s.of(session.Issuer, session.Subject)[0]
	pipe := s.redis.Pipeline()
	pipe.ZAdd(ctx, key, goredis.Z{Score: float64(s.life.end(session).UnixMilli()), Member: session.handle})
	pipe.ZRemRangeByScore(ctx, key, "-inf", strconv.FormatInt(now.UnixMilli(), 10))
	pipe.PExpire(ctx, key, s.life.Absolute)
	if _, err := pipe.Exec(ctx); err != nil {
		return unavailable(err)
	}
	return nil
}

// Load finds the session of a cookie.
func (s *InRedis) Load(ctx context.Context, c core.Credential) (*Session, error) {
	cookie, err := read(c)
	if err != nil {
		return nil, err
	}
	if len(cookie) != idSize {
		return nil, errNone
	}
	return s.read(ctx, handleOf(cookie))
}

func (s *InRedis) read(ctx context.Context, handle string) (*Session, error) {
	sealed, err := s.redis.Get(ctx, s.key(handle)).Bytes()
	switch {
	case errors.Is(err, goredis.Nil):
		return nil, errNone
	case err != nil:
		return nil, unavailable(err)
	}
	session, err := s.codec.decode([]byte(handle), sealed)
	if err != nil {
		return nil, errNone
	}
	if err := s.life.usable(session); err != nil {
		return nil, err
	}
	session.handle, session.stored = handle, string(sealed)
	return session, nil
}

// again is a session as it is now.
func (s *InRedis) again(ctx context.Context, session *Session) (*Session, error) {
	return s.read(ctx, session.handle)
}

// Current finds the session of the browser of a request.
func (s *InRedis) Current(ctx context.Context, r *core.Request) (*Session, error) {
	return s.in.current(ctx, r, s.Load)
}

// Delete deletes a session, and the cookies. The cookies are deleted beside an error,
// too.
func (s *InRedis) Delete(ctx context.Context, session *Session, r *core.Request) ([]core.Header, error) {
	lines := s.in.cookie.expire(r, nil)
	if session == nil || session.handle == "" {
		return lines, nil
	}
	return lines, s.remove(ctx, s.of(session.Issuer, session.Subject), session.handle)
}

func (s *InRedis) remove(ctx context.Context, lists []string, handles ...string) error {
	pipe := s.redis.Pipeline()
	for _, handle := range handles {
		pipe.Del(ctx, s.key(handle))
		for _, list := range lists {
			pipe.ZRem(ctx, list, handle)
		}
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return unavailable(err)
	}
	return nil
}

// Of are the sessions of a user, on all nodes.
func (s *InRedis) Of(ctx context.Context, issuer, subject string) ([]*Session, error) {
	_, sessions, err := s.all(ctx, issuer, subject)
	return sessions, err
}

// End ends all sessions of a user, and returns those that there were. A node that knows
// one keeps it for as long as its cache does, unless its ID is revoked, too.
func (s *InRedis) End(ctx context.Context, issuer, subject string) ([]*Session, error) {
	handles, sessions, err := s.all(ctx, issuer, subject)
	if err != nil || len(handles) == 0 {
		return nil, err
	}
	return sessions, s.remove(ctx, s.of(issuer, subject), handles...)
}

// all are the sessions of a user, and under which handles there were any.
func (s *InRedis) all(ctx context.Context, issuer, subject string) (handles []string, sessions []*Session, err error) {
	for _, key := range s.of(issuer, subject) {
		some, err := s.redis.ZRange(ctx, key, 0, -1).Result()
		if err != nil {
			return nil, nil, unavailable(err)
		}
		handles = append(handles, some...)
	}
	slices.Sort(handles) // one may be listed by several secrets
	handles = slices.Compact(handles)
	for _, handle := range handles {
		session, err := s.read(ctx, handle)
		switch {
		case errors.Is(err, core.ErrInvalid): // it ended between the two looks
		case err != nil:
			return nil, nil, err
		default:
			sessions = append(sessions, session)
		}
	}
	return handles, sessions, nil
}

// deleteUnlessChanged deletes a session that is in Redis as it was read.
func (s *InRedis) deleteUnlessChanged(ctx context.Context, session *Session) (deleted bool, err error) {
	n, err := deleteScript.Run(ctx, s.redis, []string{s.key(session.handle)}, session.stored).Int()
	if err != nil {
		return false, unavailable(err)
	}
	return n > 0, nil
}

// lockFor is longer than a renewal may take.
const lockFor = renewalTime + keepTime + 5*time.Second

// lock makes this node the one that renews a session. The release is never nil.
func (s *InRedis) lock(ctx context.Context, session *Session) (held bool, release func(), err error) {
	key, token := s.key(session.handle)+":lock", rand.Text()
	held, err = s.redis.SetNX(ctx, key, token, lockFor).Result()
	if err != nil {
		return false, func() {}, unavailable(err)
	}
	return held, func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = deleteScript.Run(ctx, s.redis, []string{key}, token).Err() // else it ends by itself
	}, nil
}

// deleteScript deletes a key that has a value: a lock that is still this node's, or a
// session that nobody has changed.
var deleteScript = goredis.NewScript(`if redis.call("GET", KEYS[1]) == ARGV[1] then return redis.call("DEL", KEYS[1]) end return 0`)

// unavailable becomes 503: nobody can tell whether the session holds.
func unavailable(err error) error {
	return fmt.Errorf("the sessions in Redis cannot be reached: %w", err)
}
