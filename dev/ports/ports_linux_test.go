package ports

import (
	"context"
	"errors"
	"net"
	"strings"
	"syscall"
	"testing"
)

// ipLocalPortRange narrows the ports that a socket gets when it asks for any;
// Linux has it since 6.3.
const ipLocalPortRange = 51

// onlyPair makes a socket choose from a port and its neighbour: the kernel takes the even one
// for connections first, the odd one for servers.
func onlyPair(port int) func(string, string, syscall.RawConn) error {
	low := uint32(port) &^ 1
	return func(_, _ string, c syscall.RawConn) (err error) {
		ctrlErr := c.Control(func(fd uintptr) {
			err = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_IP, ipLocalPortRange, int(low|(low+1)<<16))
		})
		return errors.Join(ctrlErr, err)
	}
}

func listenOnAny(port int) (net.Listener, error) {
	return (&net.ListenConfig{Control: onlyPair(port)}).Listen(context.Background(), "tcp", "127.0.0.1:0")
}

// pair holds two ports of which a socket with this range has no third.
func pair(t *testing.T) (even, odd *Held) {
	t.Helper()
	for range 100 {
		a := held(t, "127.0.0.1:0")
		neighbour := *a.addr
		neighbour.Port ^= 1
		if b, err := Hold(neighbour.String()); err == nil {
			t.Cleanup(b.Release)
			if a.Port()%2 == 0 {
				return a, b
			}
			return b, a
		}
	}
	t.Fatal("no two neighbours are free")
	return nil, nil
}

func held(t *testing.T, address string) *Held {
	t.Helper()
	h, err := Hold(address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Release)
	return h
}

func TestHeldPortIsNotGivenToAnotherProgram(t *testing.T) {
	_, odd := pair(t)
	l, err := listenOnAny(odd.Port())
	if errors.Is(err, syscall.ENOPROTOOPT) {
		t.Skip("this Linux has no IP_LOCAL_PORT_RANGE")
	}
	if err == nil {
		l.Close()
		t.Fatalf("%s was given away, %s is held", l.Addr(), odd.Addr())
	}
	if !errors.Is(err, syscall.EADDRINUSE) {
		t.Fatal(err)
	}

	odd.Release()
	if l, err = listenOnAny(odd.Port()); err != nil {
		t.Fatalf("released, and no program gets it: %v", err)
	}
	l.Close()
}

func TestHeldPortIsNotTheOtherEndOfAConnection(t *testing.T) {
	even, _ := pair(t)
	server, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	from := net.Dialer{Control: onlyPair(even.Port())}
	c, err := from.Dial("tcp", server.Addr().String())
	if errors.Is(err, syscall.ENOPROTOOPT) {
		t.Skip("this Linux has no IP_LOCAL_PORT_RANGE")
	}
	if err == nil {
		c.Close()
		t.Fatalf("connected from %s, %s is held", c.LocalAddr(), even.Addr())
	}
	if !errors.Is(err, syscall.EADDRNOTAVAIL) {
		t.Fatal(err)
	}
}

func TestServerGetsTheHeldPortAgainAndAgain(t *testing.T) {
	for _, address := range []string{"127.0.0.1:0", "[::1]:0", ":0"} {
		h, err := Hold(address)
		if err != nil && strings.HasPrefix(address, "[::1]") {
			continue // no IPv6 here
		}
		if err != nil {
			t.Fatal(err)
		}
		if c, err := net.Dial("tcp", h.Addr()); err == nil {
			c.Close()
			t.Errorf("%s: something listens", address)
		}
		for range 3 {
			l, err := net.Listen("tcp", h.Addr())
			if err != nil {
				t.Fatalf("%s: %v", address, err)
			}
			l.Close()
		}
		h.Release()
	}
}

func TestPortOfAServerIsNotHeld(t *testing.T) {
	for _, host := range []string{"127.0.0.1", ""} {
		l, err := net.Listen("tcp", host+":0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		if h, err := Hold(l.Addr().String()); err == nil || !strings.Contains(err.Error(), "address already in use") {
			t.Errorf("%s: held %v, %v", l.Addr(), h, err)
		}
	}
	if _, err := Hold("no port"); err == nil {
		t.Error("an address without a port")
	}
}
