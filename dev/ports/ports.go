// Package ports keeps TCP ports for servers that start later and are given
// their port, as Kratos and every proxy are. A port that is merely found free
// is soon another program's: the servers of a test ask the system for ports too,
// and one that gets the port of a Gatehouse that has yet to start responds in
// its stead.
package ports

import (
	"fmt"
	"net"
)

// Held is a port that the system gives to no program that asks for any port. A
// server that asks for this one gets it, again and again, until the release and
// after.
type Held struct {
	addr *net.TCPAddr
	free func()
}

// Hold takes a port of an address, host:port, that no program listens on. Port 0
// is any.
func Hold(address string) (*Held, error) {
	wanted, err := net.ResolveTCPAddr("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("hold a port: %w", err)
	}
	h, err := hold(wanted)
	if err != nil {
		return nil, fmt.Errorf("hold a port: listen on %s: %w", address, err)
	}
	return h, nil
}

// Addr is host:port.
func (h *Held) Addr() string { return h.addr.String() }

// Port is the port alone.
func (h *Held) Port() int { return h.addr.Port }

// Release lets the port go. What listens on it stays.
func (h *Held) Release() { h.free() }

// Addresses are n free addresses of loopback, held until the process ends: they
// are for tests.
func Addresses(n int) ([]string, error) {
	addresses := make([]string, n)
	for i := range addresses {
		h, err := Hold("127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		addresses[i] = h.Addr()
	}
	return addresses, nil
}
