package ports

import (
	"net"
	"os"
	"syscall"
)

// hold binds a socket and does not listen on it. With SO_REUSEADDR on both, and
// every server sets it, Linux lets a second socket bind and listen on a port
// that is named, and gives that port neither to a socket that asks for any nor
// to a connection as its own end.
func hold(wanted *net.TCPAddr) (*Held, error) {
	family, address := sockaddr(wanted)
	fd, err := syscall.Socket(family, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	port, err := bind(fd, address)
	if err != nil {
		syscall.Close(fd)
		return nil, err
	}
	got := *wanted
	got.Port = port
	return &Held{addr: &got, free: func() { syscall.Close(fd) }}, nil
}

func bind(fd int, address syscall.Sockaddr) (port int, err error) {
	if err := syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1); err != nil {
		return 0, os.NewSyscallError("setsockopt", err)
	}
	if err := syscall.Bind(fd, address); err != nil {
		return 0, os.NewSyscallError("bind", err)
	}
	bound, err := syscall.Getsockname(fd)
	if err != nil {
		return 0, os.NewSyscallError("getsockname", err)
	}
	if v6, ok := bound.(*syscall.SockaddrInet6); ok {
		return v6.Port, nil
	}
	return bound.(*syscall.SockaddrInet4).Port, nil
}

// sockaddr of no IP is that of every IPv6 one and, as for servers in Go, every
// IPv4 one.
func sockaddr(a *net.TCPAddr) (family int, _ syscall.Sockaddr) {
	if v4 := a.IP.To4(); v4 != nil {
		return syscall.AF_INET, &syscall.SockaddrInet4{Port: a.Port, Addr: [4]byte(v4)}
	}
	v6 := &syscall.SockaddrInet6{Port: a.Port}
	copy(v6.Addr[:], a.IP)
	return syscall.AF_INET6, v6
}
