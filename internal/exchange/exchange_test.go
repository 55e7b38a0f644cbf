package exchange

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse/core"
	"gatehouse/core/config"
	"gatehouse/core/config/consumer"
	"gatehouse/core/coretest"
	"gatehouse/internal/unixsocket"
)

// native stands for a gateway's own protocol: it repeats what it reads.
type native struct{ net.Conn }

func (n native) Serve(context.Context) { defer n.Close(); io.Copy(n, n) }
func (n native) CloseIdle()            { n.Close() }

// served is a process that serves the exchange on a socket.
type served struct {
	*Server
	socket string
	log    *coretest.Log
	stop   func()
}

func serve(t *testing.T) *served { return serveWith(t, nil) }

func serveWith(t *testing.T, r core.Recorder) *served {
	t.Helper()
	log := &coretest.Log{}
	logger := slog.New(slog.NewTextHandler(log, nil))
	gates := config.NewBuilder(config.BuilderOptions{Log: logger, Recorder: r})
	process := &unixsocket.Server{Grace: time.Minute, Failed: func(error) {}, Cut: func() {}}
	s := NewServer(Options{Gates: gates, Load: func(text []byte) (*config.Followed, error) { return gates.Follow(text, config.Terms{}) }}, logger, process)
	process.Start = s.Beside(func(nc net.Conn) unixsocket.Connection { return native{nc} })
	l, err := unixsocket.Listen(filepath.Join(t.TempDir(), "s"), unixsocket.Options{Mode: 0o600})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- process.Serve(ctx, l) }()
	stop := func() { cancel(); done <- <-done }
	t.Cleanup(stop)
	return &served{s, l.Path(), log, stop}
}

// client is the gateway's side of one connection.
type client struct {
	t *testing.T
	net.Conn
}

func (s *served) dial(t *testing.T, hello string) *client {
	t.Helper()
	nc, err := net.Dial("unix", s.socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	if _, err := io.WriteString(nc, hello); err != nil {
		t.Fatal(err)
	}
	return &client{t, nc}
}

var hello = magic + string([]byte{version})

func (c *client) send(kind byte, payload string) {
	c.t.Helper()
	if _, err := c.Write(end(append(begin(nil, kind), payload...))); err != nil {
		c.t.Fatal(err)
	}
}

// receive returns 0 if the program has closed the connection.
func (c *client) receive() (kind byte, payload string) {
	c.t.Helper()
	var length [lengthSize]byte
	if _, err := io.ReadFull(c, length[:]); err != nil {
		return 0, ""
	}
	message := make([]byte, binary.BigEndian.Uint32(length[:]))
	if _, err := io.ReadFull(c, message); err != nil {
		c.t.Fatal(err)
	}
	return message[0], string(message[1:])
}

// handOver returns the name of a configuration and what is wrong with it.
func (c *client) handOver(text string) (name, string) {
	c.t.Helper()
	c.send(typeConfiguration, text)
	kind, payload := c.receive()
	d := decoder{rest: payload}
	var n name
	copy(n[:], d.bytes(len(n)))
	problem := d.text()
	if err := d.end(); kind != typeNamed || err != nil {
		c.t.Fatalf("%q, %v", kind, err)
	}
	return n, problem
}

// encode is what the Lua files send.
func (r request) encode() string {
	var flags byte
	if r.headerCut {
		flags = flagHeaderCut
	}
	if r.authenticated {
		flags |= flagAuthenticated
	}
	b := append(r.configuration[:len(r.configuration):len(r.configuration)], flags)
	for _, text := range []string{r.id, r.line, r.peer, r.client, r.certificate, r.verify} {
		b = appendText(b, text)
	}
	return string(appendHeader(b, r.header))
}

// decision is what the Lua files read.
type decision struct {
	outcome, reason, rule, subject, issuer string

	strip         []string
	set, response []core.Header
	target        []string
	groups        [][]string
	caller        []string

	status int
	header []core.Header
	body   string
}

func (d *decoder) texts() []string {
	list := make([]string, d.count(lengthSize))
	for i := range list {
		list[i] = d.text()
	}
	return list
}

func decodeDecision(kind byte, payload string) (o decision, err error) {
	d := decoder{rest: payload}
	o.outcome, o.reason, o.rule, o.subject, o.issuer = d.text(), d.text(), d.text(), d.text(), d.text()
	switch kind {
	case typeAllowed:
		o.strip, o.set, o.response = d.texts(), d.header(), d.header()
		o.target = d.texts()
		for range d.count(lengthSize) {
			o.groups = append(o.groups, d.texts())
		}
		o.caller = d.texts()
	case typeAnswered:
		o.strip = d.texts()
		o.status, o.header, o.body = d.number(), d.header(), d.text()
	default:
		return o, fmt.Errorf("a message of type %q", kind)
	}
	return o, d.end()
}

func (c *client) decide(r request) decision {
	c.t.Helper()
	c.send(typeRequest, r.encode())
	return c.decision()
}

func (c *client) decision() decision {
	c.t.Helper()
	o, err := decodeDecision(c.receive())
	if err != nil {
		c.t.Fatal(err)
	}
	return o
}

const secret = "0123456789abcdef0123456789abcdef"

// settings of a gate that knows the token "t".
func settings(t *testing.T) string {
	idp := coretest.NewFakeIntrospection(t)
	idp.Know("t", map[string]any{"active": true, "sub": "alice", "iss": "https://id.test", "roles": []string{"a", "b"}, "exp": 4102444800})
	return `
introspection: {introspection_endpoint: "` + idp.URL + `", insecure_any_audience: true}
upstream_headers: {X-User-Id: sub}
authenticated_groups_claim: roles
revocation: {}
state_dir: ` + t.TempDir() + `
revocation_endpoints: {webhooks: [{name: kratos, path: /hook, secret: ` + secret + `}]}
permission_table: |
  public: [GET /public]
  authenticated:
    - GET /me
    - {methods: [GET], path: /near, require: {when: "cidr('10.0.0.0/8').containsIP(peer)"}}
`
}

func get(n name, target string, header ...core.Header) request {
	return request{configuration: n, id: "0123456789abcdef", line: "GET " + target + " HTTP/1.1", peer: "10.0.0.1", client: "192.0.2.1",
		header: append([]core.Header{{Name: "Host", Value: "a.test"}}, header...)}
}

var bearer = core.Header{Name: "Authorization", Value: "Bearer t"}

func TestRequestIsDecidedInOneExchange(t *testing.T) {
	c := serve(t).dial(t, hello)
	n, problem := c.handOver(settings(t))
	if problem != "" {
		t.Fatal(problem)
	}
	forged := core.Header{Name: "x_user_id", Value: "admin"}
	got := c.decide(get(n, "/me?a=1", bearer, forged))
	if got.outcome != "allow" || got.subject != "alice" || got.issuer != "https://id.test" || got.reason != "allowed" || got.rule == "" {
		t.Errorf("%+v", got)
	}
	if !slices.Contains(got.strip, "x_user_id") || !slices.Contains(got.set, core.Header{Name: "X-User-Id", Value: "alice"}) {
		t.Errorf("strips %q, sets %q", got.strip, got.set)
	}
	if len(got.groups) != 1 || !slices.Equal(got.groups[0], []string{"a", "b"}) || len(got.target) != 0 {
		t.Errorf("groups %q, target %q", got.groups, got.target)
	}
	for name, c2 := range map[string]struct {
		r      request
		status int
	}{
		"no credential": {get(n, "/me"), 401}, "a bad credential": {get(n, "/me", core.Header{Name: "Authorization", Value: "Bearer x"}), 401},
		"no activity": {get(n, "/other", bearer), 403}, "a bad path": {get(n, "/me/../x", bearer), 400}, "another authority": {get(n, "http://b.test/me", bearer), 400},
		"no request line": {request{configuration: n, id: "0123456789abcdef"}, 400},
		"cut headers":     {request{configuration: n, id: "0123456789abcdef", line: "GET /me HTTP/1.1", headerCut: true}, 431},
	} {
		got := c.decide(c2.r)
		if got.outcome != "deny" || got.status != c2.status {
			t.Errorf("%s: %+v", name, got)
		}
	}
	// The id of the gateway stands in the log and in what the client reads.
	if got := c.decide(get(n, "/me", core.Header{Name: "Authorization", Value: "Bearer x"})); !strings.Contains(got.body, "0123456789abcdef") {
		t.Errorf("%s", got.body)
	}
	if got := c.decide(get(n, "/public")); got.outcome != "allow" || got.subject != "" {
		t.Errorf("%+v", got)
	}
	// Logs do not get the identity that a refused client claims.
	if got := c.decide(get(n, "/me", forged, core.Header{Name: "X-USER-ID", Value: "admin"}, core.Header{Name: "X-Other"})); !slices.Equal(got.strip, []string{"x_user_id", "X-USER-ID"}) {
		t.Errorf("%+v", got)
	}
}

func TestAddressesOfTheExchange(t *testing.T) {
	c := serve(t).dial(t, hello)
	n, _ := c.handOver(settings(t))
	for peer, outcome := range map[string]string{"10.1.2.3": "allow", "192.0.2.1": "deny", "": "deny", "unix:": "deny"} {
		r := get(n, "/near", bearer)
		r.peer, r.client = peer, "10.9.9.9"
		if got := c.decide(r); got.outcome != outcome {
			t.Errorf("%q: %+v", peer, got)
		}
	}
}

func TestUnknownConfigurationIsAskedFor(t *testing.T) {
	s := serve(t)
	c := s.dial(t, hello)
	text := settings(t)
	c.send(typeRequest, request{configuration: sha256.Sum256([]byte(text))}.encode())
	if kind, _ := c.receive(); kind != typeUnknown {
		t.Fatalf("%q", kind)
	}
	n, _ := c.handOver(text)
	if n != sha256.Sum256([]byte(text)) {
		t.Error("the name is not that of the content")
	}
	if got := s.dial(t, hello).decide(get(n, "/public")); got.outcome != "allow" {
		t.Errorf("on another connection: %+v", got)
	}
}

func TestConfigurationThatDoesNotLoadDeniesEverything(t *testing.T) {
	s := serve(t)
	c := s.dial(t, hello)
	for _, text := range []string{"", "{", "relm: x", `{"session": {"kratos_url": "http://127.0.0.1:1"}, "permission_table": "publc: []"}`} {
		n, problem := c.handOver(text)
		if problem == "" {
			t.Errorf("%s: no problem", text)
		}
		if got := c.decide(get(n, "/public")); got.outcome != "deny" || got.status != 503 || strings.Contains(got.body, problem) {
			t.Errorf("%s: %+v", text, got)
		}
	}
	if !strings.Contains(s.log.String(), "relm: is not a setting") {
		t.Errorf("log: %s", s.log)
	}
}

// A gateway that was updated without its file, or the other way round, must not half work.
func TestFileOfAnotherReleaseIsRefused(t *testing.T) {
	s := serve(t)
	c := s.dial(t, magic+string([]byte{version + 1})) // the connection may be closed before anything more is written
	if kind, payload := c.receive(); kind != typeVersion || payload != string([]byte{version}) {
		t.Errorf("%q %q", kind, payload)
	}
	if kind, _ := c.receive(); kind != 0 {
		t.Errorf("then %q", kind)
	}
	if want := fmt.Sprintf("protocol_of_file=%d protocol_of_program=%d", version+1, version); !strings.Contains(s.log.String(), want) {
		t.Errorf("log: %s", s.log)
	}
}

func TestGatewaysOwnProtocolGetsItsBytes(t *testing.T) {
	s := serve(t)
	for _, sent := range []string{"G", "GH", "GHX", "GHY\x01more", "\x47\x00\x00\x00more", "other"} {
		c := s.dial(t, sent)
		c.Conn.(*net.UnixConn).CloseWrite()
		if got, err := io.ReadAll(c); err != nil || string(got) != sent {
			t.Errorf("%q: %q, %v", sent, got, err)
		}
	}
}

// What makes no sense ends the connection without a reply, and the process goes on.
func TestMalformedMessageEndsTheConnection(t *testing.T) {
	s := serve(t)
	s.restTime = 50 * time.Millisecond
	n, _ := s.dial(t, hello).handOver(settings(t))
	whole := (request{configuration: n, line: "GET /public HTTP/1.1", header: []core.Header{{Name: "a", Value: "b"}}}).encode()
	message := func(kind byte, payload string) string { return string(end(append(begin(nil, kind), payload...))) }
	for what, sent := range map[string]string{
		"no type":               "\x00\x00\x00\x00",
		"too long":              "\x00\x80\x00\x01R",
		"longest number":        "\xff\xff\xff\xffR",
		"unknown type":          message('Z', whole),
		"a body that none asks": message(typeBody, "x"),
		"cut name":              message(typeRequest, whole[:31]),
		"cut list":              message(typeRequest, whole[:len(whole)-1]),
		"more behind":           message(typeRequest, whole+"x"),
		"unknown flags":         message(typeRequest, whole[:32]+"\x04"+whole[33:]),
		"more lines than bytes": message(typeRequest, strings.Replace(whole, "\x00\x00\x00\x01\x00\x00\x00\x01a", "\x7f\xff\xff\xff\x00\x00\x00\x01a", 1)),
		"never whole":           "\x00\x00\x00\x20R",
	} {
		c := s.dial(t, hello+sent)
		if kind, payload := c.receive(); kind != 0 {
			t.Errorf("%s: %q %q", what, kind, payload)
		}
	}
	if got := s.dial(t, hello).decide(get(n, "/public")); got.outcome != "allow" {
		t.Errorf("%+v", got)
	}
}

func TestBodyIsAskedForByAnEndpointAlone(t *testing.T) {
	s := serve(t)
	n, _ := s.dial(t, hello).handOver(settings(t))
	post := func(header ...core.Header) request {
		r := get(n, "/hook", append(header, core.Header{Name: "Authorization", Value: "Bearer " + secret}, core.Header{Name: "Content-Type", Value: "application/json"})...)
		r.line = "POST /hook HTTP/1.1"
		return r
	}
	for name, c := range map[string]struct {
		kind   byte
		body   string
		status int
	}{
		"body":     {typeBody, `{"kind": "session", "session": "s"}`, 0},
		"no body":  {typeBody, "", 400},
		"too long": {typeBody, strings.Repeat("x", 64<<10+1), 413},
		"unread":   {typeNoBody, "disk", 503},
	} {
		client := s.dial(t, hello)
		client.send(typeRequest, post().encode())
		if kind, payload := client.receive(); kind != typeNeedBody || payload != "\x00\x01\x00\x00" {
			t.Fatalf("%s: %q %q", name, kind, payload)
		}
		client.send(c.kind, c.body)
		got := client.decision()
		if c.status != 0 && got.status != c.status || got.outcome == "allow" {
			t.Errorf("%s: %+v", name, got)
		}
		if got := client.decide(get(n, "/public")); got.outcome != "allow" {
			t.Errorf("%s: then %+v", name, got)
		}
	}
	client := s.dial(t, hello)
	client.send(typeRequest, post().encode())
	client.receive()
	client.send(typeRequest, post().encode())
	if kind, _ := client.receive(); kind != 0 {
		t.Errorf("a request in the place of a body: %q", kind)
	}
}

// A process that stops replies to what has been sent to it, and closes what is idle.
func TestStopEndsIdleConnectionsAndRepliesToTheOthers(t *testing.T) {
	s := serve(t)
	n, _ := s.dial(t, hello).handOver(settings(t))
	used, unused := s.dial(t, hello), s.dial(t, "")
	if got := used.decide(get(n, "/public")); got.outcome != "allow" {
		t.Fatalf("%+v", got)
	}
	busy := s.dial(t, hello)
	r := get(n, "/hook", core.Header{Name: "Authorization", Value: "Bearer " + secret})
	r.line = "POST /hook HTTP/1.1"
	busy.send(typeRequest, r.encode())
	if kind, _ := busy.receive(); kind != typeNeedBody {
		t.Fatalf("%q", kind)
	}
	stopped := make(chan bool)
	go func() { s.stop(); close(stopped) }()
	for _, c := range []*client{used, unused} {
		if kind, _ := c.receive(); kind != 0 {
			t.Errorf("%q", kind)
		}
	}
	busy.send(typeBody, "{}")
	if got := busy.decision(); got.status == 0 {
		t.Errorf("%+v", got)
	}
	<-stopped
}

func TestUnusedConfigurationsAreForgotten(t *testing.T) {
	now := time.Unix(1e9, 0)
	c := configurations{load: func([]byte) (*config.Followed, error) { return nil, nil }, now: func() time.Time { return now }, byName: map[name]*configuration{}}
	used, _ := c.add([]byte("used"))
	unused, _ := c.add([]byte("unused"))
	for range 3 {
		now = now.Add(unusedTime / 2)
		if c.get(used) == nil {
			t.Fatal("a configuration in use is forgotten")
		}
	}
	c.add([]byte("another"))
	if c.get(unused) != nil || c.get(used) == nil || len(c.byName) != 2 {
		t.Errorf("%d are kept", len(c.byName))
	}
	failing := errors.New("no")
	loads := 0
	c.load = func([]byte) (*config.Followed, error) { loads++; return nil, failing }
	c.add([]byte("broken"))
	if _, err := c.add([]byte("broken")); loads != 2 || err != failing {
		t.Errorf("%d loads, %v", loads, err)
	}
}

// A message is read in one way alone: what is read from it makes the same message.
func FuzzRequest(f *testing.F) {
	r := get(name{1}, "/me", bearer)
	r.certificate, r.verify, r.headerCut, r.authenticated = "c", "SUCCESS", true, true
	f.Add([]byte(r.encode()))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, payload []byte) {
		if r, err := decodeRequest(payload); err == nil && r.encode() != string(payload) {
			t.Errorf("%q is read as %+v", payload, r)
		}
	})
}

func FuzzDecision(f *testing.F) {
	f.Add("sub", "/t?x=1", "Set-Cookie", "a=b", "username", []byte("body"), true, true)
	f.Fuzz(func(t *testing.T, subject, target, header, value, rule string, body []byte, allowed, groups bool) {
		d := core.Decision{Outcome: core.Deny, Status: 403, Reason: "r", Rule: subject, Body: body,
			Header:    []core.Header{{Name: header, Value: value}, {Name: header, Value: value}},
			Principal: &core.Principal{Subject: subject, Issuer: target}}
		if allowed {
			d.Outcome, d.ResponseHeader = core.Allow, d.Header
			d.Strip, d.Set, d.Target = []string{header, value}, d.Header[:1], target
		}
		if groups {
			d.Groups = []string{subject, ""}
		}
		sent := reply{Decision: d, claimed: []string{header}, mapped: groups, caller: consumer.Caller{ID: subject, By: rule, Value: value, Optional: allowed}}
		message := appendReply(nil, &sent)
		if int(binary.BigEndian.Uint32(message)) != len(message)-lengthSize {
			t.Fatal("the length is wrong")
		}
		o, err := decodeDecision(message[lengthSize], string(message[lengthSize+1:]))
		if err != nil || o.subject != subject || o.issuer != target || o.rule != subject || o.outcome != d.Outcome.String() {
			t.Errorf("%+v, %v", o, err)
		}
		switch {
		case !allowed && (o.status != 403 || !slices.Equal(o.header, d.Header) || o.body != string(body)):
			t.Errorf("%+v", o)
		case allowed && (!slices.Equal(o.strip, append(slices.Clone(d.Strip), header)) || !slices.Equal(o.set, d.Set) || !slices.Equal(o.response, d.ResponseHeader)):
			t.Errorf("%+v", o)
		case allowed && !slices.Equal(o.caller, told(sent)):
			t.Errorf("%+v", o)
		case allowed && (len(o.target) == 1) != (target != "") || allowed && groups && !slices.Equal(o.groups[0], d.Groups):
			t.Errorf("%+v", o)
		}
		for i := range message[lengthSize+1:] { // a message that is cut short is no decision
			if _, err := decodeDecision(message[lengthSize], string(message[lengthSize+1:][:i])); err == nil {
				t.Fatalf("cut at %d: a decision", i)
			}
		}
	})
}

// told is who calls, as the Lua files read it.
func told(r reply) []string {
	switch {
	case !r.mapped:
		return []string{}
	case r.caller.By == "":
		return []string{r.caller.ID}
	}
	return []string{r.caller.ID, r.caller.By, r.caller.Value, "optional"}
}

func BenchmarkExchange(b *testing.B) {
	payload := []byte(get(name{}, "/me", bearer).encode())
	var out bytes.Buffer
	for b.Loop() {
		r, err := decodeRequest(payload)
		if err != nil {
			b.Fatal(err)
		}
		out.Reset()
		out.Write(appendReply(nil, &reply{Decision: core.Decision{Outcome: core.Allow, Upstream: core.Upstream{Strip: []string{r.id}}}}))
	}
}

// A flood of requests without credentials must not cost the process more than good ones.
func TestRefusalWithoutACredentialTakesNoMoreAllocationsThanAnAdmission(t *testing.T) {
	issuer := coretest.NewIssuer(t, coretest.NewClock())
	s := serve(t)
	c := s.dial(t, hello)
	n, problem := c.handOver(fmt.Sprintf(`
jwt: {issuers: [{issuer: %q, insecure_any_audience: true}], cache_ttl: 3600}
upstream_headers: {X-User-Id: sub, X-Client: client_id}
permission_table: 'authenticated: [GET /me]'
`, issuer.URL))
	if problem != "" {
		t.Fatal(problem)
	}
	browser := []core.Header{{Name: "Host", Value: "app.test"}, {Name: "User-Agent", Value: "Mozilla/5.0"}, {Name: "Accept", Value: "application/json"}}
	allocations := func(status int, header ...core.Header) float64 {
		r := request{configuration: n, id: strings.Repeat("a", 32), line: "GET /me HTTP/1.1", peer: "192.0.2.1", client: "192.0.2.1", header: append(browser[:3:3], header...)}
		message, reply := end(append(begin(nil, typeRequest), r.encode()...)), make([]byte, 4<<10)
		once := func() {
			if _, err := c.Write(message); err != nil {
				t.Fatal(err)
			}
			size, err := c.Read(reply) // which is one write
			if kind := reply[lengthSize]; err != nil || size < 8 || (status == 0) != (kind == typeAllowed) {
				t.Fatalf("%q, %v", reply[:size], err)
			}
		}
		once()
		return testing.AllocsPerRun(200, once)
	}
	admission := allocations(0, core.Header{Name: "Authorization", Value: "Bearer " + issuer.Token(nil)})
	if refusal := allocations(401); refusal > admission {
		t.Errorf("%v allocations for a refusal, %v for an admission", refusal, admission)
	}
}
