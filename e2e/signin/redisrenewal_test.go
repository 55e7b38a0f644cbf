package signin

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse/core"
	"gatehouse/core/authn/clientauth"
	configfleet "gatehouse/core/config/fleet"
	"gatehouse/core/coretest"
	"gatehouse/core/extract"
	"gatehouse/core/fleet/redis"
	"gatehouse/core/signin/oidc"
	"gatehouse/core/signin/session"
	"gatehouse/dev/ory"
	"gatehouse/dev/ory/orytest"
	"gatehouse/dev/redistest"
)

// renewer renews sessions in the place of a provider, as a test has it.
type renewer func(*session.Session) (*session.Session, error)

func (r renewer) Renew(_ context.Context, s *session.Session) (*session.Session, error) { return r(s) }

// keeper is the part of a node that keeps sessions up, without a cache.
type keeper struct {
	t     *testing.T
	store *session.InRedis
	gate  core.Authenticator
}

// uncached asks the authenticator of sessions for each request.
type uncached struct{ *session.Authenticator }

func (u uncached) Authenticate(ctx context.Context, _ *core.Call, c core.Credential) (core.Authentication, error) {
	p, err := u.AuthenticateToken(ctx, c)
	return core.Authentication{Principal: p}, err
}

func (u uncached) Refresh(ctx context.Context, call *core.Call, c core.Credential) (core.Authentication, error) {
	return u.Authenticate(ctx, call, c)
}

func (uncached) JudgesOthers() {}

func newKeeper(t *testing.T, server *redistest.Server, now func() time.Time, r session.Renewer, change ...func(*redis.Options)) *keeper {
	t.Helper()
	o := redis.Options{Addresses: []string{server.Addr}, Timeout: time.Second}
	for _, c := range change {
		c(&o)
	}
	client, err := redis.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	life := session.Life{Idle: 20 * time.Minute, Absolute: time.Hour, Now: now}
	store, err := session.NewInRedis(client, "gatehouse:", session.Cookie{Name: cookieName}, life, sessionSecret)
	if err != nil {
		t.Fatal(err)
	}
	a, err := session.New(session.Options{Store: store, Renewer: r, Life: life})
	if err != nil {
		t.Fatal(err)
	}
	return &keeper{t, store, a.Attend(uncached{a})}
}

// save signs a browser in with tokens that end after some time.
func (k *keeper) save(s *session.Session) *core.Request {
	k.t.Helper()
	lines, err := k.store.Save(k.t.Context(), s, nil)
	if err != nil {
		k.t.Fatal(err)
	}
	pair, _, _ := strings.Cut(lines[0].Value, ";")
	return &core.Request{Header: []core.Header{{Name: "Cookie", Value: pair}}}
}

func (k *keeper) send(r *core.Request) (core.Authentication, error) {
	k.t.Helper()
	e, err := extract.New(session.Cookie{Name: cookieName}.Place())
	if err != nil {
		k.t.Fatal(err)
	}
	c, err := e.Extract(r)
	if err != nil {
		k.t.Fatal(err)
	}
	return k.gate.Authenticate(k.t.Context(), &core.Call{Request: r}, c)
}

// stored is the session of a browser as Redis has it.
func (k *keeper) stored(r *core.Request) (*session.Session, error) {
	return k.store.Current(k.t.Context(), r)
}

func (k *keeper) wantsToken(r *core.Request, token string) {
	k.t.Helper()
	eventually(k.t, "the session to have "+token, func() bool {
		s, err := k.stored(r)
		return err == nil && s.RefreshToken == token
	})
}

func signedIn(now time.Time, life time.Duration) *session.Session {
	return &session.Session{Issuer: "https://op.test", Subject: "ada", RefreshToken: "refresh-1", TokenExpires: now.Add(life)}
}

func next(s *session.Session, expires time.Time) *session.Session {
	renewed := *s
	renewed.RefreshToken, renewed.TokenExpires = "refresh-2", expires
	return &renewed
}

var errUsed = fmt.Errorf("%w: invalid_grant", core.ErrInvalid)

// A node that dies while it renews holds its lock until that runs out. The session lives
// on meanwhile, and another node renews it then.
func TestLockOfANodeThatDiedRunsOut(t *testing.T) {
	server, clock := redistest.Start(t), coretest.NewClock()
	var calls atomic.Int64
	k := newKeeper(t, server, clock.Now, renewer(func(s *session.Session) (*session.Session, error) {
		calls.Add(1)
		return next(s, clock.Now().Add(time.Hour)), nil
	}))
	ada := k.save(signedIn(clock.Now(), 5*time.Minute))
	lock := keysOf(t, server)[0] + ":lock"
	server.Do("SET", lock, "a node that is gone", "PX", 60_000)
	clock.Advance(4*time.Minute + time.Second)
	for range 3 {
		if _, err := k.send(ada); err != nil {
			t.Fatal(err)
		}
	}
	if n := calls.Load(); n != 0 {
		t.Fatalf("%d calls of a provider beside a lock", n)
	}
	server.Do("PEXPIRE", lock, 1)
	k.wantsToken(ada, "refresh-2")
	if _, err := k.send(ada); err != nil || calls.Load() != 1 {
		t.Errorf("%d calls, %v", calls.Load(), err)
	}
	if server.Do("EXISTS", lock).(int64) != 0 {
		t.Error("the lock is left")
	}
}

// When the tokens have ended, nobody passes by a lock of a node that is gone, and nobody
// is refused for good either.
func TestSessionWhoseTokensHaveEndedWaitsForTheLock(t *testing.T) {
	server, clock := redistest.Start(t), coretest.NewClock()
	k := newKeeper(t, server, clock.Now, renewer(func(s *session.Session) (*session.Session, error) { return next(s, clock.Now().Add(time.Hour)), nil }))
	ada := k.save(signedIn(clock.Now(), 5*time.Minute))
	server.Do("SET", keysOf(t, server)[0]+":lock", "a node that is gone", "PX", 300)
	clock.Advance(6 * time.Minute)
	if got, err := k.send(ada); err != nil || got.Principal == nil {
		t.Errorf("%+v, %v", got.Principal, err)
	}
	k.wantsToken(ada, "refresh-2")
}

// Two nodes renew one session where the first has lost its lock: whichever response comes
// last, a session that was renewed is not deleted.
func TestNodeThatLostItsLockDoesNotEndTheSession(t *testing.T) {
	for name, secondLast := range map[string]bool{"the refusal comes last": true, "the new tokens come last": false} {
		t.Run(name, func(t *testing.T) {
			server, clock := redistest.Start(t), coretest.NewClock()
			asked, may := make(chan string, 2), map[string]chan struct{}{"first": make(chan struct{}), "second": make(chan struct{})}
			provider := func(node string) renewer {
				return func(s *session.Session) (*session.Session, error) {
					asked <- node
					<-may[node]
					if node == "second" {
						return nil, errUsed
					}
					return next(s, clock.Now().Add(time.Hour)), nil
				}
			}
			first, second := newKeeper(t, server, clock.Now, provider("first")), newKeeper(t, server, clock.Now, provider("second"))
			ada := first.save(signedIn(clock.Now(), 5*time.Minute))
			key := keysOf(t, server)[0]
			clock.Advance(4*time.Minute + time.Second)
			first.send(ada)
			<-asked
			server.Do("DEL", key+":lock") // it has run out
			second.send(ada)
			<-asked
			if secondLast {
				close(may["first"])
				first.wantsToken(ada, "refresh-2")
				close(may["second"])
			} else {
				close(may["second"])
				eventually(t, "the second node to end", func() bool { return server.Do("EXISTS", key+":lock").(int64) == 0 })
				close(may["first"])
			}
			if secondLast {
				for range 20 {
					if _, err := second.send(ada); err != nil {
						t.Fatal(err)
					}
					time.Sleep(5 * time.Millisecond)
				}
				second.wantsToken(ada, "refresh-2")
				return
			}
			// The provider has refused the token that the session had: it is over, on both.
			for _, node := range []*keeper{first, second} {
				eventually(t, "the session to be over", func() bool { _, err := node.send(ada); return errors.Is(err, core.ErrInvalid) })
			}
		})
	}
}

// A refresh token that was used is not used again because Redis was away when its
// successor was to be kept.
func TestRenewedSessionIsKeptWhenRedisComesBack(t *testing.T) {
	server, clock := redistest.Start(t), coretest.NewClock()
	var calls atomic.Int64
	k := newKeeper(t, server, clock.Now, renewer(func(s *session.Session) (*session.Session, error) {
		if calls.Add(1) > 1 {
			return nil, errUsed
		}
		server.Freeze()
		return next(s, clock.Now().Add(time.Hour)), nil
	}), func(o *redis.Options) { o.Timeout = 100 * time.Millisecond })
	ada := k.save(signedIn(clock.Now(), 5*time.Minute))
	clock.Advance(6 * time.Minute) // the request waits for the tokens
	if got, err := k.send(ada); err == nil || errors.Is(err, core.ErrInvalid) || got.Principal != nil {
		t.Fatalf("%+v, %v: want an outage", got.Principal, err)
	}
	server.Thaw()
	server.Do("DEL", keysOf(t, server)[0]+":lock")
	clock.Advance(6 * time.Second)
	eventually(t, "the session to pass", func() bool {
		clock.Advance(time.Second)
		_, err := k.send(ada)
		if errors.Is(err, core.ErrInvalid) {
			t.Fatal(err)
		}
		return err == nil
	})
	k.wantsToken(ada, "refresh-2")
	if n := calls.Load(); n != 1 {
		t.Errorf("the provider was asked %d times", n)
	}
}

// A node that is slow to note a use does not put back the tokens that another node has
// used up meanwhile, and does not bring back a session that was ended.
func TestNotedUseUndoesNoRenewalAndNoLogout(t *testing.T) {
	server, clock := redistest.Start(t), coretest.NewClock()
	k := newKeeper(t, server, clock.Now, renewer(func(s *session.Session) (*session.Session, error) { return next(s, clock.Now().Add(time.Hour)), nil }))
	ada := k.save(signedIn(clock.Now(), 5*time.Minute))
	slow, err := k.stored(ada)
	if err != nil {
		t.Fatal(err)
	}
	clock.Advance(4*time.Minute + time.Second)
	k.send(ada)
	k.wantsToken(ada, "refresh-2")
	if _, err := k.store.Save(t.Context(), slow.Seen(clock.Now()), nil); err != nil {
		t.Error(err)
	}
	k.wantsToken(ada, "refresh-2")
	if ended, err := k.store.End(t.Context(), "https://op.test", "ada"); err != nil || len(ended) != 1 {
		t.Errorf("%v, %v", ended, err)
	}
	if _, err := k.store.Save(t.Context(), slow.Seen(clock.Now()), nil); !errors.Is(err, core.ErrInvalid) {
		t.Errorf("a session that was ended is noted: %v", err)
	}
	if keys := keysOf(t, server); len(keys) != 0 {
		t.Errorf("Redis holds %v", keys)
	}
}

// A logout while a node renews: the new tokens bring no session back.
func TestSessionThatIsEndedWhileItIsRenewedStaysEnded(t *testing.T) {
	server, clock := redistest.Start(t), coretest.NewClock()
	asked, may := make(chan struct{}), make(chan struct{})
	k := newKeeper(t, server, clock.Now, renewer(func(s *session.Session) (*session.Session, error) {
		close(asked)
		<-may
		return next(s, clock.Now().Add(time.Hour)), nil
	}))
	ada := k.save(signedIn(clock.Now(), 5*time.Minute))
	key := keysOf(t, server)[0]
	clock.Advance(4*time.Minute + time.Second)
	k.send(ada)
	<-asked
	if ended, err := k.store.End(t.Context(), "https://op.test", "ada"); err != nil || len(ended) != 1 {
		t.Fatalf("%v, %v", ended, err)
	}
	close(may)
	eventually(t, "the renewal to end", func() bool { return server.Do("EXISTS", key+":lock").(int64) == 0 })
	if _, err := k.send(ada); !errors.Is(err, core.ErrInvalid) {
		t.Errorf("%v", err)
	}
	if keys := keysOf(t, server); len(keys) != 0 {
		t.Errorf("Redis holds %v", keys)
	}
}

// Hydra ends all tokens of a sign-in when a refresh token is used twice.
func TestTwoNodesUseARefreshTokenOfHydraOnce(t *testing.T) {
	h, server := orytest.Hydra(t, ory.HydraConfig{AccessTokenLifespan: 2 * time.Second}), redistest.Start(t)
	client, err := h.CreateClient(t.Context(), ory.Client{
		Grants: []string{"authorization_code", "refresh_token"}, Scopes: []string{"openid", "offline"}, RedirectURIs: []string{callback},
	})
	if err != nil {
		t.Fatal(err)
	}
	p := provider(t, oidc.Options{
		Name: "hydra", Discovery: h.PublicURL + "/.well-known/openid-configuration", ClientID: client.ID,
		Authentication: clientauth.Options{Secret: client.Secret}, Scopes: client.Scopes, ResponseMode: oidc.Query,
	})
	browser, err := ory.NewBrowser()
	if err != nil {
		t.Fatal(err)
	}
	a := oidc.NewAttempt(oidc.Demand{})
	address, err := p.AuthorizationURL(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	_, to, _, err := h.Visit(t.Context(), browser, address, ory.Grant{Subject: "ada", Scopes: client.Scopes})
	if err != nil {
		t.Fatal(err)
	}
	response, err := oidc.ParseResponse(to.RawQuery)
	if err != nil {
		t.Fatal(err)
	}
	s, err := p.SignIn(t.Context(), a, response)
	if err != nil {
		t.Fatal(err)
	}
	nodes := []*keeper{newKeeper(t, server, time.Now, p), newKeeper(t, server, time.Now, p)}
	ada := nodes[0].save(s)
	renewals := map[string]bool{}
	for len(renewals) < 4 {
		failed := make(chan error, 20)
		for i := range 20 {
			go func() { _, err := nodes[i%2].send(ada); failed <- err }()
		}
		for range 20 {
			if err := <-failed; err != nil {
				t.Fatalf("after %d refresh tokens: %v", len(renewals), err)
			}
		}
		now, err := nodes[1].stored(ada)
		if err != nil {
			t.Fatal(err)
		}
		renewals[now.RefreshToken] = true
		time.Sleep(20 * time.Millisecond)
	}
}

// The rights that the description of redis.username lists are enough for all that is done
// with sessions, and each that is for sessions alone is needed.
func TestRightsAtRedisThatAreDocumentedAreEnoughForSessions(t *testing.T) {
	field, _ := reflect.TypeFor[configfleet.Redis]().FieldByName("Username")
	text, _, _ := strings.Cut(field.Tag.Get("doc"), "; with a section revocation")
	_, own, found := strings.Cut(text, "login.oidc.session.storage: redis also ")
	_, text, needs := strings.Cut(text, "The user needs ")
	if !found || !needs {
		t.Fatal("the description of redis.username lists no rights")
	}
	rights := func(text string) (all []string) {
		for _, command := range regexp.MustCompile(`\b[A-Z]{3,}( [A-Z]+)?`).FindAllString(text, -1) {
			all = append(all, "+"+strings.ReplaceAll(strings.ToLower(command), " ", "|"))
		}
		return all
	}
	server, clock := redistest.Start(t), coretest.NewClock()
	server.SetUser("gatehouse", append([]string{"reset", "on", ">password", "~gatehouse:*"}, rights(text)...)...)
	k := newKeeper(t, server, clock.Now, renewer(func(s *session.Session) (*session.Session, error) {
		if s.RefreshToken == "refresh-2" {
			return nil, errUsed
		}
		return next(s, clock.Now().Add(5*time.Minute)), nil
	}), func(o *redis.Options) { o.Username, o.Password = "gatehouse", "password" })
	everything := func() error {
		ada := k.save(signedIn(clock.Now(), 5*time.Minute))
		clock.Advance(3 * time.Minute) // noted
		if _, err := k.send(ada); err != nil {
			return err
		}
		before, _ := k.stored(ada)
		if before == nil || !before.SeenAt.Equal(clock.Now()) {
			return errors.New("the use is not noted")
		}
		clock.Advance(2*time.Minute + time.Second) // the tokens have ended
		if _, err := k.send(ada); err != nil {
			return err
		}
		clock.Advance(6 * time.Minute) // the provider ends the session
		if _, err := k.send(ada); !errors.Is(err, core.ErrInvalid) {
			return fmt.Errorf("the end: %w", err)
		}
		ada = k.save(signedIn(clock.Now(), 5*time.Minute))
		if listed, err := k.store.Of(t.Context(), "https://op.test", "ada"); err != nil || len(listed) != 1 {
			return fmt.Errorf("%d listed: %w", len(listed), err)
		}
		s, err := k.stored(ada)
		if err != nil {
			return err
		}
		if _, err := k.store.Delete(t.Context(), s, ada); err != nil {
			return err
		}
		k.save(signedIn(clock.Now(), 5*time.Minute))
		if ended, err := k.store.End(t.Context(), "https://op.test", "ada"); err != nil || len(ended) != 1 {
			return fmt.Errorf("%d ended: %w", len(ended), err)
		}
		return nil
	}
	if err := everything(); err != nil {
		t.Fatal(err)
	}
	if len(rights(own)) != 5 {
		t.Errorf("rights of sessions alone: %v", rights(own))
	}
	for _, right := range rights(own) {
		server.SetUser("gatehouse", "-"+right[1:])
		s := signedIn(clock.Now(), 5*time.Minute)
		_, saved := k.store.Save(t.Context(), s, nil)
		_, listed := k.store.Of(t.Context(), "https://op.test", "ada")
		_, ended := k.store.End(t.Context(), "https://op.test", "ada")
		if saved == nil && listed == nil && ended == nil {
			t.Errorf("%s is not needed", right)
		}
		server.SetUser("gatehouse", right)
	}
}
