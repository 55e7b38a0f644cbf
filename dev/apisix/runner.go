package apisix

import (
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/api7/ext-plugin-proto/go/A6"
	"github.com/api7/ext-plugin-proto/go/A6/ExtraInfo"
)

const (
	connectTimeout = time.Second
	prepareTimeout = 5 * time.Second
	idleTimeout    = 180 * time.Second
	maxIdle        = 32
)

// runnerClient speaks with the runner over its socket.
type runnerClient struct {
	socket  string
	timeout time.Duration // for each write and each read
	now     func() time.Time
	tokens  *tokens
	ids     atomic.Uint32
	prepare chan struct{} // held while a configuration is being prepared

	mu   sync.Mutex
	idle []idleConn
	// workers counts how often they were replaced: connections of those before do
	// not become idle ones of theirs.
	workers int
}

type idleConn struct {
	net.Conn
	since time.Time
}

func newRunnerClient(socket string, timeout time.Duration, tokens *tokens, now func() time.Time) *runnerClient {
	return &runnerClient{socket: socket, timeout: timeout, now: now, tokens: tokens, prepare: make(chan struct{}, 1)}
}

// call runs one HTTPReqCall to its end.
func (c *runnerClient) call(x *exchange, e *extPlugin) (*decision, error) {
	return withConn(c, func(conn net.Conn) (*decision, error) {
		token, err := c.tokenFor(x.conf.key(e.name), e.conf)
		if err != nil {
			return nil, err
		}
		return c.httpReqCall(conn, x, token)
	})
}

// withConn returns a connection to the pool only after success.
func withConn[T any](c *runnerClient, work func(net.Conn) (T, error)) (T, error) {
	conn, workers, err := c.get()
	if err != nil {
		var none T
		return none, err
	}
	result, err := work(conn)
	if err != nil {
		_ = conn.Close()
		return result, err
	}
	c.put(conn, workers)
	return result, nil
}

// tokenFor asks the shared memory, then the runner. One configuration is
// prepared at a time.
func (c *runnerClient) tokenFor(key string, conf []confEntry) (uint32, error) {
	if token, ok := c.tokens.get(key); ok {
		return token, nil
	}
	select {
	case c.prepare <- struct{}{}:
		defer func() { <-c.prepare }()
	case <-time.After(prepareTimeout):
		return 0, fmt.Errorf("failed to acquire the lock for PrepareConf in %v", prepareTimeout)
	}
	if token, ok := c.tokens.get(key); ok {
		return token, nil
	}
	return withConn(c, func(conn net.Conn) (uint32, error) { return c.prepareConf(conn, key, conf) })
}

func (c *runnerClient) prepareConf(conn net.Conn, key string, conf []confEntry) (uint32, error) {
	if err := c.send(conn, rpcPrepareConf, encodePrepareConf(key, conf)); err != nil {
		return 0, err
	}
	data, err := c.receive(conn, rpcPrepareConf)
	if err != nil {
		return 0, err
	}
	token, err := decodePrepareConf(data)
	if err == nil {
		c.tokens.set(key, token)
	}
	return token, err
}

func (c *runnerClient) httpReqCall(conn net.Conn, x *exchange, token uint32) (*decision, error) {
	req := &call{token: token, srcIP: x.remote.Addr().AsSlice(), path: x.pathForRunner()}
	req.args, req.headers, req.id = x.queryArgs(), x.headersForRunner(), c.nextID()
	var known bool
	if req.method, known = A6.EnumValuesMethod[x.method]; !known {
		return nil, &scriptError{"the wire protocol has no number for this method"}
	}
	if err := c.send(conn, rpcHTTPReqCall, req.encode()); err != nil {
		return nil, err
	}
	for {
		kind, data, err := c.next(conn)
		if err != nil {
			return nil, fmt.Errorf("receive HTTPReqCall: %w", err)
		}
		switch kind {
		case rpcHTTPReqCall:
			return decodeCall(data)
		case rpcExtraInfo:
			err = c.serveInfo(conn, x, data)
		default:
			err = fmt.Errorf("receive HTTPReqCall: unexpected type %d", kind)
		}
		if err != nil {
			return nil, err
		}
	}
}

// idRange is how many ids a worker has before it starts again at 0.
const idRange = 1 << 22

func (c *runnerClient) nextID() uint32 { return (c.ids.Add(1) - 1) % idRange }

func (c *runnerClient) serveInfo(conn net.Conn, x *exchange, data []byte) error {
	q, err := decodeInfoRequest(data)
	if err != nil {
		return err
	}
	var result []byte
	switch q.kind {
	case ExtraInfo.InfoVar:
		if value, ok := x.variable(q.varName); ok {
			result = []byte(value)
		}
	case ExtraInfo.InfoReqBody:
		result = x.bodyForRunner()
	case ExtraInfo.InfoRespBody:
		x.log.Error("the runner asked for a response body before there is a response")
	default:
		return fmt.Errorf("unsupported info type: %d", q.kind)
	}
	return c.send(conn, rpcExtraInfo, encodeInfoResponse(result))
}

// bodyForRunner is nil when there is no body or it could not be read.
func (x *exchange) bodyForRunner() []byte {
	body, err := x.req.ReadBody()
	if err != nil {
		x.log.Error("failed to read request body", "error", err)
	}
	if err != nil || len(body) == 0 {
		return nil
	}
	return body
}

func (c *runnerClient) send(conn net.Conn, kind byte, data []byte) error {
	_ = conn.SetWriteDeadline(time.Now().Add(c.timeout))
	if err := writeFrame(conn, kind, data); err != nil {
		return fmt.Errorf("send to the runner: %w", err)
	}
	return nil
}

func (c *runnerClient) next(conn net.Conn) (byte, []byte, error) {
	_ = conn.SetReadDeadline(time.Now().Add(c.timeout))
	return readFrame(conn)
}

func (c *runnerClient) receive(conn net.Conn, want byte) ([]byte, error) {
	kind, data, err := c.next(conn)
	if err != nil {
		return nil, fmt.Errorf("receive from the runner: %w", err)
	}
	if kind != want {
		return nil, fmt.Errorf("receive from the runner: unexpected type %d", kind)
	}
	return data, nil
}

// get takes the connection that was used last and is still open, or dials.
func (c *runnerClient) get() (_ net.Conn, workers int, err error) {
	for {
		conn, workers, ok := c.pop()
		switch {
		case !ok:
			dialed, err := net.DialTimeout("unix", c.socket, connectTimeout)
			if err != nil {
				return nil, 0, fmt.Errorf("failed to connect to the runner: %w", err)
			}
			return dialed, workers, nil
		case c.now().Sub(conn.since) < idleTimeout && isOpen(conn.Conn):
			return conn.Conn, workers, nil
		}
		_ = conn.Close()
	}
}

func (c *runnerClient) pop() (_ idleConn, workers int, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.idle) == 0 {
		return idleConn{}, c.workers, false
	}
	last := len(c.idle) - 1
	conn := c.idle[last]
	c.idle = slices.Delete(c.idle, last, last+1)
	return conn, c.workers, true
}

func (c *runnerClient) put(conn net.Conn, workers int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.idle) >= maxIdle || workers != c.workers {
		_ = conn.Close()
		return
	}
	c.idle = append(c.idle, idleConn{conn, c.now()})
}

// forget closes the idle connections, also those that are in use now once they are.
func (c *runnerClient) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.workers++
	for _, conn := range c.idle {
		_ = conn.Close()
	}
	c.idle = nil
}
