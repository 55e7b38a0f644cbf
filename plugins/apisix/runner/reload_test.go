package runner

import (
	"context"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// patientChild waits for its successor, and for the first call of whoever has
// connected, for as long as the test takes: how busy the machine is decides nothing.
const patientChild = "ours-patient"

func runPatient() {
	ctx, stop := signalled()
	defer stop()
	o, err := fromEnv(os.Getenv)
	if err != nil {
		panic(err)
	}
	o.plugins, o.lingerTime, o.stopTimeout, o.firstCallTime = testPlugins(), time.Hour, time.Hour, time.Hour
	if err := run(ctx, o); err != nil {
		panic(err)
	}
}

// load is clients that make one call after another, each on a connection of its own.
type load struct {
	right, refused, lost atomic.Int64
	stop                 func()
}

func startLoad(t *testing.T, socket string) *load {
	t.Helper()
	l := &load{}
	ctx, cancel := context.WithCancel(t.Context())
	var clients sync.WaitGroup
	for range 4 {
		clients.Go(func() {
			for ctx.Err() == nil {
				l.request(t, socket)
			}
		})
	}
	l.stop = sync.OnceFunc(func() { cancel(); clients.Wait() })
	t.Cleanup(l.stop)
	return l
}

func (l *load) request(t *testing.T, socket string) {
	conn, err := net.Dial("unix", socket)
	if err != nil {
		l.refused.Add(1)
		return
	}
	defer conn.Close()
	g := &gateway{Conn: conn}
	g.send(t, typePrepareConf, prepareMessage("k", []conf{{"deny", ""}}))
	if kind, _, err := g.read(); err != nil || kind != typePrepareConf { // a runner may end within a frame
		l.lost.Add(1)
		return
	}
	l.right.Add(1)
}

// further waits for more requests, of any outcome.
func (l *load) further(t *testing.T, n int64) {
	t.Helper()
	all := func() int64 { return l.right.Load() + l.refused.Load() + l.lost.Load() }
	for from, end := all(), time.Now().Add(time.Minute); all() < from+n; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the clients get no further")
		}
	}
}

// "apisix reload" ends a runner and starts the next one only when its new workers are
// there. Clients connect at all times.
func TestReloadUnderLoadRefusesNoConnection(t *testing.T) {
	reload := func(t *testing.T, kind string) *load {
		socket := socketPath(t)
		current := startChild(t, kind, socket)
		l := startLoad(t, socket)
		for range 3 {
			l.further(t, 200)
			ended := current
			ended.signal(t)
			if kind == quietChild { // which waits for nobody, and removes whose socket it finds as it ends
				ended.awaitEnd(t)
			}
			l.further(t, 200) // APISIX starts its workers
			current = startChild(t, kind, socket)
			ended.awaitEnd(t)
			l.further(t, 200)
		}
		l.stop()
		if l.right.Load() == 0 {
			t.Error("no request was decided")
		}
		t.Logf("%d decided, %d refused, %d lost", l.right.Load(), l.refused.Load(), l.lost.Load())
		return l
	}
	t.Run("stock", func(t *testing.T) {
		if l := reload(t, quietChild); l.refused.Load()+l.lost.Load() == 0 {
			t.Error("no connection was refused; the test does not show the hole")
		}
	})
	t.Run("ours", func(t *testing.T) {
		if l := reload(t, patientChild); l.refused.Load()+l.lost.Load() != 0 {
			t.Errorf("%d connections were refused and %d lost", l.refused.Load(), l.lost.Load())
		}
	})
}

// Without a successor, as at the end of APISIX, the runner ends before APISIX kills
// it: 1 s after SIGTERM.
func TestRunnerWithoutASuccessorEndsInTime(t *testing.T) {
	o := options{}.withDefaults()
	if o.lingerTime >= o.stopTimeout || o.stopTimeout >= time.Second {
		t.Errorf("goes on for %v, ends after %v", o.lingerTime, o.stopTimeout)
	}
	socket := socketPath(t)
	child := startChild(t, oursChild, socket)
	child.signal(t)
	dial(t, socket).prepare(t, "k", conf{"allow", ""})
	child.awaitEnd(t)
	if _, err := os.Lstat(socket); !os.IsNotExist(err) {
		t.Errorf("the socket is left: %v", err)
	}
}

func TestRunnerThatEndsLeavesTheSocketOfItsSuccessor(t *testing.T) {
	socket := socketPath(t)
	first := startChild(t, oursChild, socket)
	first.signal(t)
	startChild(t, oursChild, socket)
	first.awaitEnd(t)
	dial(t, socket).prepare(t, "k", conf{"allow", ""})
}
