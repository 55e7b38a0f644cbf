package e2e

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse/dev/demo/upstream"
	"gatehouse/e2e/vector"
)

// kind is one kind of request of a load.
type kind struct {
	name string
	// request is the path and the header lines.
	path    string
	headers []string
	// right is the class of the one right response.
	right vector.Class
	// user is who the upstream must see where the response is Allow: an id, or
	// empty for none.
	user string
}

// loadHeader names the kind of a request in what the upstream records.
const loadHeader = "X-Load"

func (k kind) bytes() []byte {
	lines := append([]string{"GET " + k.path + " HTTP/1.1", "Host: gateway.test", loadHeader + ": " + k.name}, k.headers...)
	return []byte(strings.Join(lines, "\r\n") + "\r\n\r\n")
}

// load sends requests of all kinds, in turn, until it is stopped.
type load struct {
	t       *testing.T
	address string
	// from is an address of this machine that no other load and no test has: the
	// limit on failed attempts is one for each.
	from  net.Addr
	kinds []kind
	// faults are further classes that a response may have, while something is
	// broken on purpose.
	faults func(vector.Class) bool
	cancel context.CancelFunc
	done   sync.WaitGroup

	mu        sync.Mutex
	responses map[string]map[vector.Class]int // by kind
	wrong     []string
}

const (
	loadWorkers = 4
	patience    = 30 * time.Second // for something to show under load
	wrongShown  = 10
)

// loadsStarted gives each its address.
var loadsStarted atomic.Uint32

// startLoad runs a load until stop.
func startLoad(t *testing.T, gatewayURL string, faults func(vector.Class) bool, kinds ...kind) *load {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	from := &net.TCPAddr{IP: net.IPv4(127, 0, 1, byte(loadsStarted.Add(1)))}
	l := &load{t: t, address: address(gatewayURL), from: from, kinds: kinds, faults: faults, cancel: cancel, responses: map[string]map[vector.Class]int{}}
	for _, k := range kinds {
		l.responses[k.name] = map[vector.Class]int{}
	}
	for worker := range loadWorkers {
		l.done.Go(func() { l.work(ctx, worker) })
	}
	t.Cleanup(l.stop)
	return l
}

// stop ends the load; it may be called twice.
func (l *load) stop() {
	l.cancel()
	l.done.Wait()
}

func (l *load) work(ctx context.Context, turn int) {
	c := &client{address: l.address, from: l.from}
	defer c.close()
	for ; ctx.Err() == nil; turn++ {
		k := l.kinds[turn%len(l.kinds)]
		response, err := c.send(ctx, k.bytes())
		if ctx.Err() != nil {
			return
		}
		l.record(k, response, err)
	}
}

func (l *load) record(k kind, a vector.Response, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	class := a.Class()
	l.responses[k.name][class]++
	switch {
	case err != nil:
		l.wrong = append(l.wrong, fmt.Sprintf("%s: %v", k.name, err))
	case class != k.right && !l.faults(class) && !k.isLimited(class):
		l.wrong = append(l.wrong, fmt.Sprintf("%s: %s, want %s", k.name, class, k.right))
	}
}

// count is how often a kind got such a response.
func (l *load) count(kind string, class vector.Class) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.responses[kind][class]
}

// await waits until the kinds have got such a response a number of times more.
func (l *load) await(more int, class func(kind) vector.Class, kinds ...kind) {
	l.t.Helper()
	for _, k := range kinds {
		want := l.count(k.name, class(k)) + more
		eventually(l.t, fmt.Sprintf("%d more times %s for %s", more, class(k), k.name), func() bool {
			return l.count(k.name, class(k)) >= want
		})
	}
}

// awaitRight waits until all kinds have got the right response some more times.
func (l *load) awaitRight(more int) {
	l.t.Helper()
	l.await(more, func(k kind) vector.Class { return k.right }, l.kinds...)
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for limit := time.Now().Add(patience); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatalf("not in %s: %s", patience, what)
		}
	}
}

// check stops the load and compares the responses, and what arrived at the
// upstreams since they were reset.
func (l *load) check(upstreams map[string]*upstream.Server) {
	l.t.Helper()
	l.stop()
	l.t.Logf("responses: %v", l.responses)
	for _, wrong := range l.wrong[:min(len(l.wrong), wrongShown)] {
		l.t.Error(wrong)
	}
	if n := len(l.wrong); n > wrongShown {
		l.t.Errorf("and %d more wrong responses", n-wrongShown)
	}
	arrived := 0
	for _, u := range upstreams {
		for _, r := range u.Received() {
			arrived += len(r.Values(loadHeader))
			if problem := l.misled(r); problem != "" {
				l.t.Errorf("%s received %q: %s", u.Name(), r.Lines(), problem)
				return
			}
		}
	}
	if arrived == 0 {
		l.t.Error("the upstreams have no record of the load")
	}
}

// misled says why a request should not have arrived as it did.
func (l *load) misled(r upstream.Request) string {
	name := strings.Join(r.Values(loadHeader), ",")
	i := slices.IndexFunc(l.kinds, func(k kind) bool { return k.name == name })
	if i < 0 {
		return "" // of another load
	}
	k := l.kinds[i]
	users := r.Values("X-User-Id")
	switch {
	case k.right != vector.Allow:
		return "it must not be admitted"
	case k.user == "" && len(users) > 0:
		return "it carries a forged identity"
	case k.user != "" && !slices.Equal(users, []string{k.user}):
		return "it does not carry the identity of its caller"
	}
	return ""
}

func forget(upstreams map[string]*upstream.Server) {
	for _, u := range upstreams {
		u.Forget()
	}
}

// client sends requests over one connection for as long as it lasts.
type client struct {
	address string
	from    net.Addr
	conn    net.Conn
	in      *bufio.Reader
}

// send sends a request, a second time where a connection that was kept had
// been closed meanwhile.
func (c *client) send(ctx context.Context, request []byte) (vector.Response, error) {
	kept := c.conn != nil
	response, err := c.try(ctx, request)
	if kept && (err != nil || response.Class() == vector.Closed) {
		response, err = c.try(ctx, request)
	}
	return response, err
}

func (c *client) try(ctx context.Context, request []byte) (vector.Response, error) {
	if c.conn == nil {
		conn, err := (&net.Dialer{LocalAddr: c.from}).DialContext(ctx, "tcp", c.address)
		if err != nil {
			return vector.Response{}, err
		}
		c.conn, c.in = conn, bufio.NewReader(conn)
	}
	if err := c.conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return vector.Response{}, err
	}
	response, err := vector.Exchange(c.conn, c.in, request)
	if err != nil || response.Class() == vector.Closed || response.Header.Get("Connection") == "close" {
		c.close()
	}
	return response, err
}

func (c *client) close() {
	if c.conn != nil {
		c.conn.Close()
		c.conn = nil
	}
}

// strangersAnd are requests that must never get in, and one that always may,
// beside those of the callers.
func strangersAnd(callers ...kind) []kind {
	return append(callers,
		kind{name: "no credential", path: "/users/1", right: vector.NoCredential},
		kind{name: "forger", path: "/users/1", headers: []string{"X-User-Id: root", "X_User_Id: root"}, right: vector.NoCredential},
		kind{name: "guesser", path: "/users/1", headers: []string{"Authorization: Bearer ory_at_guessed.guessed"}, right: vector.InvalidToken},
		kind{name: "reader", path: "/hello/public", headers: []string{"X-User-Id: root"}, right: vector.Allow},
	)
}

func bearer(token string) []string { return []string{"Authorization: Bearer " + token} }

func sessionCookie(value string) []string { return []string{"Cookie: ory_kratos_session=" + value} }

// isLimited reports whether a response is that of one who has failed too often.
func (k kind) isLimited(c vector.Class) bool {
	return k.right == vector.InvalidToken && c == vector.TooManyAttempts
}

// failed is every response of status 500 and above.
func failed(c vector.Class) bool {
	return c == vector.Unavailable || strings.HasPrefix(string(c), "gateway 5")
}
