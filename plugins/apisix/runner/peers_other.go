//go:build !linux

package runner

import "net"

// peers admits every connection where the system does not show who connects.
type peers struct{}

func newPeers(string) *peers { return &peers{} }

func (*peers) check(net.Conn) error { return nil }
