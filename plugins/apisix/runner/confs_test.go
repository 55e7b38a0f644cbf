package runner

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

// clock is a time that tests set.
type clock struct{ t time.Time }

func newClock() *clock                   { return &clock{time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)} }
func (c *clock) now() time.Time          { return c.t }
func (c *clock) advance(d time.Duration) { c.t = c.t.Add(d) }

func confsFor(c *clock, limit int) (store *confs, loads *int) {
	loads = new(int)
	o := options{confExpire: time.Hour, maxConfs: limit, now: c.now}
	return newConfs(&o, func(prepareConf) *routeConf { *loads++; return &routeConf{} }), loads
}

func msg(key, value string) prepareConf {
	return prepareConf{key: key, conf: []textEntry{{name: "p", value: value}}}
}

func mustPrepare(t *testing.T, c *confs, m prepareConf) uint32 {
	t.Helper()
	token, err := c.prepare(m)
	if err != nil || token == 0 {
		t.Fatalf("token %d, %v", token, err)
	}
	return token
}

func TestConfTokenIsOfKeyAndContent(t *testing.T) {
	c, loads := confsFor(newClock(), 100)
	first := mustPrepare(t, c, msg("k", "1"))
	if again := mustPrepare(t, c, msg("k", "1")); again != first || *loads != 1 {
		t.Errorf("the same config: token %d and %d, loaded %d times", first, again, *loads)
	}
	seen := map[uint32]bool{first: true}
	// The last two differ from the first only in where one part ends.
	for _, m := range []prepareConf{msg("k", "2"), msg("l", "1"), {key: "kp", conf: []textEntry{{value: "1"}}}, {key: "k", conf: []textEntry{{name: "p1"}}}} {
		token := mustPrepare(t, c, m)
		if seen[token] {
			t.Errorf("%v got the token of another config", m)
		}
		seen[token] = true
	}
}

func TestConfsExpire(t *testing.T) {
	clock := newClock()
	c, loads := confsFor(clock, 100)
	mustPrepare(t, c, msg("used", ""))
	unused := mustPrepare(t, c, msg("unused", ""))
	for range 30 { // longer than APISIX may keep a token without sending the conf again
		clock.advance(5 * time.Minute)
		mustPrepare(t, c, msg("used", ""))
	}
	if *loads != 2 {
		t.Errorf("loaded %d times, want each config once while it is in use", *loads)
	}
	clock.advance(time.Second)
	c.sweep()
	if len(c.byToken) != 1 || len(c.byDigest) != 1 {
		t.Errorf("%d tokens and %d digests after the sweep", len(c.byToken), len(c.byDigest))
	}
	if again := mustPrepare(t, c, msg("unused", "")); again == unused {
		t.Error("a token came back to life")
	}
}

// APISIX goes on with a token where the modification time of apisix.yaml comes again,
// or the version of a route, whatever the configuration says now. It sends that again
// for a token which the runner does not know.
func TestConfigKeptByAnEqualModificationTimeIsAskedForAgain(t *testing.T) {
	clock := newClock()
	c, loads := confsFor(clock, 100)
	token := mustPrepare(t, c, msg("route#1#ext-plugin-pre-req#1700000000", "public"))
	start := clock.now()
	for c.find(token, clock.now()) != nil { // in use all the time
		clock.advance(time.Second)
	}
	if after := clock.now().Sub(start); after > 5*time.Minute+time.Second {
		t.Errorf("a token in use is good for %v", after)
	}
	again := mustPrepare(t, c, msg("route#1#ext-plugin-pre-req#1700000000", "public"))
	if again == token || *loads != 1 {
		t.Errorf("token %d again, loaded %d times", again, *loads)
	}
}

// APISIX forgets all its tokens when it is told that one is unknown. Those of the other
// routes must not run out one by one, each with that effect.
func TestTokensThatAreHandedOutAgainLastAWhile(t *testing.T) {
	clock := newClock()
	c, _ := confsFor(clock, 100)
	old := mustPrepare(t, c, msg("k", ""))
	clock.advance(c.tokenLife - time.Second)
	fresh := mustPrepare(t, c, msg("k", ""))
	if c.find(old, clock.now()) == nil {
		t.Error("a worker that still has the token before got an error")
	}
	clock.advance(c.tokenLife - time.Second)
	if c.find(old, clock.now()) != nil || c.find(fresh, clock.now()) == nil {
		t.Error("the lives of the two tokens are not apart")
	}
}

// What a configuration needs may be there by now, such as a file.
func TestConfigThatDidNotLoadIsLoadedAgain(t *testing.T) {
	clock := newClock()
	c, loads := confsFor(clock, 100)
	c.load = func(prepareConf) *routeConf { *loads++; return &routeConf{denied: *loads == 1} }
	token := mustPrepare(t, c, msg("k", ""))
	if conf := c.find(token, clock.now()); !conf.denied {
		t.Fatal("loaded at once")
	}
	mustPrepare(t, c, msg("k", ""))
	if *loads != 1 {
		t.Error("loaded for each PrepareConf")
	}
	clock.advance(c.tokenLife)
	if conf := c.find(mustPrepare(t, c, msg("k", "")), clock.now()); conf.denied {
		t.Error("not loaded again")
	}
	if len(c.byDigest) != 1 || len(c.byToken) != 1 {
		t.Errorf("%d configs and %d tokens", len(c.byDigest), len(c.byToken))
	}
}

func TestConfsAreBounded(t *testing.T) {
	clock := newClock()
	c, _ := confsFor(clock, 3)
	var tokens []uint32
	for i := range 3 {
		tokens = append(tokens, mustPrepare(t, c, msg("k", fmt.Sprint(i))))
		clock.advance(time.Second)
	}
	c.find(tokens[0], clock.now())
	clock.advance(time.Second)
	last := mustPrepare(t, c, msg("k", "3"))
	for token, kept := range map[uint32]bool{tokens[0]: true, tokens[1]: false, tokens[2]: true, last: true} {
		if found := c.find(token, clock.now()) != nil; found != kept {
			t.Errorf("token %d: found %v, want %v", token, found, kept)
		}
	}
	if len(c.byToken) != 3 || len(c.byDigest) != 3 {
		t.Errorf("%d tokens and %d digests", len(c.byToken), len(c.byDigest))
	}
}

// For as long as APISIX may remember a token of one process, no later process
// issues it, whatever configs they load.
func TestTokensOfSuccessiveProcessesNeverMeet(t *testing.T) {
	clock := newClock()
	issued := map[uint32]time.Time{}
	for clock.now().Before(newClock().t.Add(4 * time.Hour)) {
		c, _ := confsFor(clock, 1<<16)
		for i := range 200 { // each process has other configs under the same keys
			token := mustPrepare(t, c, msg(fmt.Sprint(i), fmt.Sprint(clock.now())))
			if before, ok := issued[token]; ok && clock.now().Sub(before) < confLifetime(time.Hour) {
				t.Fatalf("token %d was issued %s before", token, clock.now().Sub(before))
			}
			issued[token] = clock.now()
		}
		clock.advance(30 * time.Second)
	}
}

// Two processes whose clocks say the same are kept apart by chance only, but
// not by counting from one, as in the stock library.
func TestTokensAreNotGuessable(t *testing.T) {
	clock := newClock()
	met := 0
	for range 50 {
		a, _ := confsFor(clock, 100)
		b, _ := confsFor(clock, 100)
		if mustPrepare(t, a, msg("k", "1")) == mustPrepare(t, b, msg("k", "2")) {
			met++
		}
	}
	if met > 5 {
		t.Errorf("%d of 50 first tokens are the same", met)
	}
}

func TestTokensRunOut(t *testing.T) {
	tokens := newTokens(newClock().now, time.Hour)
	if _, err := tokens.issue(func(uint32) bool { return true }); !errors.Is(err, errNoToken) {
		t.Errorf("error %v", err)
	}
	all := map[uint32]bool{}
	for range 1 << randomBits {
		token, err := tokens.issue(func(t uint32) bool { return all[t] })
		if err != nil || all[token] {
			t.Fatalf("token %d, %v", token, err)
		}
		all[token] = true
	}
}

// loadLog loads one config and returns what the runner logs.
func loadLog(t *testing.T, o options, entries ...conf) (log string, got outcome) {
	t.Helper()
	r := startRunner(t, o)
	g := r.dial(t)
	got = g.call(t, call{token: g.prepare(t, "route#1", entries...)})
	return r.log.String(), got
}

func TestConfigThatDoesNotLoadDenies(t *testing.T) {
	plugins := []Plugin{
		&probe{name: "good"},
		&probe{name: "panics", parse: func(in []byte) (any, error) { panic(string(in)) }},
		&probe{name: "quotes", parse: func(in []byte) (any, error) { return nil, fmt.Errorf("bad value in %s", in) }},
		&probe{name: "quotes a part", parse: func(in []byte) (any, error) { return nil, errors.New("cannot use " + secret) }},
		&probe{name: "loggable", parse: func(in []byte) (any, error) { return nil, fmt.Errorf("parse: %w", loggable("issuer is not a URL")) }},
	}
	withSecret := `{"a":{"b":["` + secret + `"]},"n":12345678}`
	for name, test := range map[string]struct {
		entries []conf
		says    string
	}{
		"panic":            {[]conf{{"panics", withSecret}}, "ParseConf panicked"},
		"panic, no JSON":   {[]conf{{"panics", "token=" + secret}}, "ParseConf panicked"},
		"whole config":     {[]conf{{"quotes", withSecret}}, "plugin quotes: bad value in"},
		"part of it":       {[]conf{{"quotes a part", withSecret}}, "cannot use [removed]"},
		"part, no JSON":    {[]conf{{"quotes a part", "x: " + secret}}, "cannot use [removed]"},
		"part of a value":  {[]conf{{"quotes a part", `{"u":"https://u:` + secret + `@h/"}`}}, "cannot use"},
		"loggable error":   {[]conf{{"loggable", `{"issuer":"issuer"}`}}, "parse: issuer is not a URL"},
		"unknown plugin":   {[]conf{{"goood", "{}"}}, `no plugin is called \"goood\": this runner has good, panics`},
		"every mistake":    {[]conf{{"x", ""}, {"good", ""}, {"y", ""}}, `conf[2]: no plugin is called \"y\"`},
		"too many plugins": {make([]conf, 65), "more than 64 entries"},
	} {
		t.Run(name, func(t *testing.T) {
			log, got := loadLog(t, options{plugins: plugins}, test.entries...)
			if !got.stop || got.status != 503 {
				t.Errorf("%v, want 503", got)
			}
			if !strings.Contains(log, test.says) || !strings.Contains(log, "route=route#1") {
				t.Errorf("the log does not say %q:\n%s", test.says, log)
			}
			if strings.Contains(log, secret) {
				t.Errorf("the log holds a secret:\n%s", log)
			}
		})
	}
}

type loggable string

func (l loggable) Error() string { return string(l) }
func (l loggable) Loggable()     {}
