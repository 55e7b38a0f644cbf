//go:build !linux

package runner

import "net"

// peers lets everybody connect where nobody can tell who does.
type peers struct{}

func newPeers(string) *peers { return &peers{} }

func (*peers) check(net.Conn) error { return nil }
