// Package netcut cuts programs of a test off from some servers: they run in a network
// namespace of their own, and a link to it loses its carrier. Packets vanish, and
// connections stay open. Only tests import it.
//
// Where a container may not make namespaces, connections go through proxies that stop
// to pass on bytes.
package netcut

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// Disable is the environment variable that keeps Start from making a namespace.
const Disable = "GATEHOUSE_SKIP_NETNS"

// Network is a namespace with two links to it, one of which can be cut.
type Network struct {
	// Kept is the address of this machine that programs inside always reach, and
	// Cuttable the one that they reach unless the link is cut. What listens there
	// is reached from outside at all times.
	Kept, Cuttable string

	t       testing.TB
	index   int // 0: there is no namespace
	proxies []*Proxy
}

// Start makes a namespace. It is gone when the test ends.
func Start(t testing.TB) *Network {
	t.Helper()
	n := &Network{Kept: "127.0.0.1", Cuttable: "127.0.0.1", t: t}
	t.Cleanup(n.remove)
	for index := 1; index < 255; index++ {
		err := n.make(index)
		if err == nil {
			n.index = index
			n.Kept, n.Cuttable = n.address(1), n.address(9)
			return n
		}
		if !strings.Contains(err.Error(), "File exists") {
			t.Logf("NO NETWORK NAMESPACE: %v; connections are cut by proxies that stop to pass on bytes instead", err)
			return n
		}
	}
	t.Fatal("254 networks of other tests are there: see ip link")
	return nil
}

func (n *Network) address(host int) string { return fmt.Sprintf("10.213.%d.%d", n.index, host) }

func (n *Network) name() string { return fmt.Sprintf("gatehouse-%d", n.index) }

// link is the name of an end of a link.
func (n *Network) link(end string) string { return fmt.Sprintf("gth%d%s", n.index, end) }

// Isolated tells whether there is a namespace.
func (n *Network) Isolated() bool { return n.index != 0 }

func (n *Network) make(index int) error {
	if os.Getenv(Disable) != "" {
		return errors.New(Disable + " is set")
	}
	n.index = index
	defer func() { n.index = 0 }()
	// The link first: that its name is free says that the index is.
	err := run("link", "add", n.link("k"), "type", "veth", "peer", "name", n.link("K"))
	if err != nil {
		return err
	}
	inside := []string{"-n", n.name()}
	for _, command := range [][]string{
		{"netns", "add", n.name()},
		{"link", "add", n.link("c"), "type", "veth", "peer", "name", n.link("C")},
		{"link", "set", n.link("K"), "netns", n.name()},
		{"link", "set", n.link("C"), "netns", n.name()},
		{"address", "add", n.address(1) + "/30", "dev", n.link("k")},
		{"address", "add", n.address(5) + "/30", "dev", n.link("c")},
		{"address", "add", n.address(9) + "/32", "dev", "lo"},
		{"link", "set", n.link("k"), "up"},
		{"link", "set", n.link("c"), "up"},
		append(inside, "address", "add", n.address(2)+"/30", "dev", n.link("K")),
		append(inside, "address", "add", n.address(6)+"/30", "dev", n.link("C")),
		append(inside, "link", "set", "lo", "up"),
		append(inside, "link", "set", n.link("K"), "up"),
		append(inside, "link", "set", n.link("C"), "up"),
		append(inside, "route", "add", n.address(9)+"/32", "via", n.address(5)),
	} {
		if err := run(command...); err != nil {
			n.remove()
			return err
		}
	}
	return nil
}

func (n *Network) remove() {
	for _, p := range n.proxies {
		p.Close()
	}
	if n.index == 0 {
		return
	}
	for _, command := range [][]string{
		{"netns", "delete", n.name()}, // with the other ends
		{"link", "delete", n.link("k")},
		{"link", "delete", n.link("c")},
		{"address", "delete", n.address(9) + "/32", "dev", "lo"},
	} {
		_ = run(command...)
	}
}

func run(args ...string) error {
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("ip %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

// Inside are the words before a program and its arguments that make it run in the
// namespace; none where there is no namespace.
func (n *Network) Inside() []string {
	if !n.Isolated() {
		return nil
	}
	return []string{"nsenter", "--net=/run/netns/" + n.name()}
}

// Through is the address at which programs inside reach a server that listens on
// Cuttable. The target is asked for at each connection that a proxy passes on.
func (n *Network) Through(target func() string) string {
	n.t.Helper()
	if n.Isolated() {
		return target()
	}
	p, err := NewProxy(target)
	if err != nil {
		n.t.Fatal(err)
	}
	n.proxies = append(n.proxies, p)
	return p.Addr()
}

// Cut lets packets to Cuttable vanish.
func (n *Network) Cut() { n.set("down", (*Proxy).Freeze) }

// Mend ends Cut.
func (n *Network) Mend() { n.set("up", (*Proxy).Thaw) }

func (n *Network) set(state string, proxy func(*Proxy)) {
	n.t.Helper()
	if n.Isolated() {
		if err := run("link", "set", n.link("c"), state); err != nil {
			n.t.Fatal(err)
		}
	}
	for _, p := range n.proxies {
		proxy(p)
	}
}
