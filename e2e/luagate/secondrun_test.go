package luagate

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse/core/coretest"
	"gatehouse/e2e/vector"
)

// cutter stands between the Lua file and the process, and ends a connection in the place of
// a decision that the process has made.
type cutter struct {
	t       *testing.T
	process string

	mu sync.Mutex
	// next is how many decisions are lost from now on, cut how many were.
	next, cut int
}

// cutBetween puts a cutter between the two.
func (b *bench) cutBetween() *cutter {
	b.t.Helper()
	c := &cutter{t: b.t, process: b.Socket() + ".process"}
	if err := os.Rename(b.Socket(), c.process); err != nil {
		b.t.Fatal(err)
	}
	l, err := net.Listen("unix", b.Socket())
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { l.Close() })
	go func() {
		for {
			file, err := l.Accept()
			if err != nil {
				return
			}
			go c.serve(file)
		}
	}()
	return c
}

func (c *cutter) serve(file net.Conn) {
	defer file.Close()
	process, err := net.Dial("unix", c.process)
	if err != nil {
		c.t.Error(err)
		return
	}
	defer process.Close()
	go func() { defer process.Close(); _, _ = io.Copy(process, file) }()
	for {
		var length [4]byte
		if _, err := io.ReadFull(process, length[:]); err != nil {
			return
		}
		reply := make([]byte, binary.BigEndian.Uint32(length[:]))
		if _, err := io.ReadFull(process, reply); err != nil || len(reply) == 0 {
			return
		}
		if (reply[0] == 'A' || reply[0] == 'D') && c.cuts() {
			return
		}
		if _, err := file.Write(append(length[:], reply...)); err != nil {
			return
		}
	}
}

func (c *cutter) cuts() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.next == 0 {
		return false
	}
	c.next--
	c.cut++
	return true
}

// lose loses the reply to the next request, and fails the test where none was lost.
func (c *cutter) lose(send func() vector.Response) vector.Response {
	c.t.Helper()
	c.mu.Lock()
	c.next, c.cut = 1, 0
	c.mu.Unlock()
	response := send()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cut != 1 {
		c.t.Fatal("no decision was lost")
	}
	return response
}

// browser keeps cookies.
type browser struct {
	*bench
	jar map[string]string
}

func (b *browser) open(target string, header ...string) vector.Response {
	b.t.Helper()
	header = append([]string{"Accept: text/html"}, header...)
	for name, value := range b.jar {
		header = append(header, "Cookie: "+name+"="+value)
	}
	response, _ := b.send("GET "+target+" HTTP/1.1", header...)
	for _, line := range response.Header["Set-Cookie"] {
		pair, attributes, _ := strings.Cut(line, ";")
		name, value, _ := strings.Cut(pair, "=")
		if b.jar[name] = value; strings.Contains(attributes, "Max-Age=0;") {
			delete(b.jar, name)
		}
	}
	return response
}

// atProvider is the redirect back that a provider answers a start with.
func (b *browser) atProvider() (callback string) {
	b.t.Helper()
	start := b.open("/signin?return_to=" + url.QueryEscape("https://a.test/me"))
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	response, err := client.Get(start.Header.Get("Location"))
	if err != nil {
		b.t.Fatalf("the start: %d %s: %v", start.Status, start.Body, err)
	}
	response.Body.Close()
	return strings.TrimPrefix(response.Header.Get("Location"), "https://a.test")
}

func (b *browser) session() string { return b.jar["__Host-gatehouse"] }

func signIn(t *testing.T, kind string, behaviour coretest.Behaviour) (*browser, *coretest.FakeProvider, *cutter) {
	t.Helper()
	p := coretest.NewFakeProvider(t, coretest.NewClock())
	p.Behave(behaviour)
	b := start(t, kind, map[string]any{"login": map[string]any{"oidc": map[string]any{
		"providers":    []any{map[string]any{"discovery": p.DiscoveryURL(), "client_id": "gate", "client_secret": "hunter2"}},
		"redirect_uri": "https://a.test/callback", "session": map[string]any{"secret": []any{"0123456789abcdef0123456789abcdef"}},
	}}}, nil)
	return &browser{b, map[string]string{}}, p, b.cutBetween()
}

// A sign-in, its session's renewal and its logout are done once each although the reply to
// every one of them is lost, and the browser gets what came of it.
func TestReplyThatIsLostMakesNoSecondSignInNorLogout(t *testing.T) {
	each(t, replyThatIsLostMakesNoSecondSignInNorLogout)
}

func replyThatIsLostMakesNoSecondSignInNorLogout(t *testing.T, kind string) {
	b, p, c := signIn(t, kind, coretest.Behaviour{EndsFamilyAtReuse: true, Token: map[string]any{"expires_in": 1}})
	callback := b.atProvider()
	attempt := fmt.Sprint(b.jar)
	response := c.lose(func() vector.Response { return b.open(callback) })
	if response.Status != http.StatusSeeOther || response.Header.Get("Location") != "https://a.test/me" || b.session() == "" || p.CallsTo(coretest.TokenPath) != 1 {
		t.Fatalf("the callback: %d %v, %d codes redeemed, cookies %s, then %v", response.Status, response.Header, p.CallsTo(coretest.TokenPath), attempt, b.jar)
	}
	first := b.session()
	time.Sleep(1200 * time.Millisecond) // the tokens end
	if response = c.lose(func() vector.Response { return b.open("/me") }); response.Status != http.StatusOK || p.CallsTo(coretest.TokenPath) != 2 || b.session() == first {
		t.Fatalf("the renewal: %d %s, %d calls for tokens, a new cookie: %v", response.Status, response.Body, p.CallsTo(coretest.TokenPath), b.session() != first)
	}
	response = c.lose(func() vector.Response { return b.open("/logout") })
	if response.Status != http.StatusSeeOther || !strings.HasPrefix(response.Header.Get("Location"), p.URL+coretest.EndSessionPath) || b.session() != "" {
		t.Errorf("the logout: %d %v, %v", response.Status, response.Header, b.jar)
	}
	b.await("the logout is logged", func() bool { return strings.Contains(b.Log(), "signed out") })
	if n := strings.Count(b.Log(), "signed in"); n != 1 {
		t.Errorf("%d sign-ins are logged", n)
	}
	for _, secret := range p.Issued() {
		if secret != "" && strings.Contains(b.Log(), secret) {
			t.Error("a code or a token is in the log")
		}
	}
}

// The id of the first run is the gateway's: who sends one, in whatever header, begins
// another request.
func TestClientThatSendsARequestIDGetsNoAnswerOfAnother(t *testing.T) {
	each(t, clientThatSendsARequestIDGetsNoAnswerOfAnother)
}

func clientThatSendsARequestIDGetsNoAnswerOfAnother(t *testing.T, kind string) {
	b, p, _ := signIn(t, kind, coretest.Behaviour{CodesAgain: true})
	callback := b.atProvider()
	stolen := browser{b.bench, map[string]string{}}
	for name, value := range b.jar {
		stolen.jar[name] = value
	}
	const id = "f8ddf30b9ec2a1e67c8e12ee778ea480"
	ids := []string{"X-Request-Id: " + id, "Kong-Request-Id: " + id, "X-Kong-Request-Id: " + id, "Request-Id: " + id, "traceparent: 00-" + id + "-00f067aa0ba902b7-01"}
	if response := b.open(callback, ids...); response.Status != http.StatusSeeOther || b.session() == "" {
		t.Fatalf("the callback: %d %s", response.Status, response.Body)
	}
	response := stolen.open(callback, ids...)
	if stolen.session() != "" || slices.ContainsFunc(response.Header["Set-Cookie"], func(line string) bool { return strings.Contains(line, b.session()) }) || p.CallsTo(coretest.TokenPath) != 1 {
		t.Errorf("the same callback with the same ids: %d %v, %d codes redeemed", response.Status, response.Header, p.CallsTo(coretest.TokenPath))
	}
}

func TestReplyThatIsLostCountsNoSecondFailedAttempt(t *testing.T) {
	each(t, replyThatIsLostCountsNoSecondFailedAttempt)
}

func replyThatIsLostCountsNoSecondFailedAttempt(t *testing.T, kind string) {
	b := start(t, kind, map[string]any{"failed_attempts": map[string]any{"count": 4, "time_window": 3600}}, nil)
	c := b.cutBetween()
	bad := func(n int) vector.Response {
		response, reached := b.send("GET /me HTTP/1.1", fmt.Sprint("Authorization: Bearer bad", n))
		if reached {
			t.Error("a bad token reaches the upstream")
		}
		return response
	}
	for n := range 4 {
		if response := c.lose(func() vector.Response { return bad(n) }); response.Status != http.StatusUnauthorized {
			t.Errorf("attempt %d: %d", n, response.Status)
		}
	}
	if response := bad(4); response.Status != http.StatusTooManyRequests {
		t.Errorf("one more: %d", response.Status)
	}
}

// Where the process has asked for the body, something was answered: the request is denied,
// and what it asked for is done once.
func TestReplyThatIsLostBehindABodyIsNoReasonToAskAgain(t *testing.T) {
	each(t, replyThatIsLostBehindABodyIsNoReasonToAskAgain)
}

func replyThatIsLostBehindABodyIsNoReasonToAskAgain(t *testing.T, kind string) {
	const secret = "0123456789abcdef0123456789abcdef"
	dir := t.TempDir()
	b := start(t, kind, map[string]any{
		"revocation": map[string]any{}, "state_dir": dir,
		"revocation_endpoints": map[string]any{"webhooks": []any{map[string]any{"name": "k", "path": "/hook", "secret": secret}}},
	}, nil)
	c := b.cutBetween()
	post := func(body string) vector.Response {
		response, _ := b.send("POST /hook HTTP/1.1", "Authorization: Bearer "+secret, "Content-Type: application/json", fmt.Sprint("Content-Length: ", len(body)), "", body)
		return response
	}
	if response := c.lose(func() vector.Response { return post(`{"kind":"subject","value":"eve"}`) }); response.Status != http.StatusServiceUnavailable {
		t.Errorf("%d %s", response.Status, response.Body)
	}
	b.await("the revocation is logged", func() bool { return strings.Contains(b.Log(), "msg=revoked") })
	if n := strings.Count(b.Log(), "msg=revoked"); n != 1 {
		t.Errorf("%d revocations are logged: %s", n, b.Log())
	}
	if files, err := filepath.Glob(filepath.Join(dir, "*")); err != nil || len(files) == 0 {
		t.Errorf("the revocation was not kept: %v", err)
	}
}
