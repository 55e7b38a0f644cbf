//go:build !linux

package ports

import "net"

// hold only finds a port: a socket that is bound keeps a server away here.
func hold(wanted *net.TCPAddr) (*Held, error) {
	l, err := net.ListenTCP("tcp", wanted)
	if err != nil {
		return nil, err
	}
	defer l.Close()
	return &Held{addr: l.Addr().(*net.TCPAddr), free: func() {}}, nil
}
