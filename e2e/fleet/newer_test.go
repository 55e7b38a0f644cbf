package fleet

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"gatehouse/core/fleet/seal"
	"gatehouse/dev/redistest"
	"gatehouse/e2e/revocationtest"
)

// A value that a newer version has written is as none: the provider is asked, and it is
// counted.
func TestSharedValueOfANewerVersionIsACountedMiss(t *testing.T) {
	server := redistest.Start(t)
	next := &provider{}
	newNode(t, server.Addr, next, secret).mustKnow(t, token)
	var key string
	var sealed []byte
	for key, sealed = range content(t, server) {
	}
	name, err := base64.RawURLEncoding.DecodeString(key[strings.LastIndexByte(key, ':')+1:])
	if err != nil {
		t.Fatal(err)
	}
	box, err := seal.New("gatehouse cache value", secret)
	if err != nil {
		t.Fatal(err)
	}
	plain, err := box.Open(name, sealed)
	if err != nil {
		t.Fatal(err)
	}
	c := server.Client()
	defer c.Close()
	asked := next.calls.Load()
	for what, text := range map[string]string{
		"a further member":                 `{"Shiny":true,` + string(plain[1:]),
		"a further member of the caller":   strings.Replace(string(plain), `"Principal":{`, `"Principal":{"Shiny":{"a":[1]},`, 1),
		"the caller in another form":       `{"Principal":["ada"],"Life":3600000000000,"Until":"2999-01-01T00:00:00Z"}`,
		"another form":                     `[2,"ada"]`,
		"the life in another form":         strings.Replace(string(plain), `"Life":`, `"Life":"1h","Was":`, 1),
		"no JSON":                          "\x82\x01\x02",
		"a form without caller or refusal": `{}`,
	} {
		if err := c.Set(t.Context(), key, box.Seal(name, []byte(text)), time.Hour).Err(); err != nil {
			t.Fatal(err)
		}
		n := newNode(t, server.Addr, next, secret)
		n.mustKnow(t, token)
		asked++
		next.wantCalls(t, asked)
		if got := n.shared.Stats(); got.Unopened == 0 || got.Misses == 0 || got.Hits != 0 || got.Failures != 0 {
			t.Errorf("%s: %+v", what, got)
		}
		again := newNode(t, server.Addr, next, secret) // what this version wrote in its place
		again.mustKnow(t, token)
		next.wantCalls(t, asked)
	}
}

// writesNewer appends an entry to the stream as a newer version would.
func writesNewer(t *testing.T, server *redistest.Server, format string, arguments ...any) {
	t.Helper()
	all := entries(t, server)
	last := all[len(all)-1]
	epoch, text, _ := strings.Cut(last.ID, "-")
	number, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	id := fmt.Sprintf("%s-%d", epoch, number+1)
	box, err := seal.New("gatehouse revocation", secret)
	if err != nil {
		t.Fatal(err)
	}
	previous := fmt.Sprintf("%x", sha256.Sum256([]byte(last.Values["entry"].(string))))
	plain := strings.ReplaceAll(fmt.Sprintf(format, arguments...), "PREVIOUS", previous)
	c := server.Client()
	defer c.Close()
	value := box.Seal([]byte(streamKey+" "+id), []byte(plain))
	if err := c.XAdd(t.Context(), &goredis.XAddArgs{Stream: streamKey, ID: id, Values: []any{"entry", value}}).Err(); err != nil {
		t.Fatal(err)
	}
}

// A node that cannot tell all that an entry revokes keeps what it has, takes what it knows,
// asks anew about cached callers and says so. It neither begins another stream nor stops.
func TestEntryOfANewerVersionIsSaidAndBreaksNothing(t *testing.T) {
	const record = `"previous":"PREVIOUS","oldest":1,"at":"%[1]s"`
	event := func(subject, more string) string {
		e := revocationtest.Event(subject)
		e.At, e.Until = time.Now(), time.Now().Add(time.Hour)
		text, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		return strings.Replace(string(text), "{", "{"+more, 1)
	}
	for name, c := range map[string]struct {
		plain string
		takes bool // what the version knows of it
		stops bool // until a newer version writes on, nothing can be published after it
	}{
		"a newer version":              {plain: `{"v":2,` + record + `,"events":[` + event("eve", "") + `]}`, takes: true},
		"a further member":             {plain: `{"v":1,` + record + `,"shiny":1,"events":[` + event("eve", "") + `]}`, takes: true},
		"a further member of an event": {plain: `{"v":1,` + record + `,"events":[` + event("eve", `"shiny":[1],`) + `]}`, takes: true},
		"another kind":                 {plain: `{"v":2,` + record + `,"events":[` + strings.Replace(event("x", ""), `"subject"`, `"device"`, 1) + `,` + event("eve", "") + `]}`, takes: true},
		"events in another place":      {plain: `{"v":2,` + record + `,"list":[` + event("eve", "") + `]}`},
		"events in another form":       {plain: `{"v":2,` + record + `,"events":{"eve":1}}`, stops: true},
		"another form":                 {plain: `[2,"eve"]`, stops: true},
		"no JSON":                      {plain: "\x82\x01", stops: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := redistest.Start(t)
			nodes := []*revoker{newRevoker(t, server.Addr), newRevoker(t, server.Addr)}
			agree(t, nodes)
			nodes[0].revoke(t, "ada")
			agree(t, nodes, "ada")
			before, began := len(entries(t, server)), begun(nodes)
			at := time.Now()
			if strings.Contains(c.plain, "%[1]s") {
				writesNewer(t, server, c.plain, at.UTC().Format(time.RFC3339Nano))
			} else {
				writesNewer(t, server, "%s", c.plain)
			}
			for _, n := range nodes {
				eventually(t, "it is said", func() bool {
					return strings.Contains(n.log.String(), "was written by a newer version: upgrade this node") && n.counters.Lost.Load() > 0
				})
				eventually(t, "the node is current again", n.list.IsCurrent.Load)
				if n.list.Floor().Before(at) {
					t.Error("callers that were cached before still count")
				}
			}
			nodes = append(nodes, newRevoker(t, server.Addr)) // one that starts now
			revoked := []string{"ada"}
			if c.takes {
				revoked = append(revoked, "eve")
			}
			agree(t, nodes, revoked...)
			if c.stops {
				if err := publishes(t, nodes[0], time.Second); err == nil || !strings.Contains(err.Error(), "newer version") {
					t.Errorf("published after an entry that cannot be read: %v", err)
				}
				writesNewer(t, server, `{"v":1,`+record+`}`, at.UTC().Format(time.RFC3339Nano))
			}
			nodes[1].revoke(t, "zoe")
			agree(t, nodes, append(revoked, "zoe")...)
			if now := len(entries(t, server)); now < before+2 || begun(nodes) != began {
				t.Errorf("the stream has %d entries, and had %d; %d streams were begun", now, before, begun(nodes)-began)
			}
		})
	}
}
