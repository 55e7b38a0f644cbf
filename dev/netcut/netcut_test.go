package netcut

import (
	"bytes"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// TestMain is also the program that runs inside: it asks a server again and again,
// over one connection, and tells what it hears.
func TestMain(m *testing.M) {
	if address := os.Getenv("ASK"); address != "" {
		ask(address)
	}
	os.Exit(m.Run())
}

func ask(address string) {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		println(err.Error())
		os.Exit(1)
	}
	for buffer := make([]byte, 1); ; time.Sleep(10 * time.Millisecond) {
		if _, err := conn.Write([]byte(".")); err != nil {
			os.Exit(1)
		}
		if _, err := conn.Read(buffer); err != nil {
			os.Exit(1)
		}
		os.Stdout.Write(buffer)
	}
}

func echo(t *testing.T, host string) string {
	l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				for buffer := make([]byte, 100); ; {
					n, err := c.Read(buffer)
					if err != nil {
						return
					}
					c.Write(buffer[:n])
				}
			}()
		}
	}()
	return l.Addr().String()
}

// program is one that runs inside.
type program struct {
	t   *testing.T
	out *os.File
}

func start(t *testing.T, n *Network, address string) *program {
	words := append(n.Inside(), os.Args[0])
	cmd := exec.Command(words[0], words[1:]...)
	cmd.Env = append(os.Environ(), "ASK="+address)
	out, err := os.CreateTemp(t.TempDir(), "out")
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = out, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		if t.Failed() {
			t.Log(log.String())
		}
	})
	return &program{t, out}
}

func (p *program) heard() int64 {
	info, err := p.out.Stat()
	if err != nil {
		p.t.Fatal(err)
	}
	return info.Size()
}

func (p *program) awaitMore(what string) {
	p.t.Helper()
	before := p.heard()
	for range 3000 {
		if p.heard() > before+3 {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	p.t.Fatalf("%s: nothing is heard", what)
}

func testCut(t *testing.T) {
	n := Start(t)
	cuttable, kept := echo(t, n.Cuttable), echo(t, n.Kept)
	a := start(t, n, n.Through(func() string { return cuttable }))
	b := start(t, n, kept)
	for range 2 {
		a.awaitMore("before")
		n.Cut()
		time.Sleep(50 * time.Millisecond) // what was under way
		before := a.heard()
		b.awaitMore("the other link")
		if got := a.heard(); got > before {
			t.Errorf("%d bytes came through", got-before)
		}
		if c, err := net.Dial("tcp", cuttable); err != nil {
			t.Errorf("from outside: %v", err)
		} else {
			c.Close()
		}
		n.Mend()
	}
	a.awaitMore("after it was mended")
}

func TestCutLetsPacketsVanish(t *testing.T) {
	t.Run("by a namespace, where there may be one", testCut)
	t.Run("by proxies", func(t *testing.T) {
		t.Setenv(Disable, "1")
		if n := Start(t); n.Isolated() || len(n.Inside()) > 0 || !strings.HasPrefix(n.Cuttable, "127.") {
			t.Errorf("%+v", n)
		}
		testCut(t)
	})
}
