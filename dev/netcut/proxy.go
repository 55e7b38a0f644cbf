package netcut

import (
	"net"
	"sync"
)

// Proxy passes on connections until it is frozen.
type Proxy struct {
	listener net.Listener
	target   func() string

	mu     sync.Mutex
	thawed *sync.Cond
	frozen bool
	closed bool
	open   map[net.Conn]bool
}

// NewProxy listens on loopback. The target is asked for at each connection.
func NewProxy(target func() string) (*Proxy, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &Proxy{listener: l, target: target, open: map[net.Conn]bool{}}
	p.thawed = sync.NewCond(&p.mu)
	go p.accept()
	return p, nil
}

// Addr is HOST:PORT.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// Freeze keeps bytes from being passed on, in both directions, and new connections
// from getting further than this proxy.
func (p *Proxy) Freeze() { p.set(func() { p.frozen = true }) }

// Thaw ends Freeze. What was held back is passed on.
func (p *Proxy) Thaw() { p.set(func() { p.frozen = false }) }

// Close ends the proxy and its connections.
func (p *Proxy) Close() {
	p.listener.Close()
	p.set(func() {
		p.closed = true
		for c := range p.open {
			c.Close()
		}
	})
}

func (p *Proxy) set(change func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change()
	p.thawed.Broadcast()
}

// pass waits while the proxy is frozen, and reports whether it still runs.
func (p *Proxy) pass() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.frozen && !p.closed {
		p.thawed.Wait()
	}
	return !p.closed
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		go p.serve(client)
	}
}

func (p *Proxy) serve(client net.Conn) {
	defer p.forget(client)
	if !p.keep(client) || !p.pass() {
		return
	}
	server, err := net.Dial("tcp", p.target())
	if err != nil {
		return
	}
	defer p.forget(server)
	if !p.keep(server) {
		return
	}
	var both sync.WaitGroup
	both.Go(func() { p.copy(client, server) })
	both.Go(func() { p.copy(server, client) })
	both.Wait()
}

// copy ends both connections when one does.
func (p *Proxy) copy(to, from net.Conn) {
	defer to.Close()
	defer from.Close()
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		if !p.pass() {
			return
		}
		if _, failed := to.Write(buffer[:n]); failed != nil || err != nil {
			return
		}
	}
}

func (p *Proxy) keep(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.open[c] = true
	return !p.closed
}

func (p *Proxy) forget(c net.Conn) {
	c.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.open, c)
}
