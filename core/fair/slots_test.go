package fair_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse/core"
	"gatehouse/core/fair"
)

func slots(t testing.TB, o fair.Options) *fair.Slots {
	t.Helper()
	s, err := fair.NewSlots(o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func from(t testing.TB, address string) context.Context {
	return fair.WithCaller(t.Context(), fair.Caller{Peer: fair.PeerOf(netip.MustParseAddr(address))})
}

// enter asks for a slot in the background and returns when it is held or waited for.
func enter(t *testing.T, s *fair.Slots, ctx context.Context, provider string) <-chan func() {
	t.Helper()
	before := s.Stats()
	result := make(chan func(), 1)
	go func() {
		leave, err := s.Enter(ctx, provider)
		if err != nil {
			leave = nil
		}
		result <- leave
	}()
	for {
		now := s.Stats()
		if now.Held+now.Waiting > before.Held+before.Waiting || now.Refused > before.Refused {
			return result
		}
		time.Sleep(time.Millisecond)
	}
}

func TestClientWithManyCallsLeavesSlotsToOthers(t *testing.T) {
	s := slots(t, fair.Options{Slots: 8, PerClient: 6, Waiting: 100})
	for range 50 {
		enter(t, s, from(t, "192.0.2.1"), "")
	}
	if got := s.Stats(); got.Held != 6 || got.Waiting != 44 {
		t.Fatalf("%+v", got)
	}
	for _, other := range []string{"192.0.2.2", "2001:db8::1"} {
		leave, err := s.Enter(from(t, other), "")
		if err != nil {
			t.Fatalf("%s: %v", other, err)
		}
		defer leave()
	}
}

func TestFreeSlotGoesToWhoeverHoldsFewest(t *testing.T) {
	s := slots(t, fair.Options{Slots: 4, Waiting: 100})
	var held []<-chan func()
	for range 40 {
		held = append(held, enter(t, s, from(t, "192.0.2.1"), ""))
	}
	newcomer := enter(t, s, from(t, "192.0.2.2"), "")
	(<-held[0])()
	(<-newcomer)()
	if got := s.Stats(); got.Held != 4 || got.Waiting != 35 {
		t.Errorf("%+v", got)
	}
}

// With as many waiting as may, a newcomer takes the place of whom wants most.
func TestFullQueueStillHasAPlaceForANewClient(t *testing.T) {
	s := slots(t, fair.Options{Slots: 2, Waiting: 10})
	var flood []<-chan func()
	for range 12 {
		flood = append(flood, enter(t, s, from(t, "192.0.2.1"), ""))
	}
	if _, err := s.Enter(from(t, "192.0.2.1"), ""); !errors.Is(err, core.ErrTooMany) {
		t.Errorf("one more of the flood: %v", err)
	}
	newcomer := enter(t, s, from(t, "192.0.2.2"), "")
	if leave := <-flood[11]; leave != nil {
		t.Error("the last of the flood has a slot")
	}
	(<-flood[0])()
	(<-newcomer)()
	if got := s.Stats(); got.Refused != 2 {
		t.Errorf("%+v", got)
	}
}

// Where each has one, nobody is to blame: 503, not 429.
func TestManyClientsWithOneCallEachAreAnOverload(t *testing.T) {
	s := slots(t, fair.Options{Slots: 2, Waiting: 2})
	for i := range 4 {
		enter(t, s, from(t, fmt.Sprintf("192.0.2.%d", i)), "")
	}
	_, err := s.Enter(from(t, "192.0.2.99"), "")
	var later *core.Later
	if err == nil || errors.Is(err, core.ErrTooMany) || !errors.As(err, &later) {
		t.Errorf("%v", err)
	}
}

// An attacker has 65536 networks of 64 bits in the network of 48 bits that a
// provider gives to every site.
func TestClientWithManyIPv6NetworksHasOneShare(t *testing.T) {
	s := slots(t, fair.Options{Slots: 8, PerClient: 6, Waiting: 20})
	for i := range 40 {
		enter(t, s, from(t, fmt.Sprintf("2001:db8:1:%x::1", i)), "")
	}
	if got := s.Stats(); got.Held != 6 || got.Waiting != 20 {
		t.Fatalf("%+v", got)
	}
	for _, other := range []string{"2001:db8:2::1", "192.0.2.2"} {
		if _, err := s.Enter(from(t, other), ""); err != nil {
			t.Errorf("%s: %v", other, err)
		}
	}
	waiting := enter(t, s, from(t, "198.51.100.1"), "")
	select {
	case leave := <-waiting:
		t.Errorf("a ninth slot, or no place: %v", leave == nil)
	default:
	}
}

func TestSlowProviderDoesNotStarveAnother(t *testing.T) {
	s := slots(t, fair.Options{Slots: 8, PerProvider: 6, Waiting: 20})
	for i := range 26 { // of different clients
		enter(t, s, from(t, fmt.Sprintf("192.0.2.%d", i)), "slow")
	}
	for i := range 2 {
		if _, err := s.Enter(from(t, fmt.Sprintf("198.51.100.%d", i)), "other"); err != nil {
			t.Errorf("call %d of another provider: %v", i, err)
		}
	}
	enter(t, s, from(t, "198.51.100.9"), "other") // waits in place of one for the slow one
	if got := s.Stats(); got.Held != 8 || got.Waiting != 20 || got.Refused != 1 {
		t.Errorf("%+v", got)
	}
}

// Hosts that cannot tell who calls lose nothing but the fairness.
func TestUnknownClientsHaveAllSlots(t *testing.T) {
	s := slots(t, fair.Options{Slots: 8, PerClient: 1, PerProvider: 1, Waiting: 20})
	for range 8 {
		if _, err := s.Enter(t.Context(), ""); err != nil {
			t.Fatal(err)
		}
	}
	enter(t, s, t.Context(), "")
	if got := s.Stats(); got.Held != 8 || got.Waiting != 1 {
		t.Errorf("%+v", got)
	}
}

func TestWaitEndsWithItsContext(t *testing.T) {
	s := slots(t, fair.Options{Slots: 1, Waiting: 20})
	leave, err := s.Enter(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(from(t, "192.0.2.1"))
	cancel()
	if _, err := s.Enter(ctx, ""); !errors.Is(err, context.Canceled) || errors.Is(err, core.ErrTooMany) {
		t.Errorf("%v", err)
	}
	leave()
	if got := s.Stats(); got != (fair.Stats{}) {
		t.Errorf("left over: %+v", got)
	}
}

// A caller who has been limited while it waited does not go on.
func TestCallerIsAskedAgainAfterTheWait(t *testing.T) {
	s := slots(t, fair.Options{Slots: 1, Waiting: 20})
	leave, err := s.Enter(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	stop := errors.New("limited")
	ctx := fair.WithCaller(t.Context(), fair.Caller{Goes: func(context.Context) error { return stop }})
	waiting := enter(t, s, ctx, "")
	leave()
	if leave := <-waiting; leave != nil {
		t.Error("it goes on")
	}
	if got := s.Stats(); got != (fair.Stats{}) {
		t.Errorf("left over: %+v", got)
	}
}

// Nothing is left of clients that are gone, nobody waits with a slot free, and no
// limit is passed, in whatever order they come, give up and go.
func TestSlotsStayConsistentUnderConcurrency(t *testing.T) {
	s := slots(t, fair.Options{Slots: 8, PerClient: 5, PerProvider: 6, Waiting: 16})
	var wait sync.WaitGroup
	var held, most, done atomic.Int64
	for g := range 32 {
		wait.Go(func() {
			for i := range 500 {
				ctx, cancel := context.WithTimeout(from(t, fmt.Sprintf("192.0.2.%d", (g*i)%7)), time.Duration(rand.IntN(300))*time.Microsecond)
				leave, err := s.Enter(ctx, fmt.Sprint("provider ", i%3))
				if err == nil {
					for n := held.Add(1); n > most.Load(); {
						most.Store(n)
					}
					if i%4 == 0 {
						time.Sleep(50 * time.Microsecond)
					}
					held.Add(-1)
					done.Add(1)
					leave()
				}
				cancel()
			}
		})
	}
	wait.Wait()
	if got := s.Stats(); got.Held != 0 || got.Waiting != 0 || most.Load() > 8 || done.Load() == 0 {
		t.Errorf("%+v, at most %d were held, %d went on", got, most.Load(), done.Load())
	}
	if n := s.Parties(); n != 0 {
		t.Errorf("%d parties are left", n)
	}
}

func TestOptionsOfSlotsAreChecked(t *testing.T) {
	for _, o := range []fair.Options{{}, {Slots: -1}, {Slots: 1, Waiting: -1}, {Slots: 1, PerClient: -1}, {Slots: 1, PerProvider: -1}} {
		if _, err := fair.NewSlots(o); err == nil {
			t.Errorf("%+v is accepted", o)
		}
	}
}
