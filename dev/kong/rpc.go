package kong

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"gatehouse/dev/kong/wire"
)

const (
	// ioTimeout is Kong's limit for each read from a plugin.
	ioTimeout = 60 * time.Second
	// maxIdle is how many connections to the plugin are kept.
	maxIdle = 30
	// maxRetries bounds what Kong does without end: running a handler again
	// when its connection closes.
	maxRetries = 10
)

// servePDK runs one PDK call and returns the frame to reply with.
type servePDK func(method string, args []byte) ([]byte, error)

// errExited ends an event whose plugin responded to the client itself.
var errExited = errors.New("the plugin responded")

// client speaks to the plugin server of one plugin. It keeps connections and
// running instances.
type client struct {
	plugin string
	socket string

	sequence atomic.Int64

	mu        sync.Mutex
	idle      []net.Conn
	instances map[string]*instance // by plugin id
}

// instance is a config that the plugin server has been given.
type instance struct {
	mu  sync.Mutex
	id  int32
	seq int // 0: not started
}

func newClient(plugin, socket string) *client {
	return &client{plugin: plugin, socket: socket, instances: map[string]*instance{}}
}

// handle runs the access phase of a plugin with a config. On a connection that
// closes, Kong forgets all instances and runs the whole handler again; so does
// handle. It returns nil, errExited, or why the client must get a 500.
func (c *client) handle(ctx context.Context, conf *pluginConf, serve servePDK) error {
	var err error
	for range maxRetries {
		var id int32
		if id, err = c.instanceID(ctx, conf); err != nil {
			return fmt.Errorf("starting instance: %w", err)
		}
		_, err = c.call(ctx, wire.Call{Handle: &wire.Handle{InstanceID: id, Event: "access"}}, serve)
		if !isClosed(err) {
			return err
		}
		c.resetInstances()
	}
	return fmt.Errorf("gave up after %d tries: %w", maxRetries, err)
}

func isClosed(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}

// instanceID returns the running instance of a config, and starts it first if
// it is new. An older one of the same plugin is closed.
func (c *client) instanceID(ctx context.Context, conf *pluginConf) (int32, error) {
	in := c.instance(conf.id)
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.seq == conf.seq {
		return in.id, nil
	}
	old, hadOld := in.id, in.seq != 0
	in.seq = 0
	config, err := json.Marshal(conf.message(c.plugin))
	if err != nil {
		return 0, err
	}
	ret, err := c.call(ctx, wire.Call{Start: &wire.Start{Name: c.plugin, Config: config}}, nil)
	if err != nil {
		return 0, err
	}
	if !ret.HasInstance {
		return 0, errors.New("the plugin server responded without an instance")
	}
	in.id, in.seq = ret.InstanceID, conf.seq
	if hadOld {
		_, _ = c.call(ctx, wire.Call{Close: &wire.Close{InstanceID: old}}, nil) // as in Kong, best effort
	}
	return in.id, nil
}

func (c *client) instance(id string) *instance {
	c.mu.Lock()
	defer c.mu.Unlock()
	in, ok := c.instances[id]
	if !ok {
		in = &instance{}
		c.instances[id] = in
	}
	return in
}

func (c *client) resetInstances() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.instances = map[string]*instance{}
}

// workspace is the id of the one workspace there is.
var workspace = stableID("workspaces", "default")

// message is the config as Kong sends it, with its own keys added.
func (p *pluginConf) message(plugin string) map[string]any {
	config := maps.Clone(p.config)
	config["__seq__"] = p.seq
	config["__plugin_id"] = p.id
	config["__ws_id"] = workspace
	config["__key__"] = strings.Join([]string{"plugins", plugin, p.routeID, p.serviceID, "", "", workspace}, ":")
	for key, value := range map[string]string{"route_id": p.routeID, "service_id": p.serviceID, "plugin_instance_name": p.instanceName} {
		if value != "" {
			config[key] = value
		}
	}
	return config
}

// call makes one call. serve handles the PDK calls of an event; nil for calls
// without any.
func (c *client) call(ctx context.Context, call wire.Call, serve servePDK) (wire.Return, error) {
	conn, err := c.connect(ctx)
	if err != nil {
		return wire.Return{}, err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	call.Sequence = c.sequence.Add(1)
	ret, err := converse(conn, call, serve)
	if !stop() || err != nil {
		_ = conn.Close()
		return ret, err
	}
	c.keep(conn)
	return ret, nil
}

func converse(conn net.Conn, call wire.Call, serve servePDK) (wire.Return, error) {
	if err := writeFrame(conn, call.Encode()); err != nil {
		return wire.Return{}, err
	}
	if serve != nil {
		if err := bridge(conn, serve); err != nil {
			return wire.Return{}, err
		}
	}
	frame, err := readFrame(conn)
	if err != nil {
		return wire.Return{}, err
	}
	ret, err := wire.DecodeReturn(frame)
	if err == nil && ret.Sequence != call.Sequence {
		err = fmt.Errorf("the plugin server responded to call %d instead of %d", ret.Sequence, call.Sequence)
	}
	return ret, err
}

// bridge serves PDK calls until the plugin ends the event with an empty frame.
func bridge(conn net.Conn, serve servePDK) error {
	for {
		method, err := readFrame(conn)
		if err != nil || len(method) == 0 {
			return err
		}
		args, err := readFrame(conn)
		if err != nil {
			return err
		}
		reply, err := serve(string(method), args)
		if err != nil {
			return err
		}
		if err := writeFrame(conn, reply); err != nil {
			return err
		}
	}
}

func readFrame(conn net.Conn) ([]byte, error) {
	_ = conn.SetReadDeadline(time.Now().Add(ioTimeout))
	return wire.ReadFrame(conn)
}

func writeFrame(conn net.Conn, frame []byte) error {
	_ = conn.SetWriteDeadline(time.Now().Add(ioTimeout))
	return wire.WriteFrame(conn, frame)
}

// connect takes a kept connection that is still open, or makes a new one.
func (c *client) connect(ctx context.Context) (net.Conn, error) {
	for {
		conn := c.takeIdle()
		if conn == nil {
			return new(net.Dialer).DialContext(ctx, "unix", c.socket)
		}
		if isOpen(conn) {
			return conn, nil
		}
		_ = conn.Close()
	}
}

func (c *client) takeIdle() net.Conn {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.idle) == 0 {
		return nil
	}
	conn := c.idle[len(c.idle)-1]
	c.idle = c.idle[:len(c.idle)-1]
	return conn
}

func (c *client) keep(conn net.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.idle) >= maxIdle {
		_ = conn.Close()
		return
	}
	c.idle = append(c.idle, conn)
}

func (c *client) closeIdle() {
	for conn := c.takeIdle(); conn != nil; conn = c.takeIdle() {
		_ = conn.Close()
	}
}
