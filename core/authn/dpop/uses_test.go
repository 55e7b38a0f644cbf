package dpop_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"gatehouse/core"
	"gatehouse/core/authn/dpop"
	"gatehouse/core/authn/dpop/uses"
)

func TestProofCountsOnce(t *testing.T) {
	b := newBench(t, dpop.Options{})
	proof := b.proof(nil, nil)
	b.admits("first", get(proof))
	b.refuses("replay", "invalid_dpop_proof", get(proof))
	b.refuses("jti in another proof", "invalid_dpop_proof", get(b.proof(nil, map[string]any{"jti": jtiOf(t, proof), "iat": b.clock.Now().Add(time.Second).Unix()})))
	b.clock.Advance(59 * time.Second)
	b.refuses("replay at the end of the window", "invalid_dpop_proof", get(proof))
	b.clock.Advance(2 * time.Second)
	b.refuses("replay behind the window", "invalid_dpop_proof", get(proof))
}

func jtiOf(t testing.TB, proof string) string {
	t.Helper()
	p, err := dpop.Parse(proof, []string{"ES256"})
	if err != nil {
		t.Fatal(err)
	}
	return p.ID
}

// What does not hold is not noted as used: else whoever sees a proof could use it up for
// another request.
func TestRefusedProofIsNotUsedUp(t *testing.T) {
	b := newBench(t, dpop.Options{})
	proof := b.proof(nil, nil)
	elsewhere := get(proof)
	elsewhere.Target = "/other"
	b.refuses("another path", "invalid_dpop_proof", elsewhere)
	b.admits("where it is for", get(proof))
}

// The gate asks once more within one request, for a stronger sign-in.
func TestRefreshOfTheSameCallIsNoReplay(t *testing.T) {
	b := newBench(t, dpop.Options{})
	call, c := &core.Call{Request: get(b.proof(nil, nil))}, core.Credential{Place: core.DPoPToken, Value: token}
	if _, err := b.Authenticate(t.Context(), call, c); err != nil {
		t.Fatal(err)
	}
	if a, err := b.Refresh(t.Context(), call, c); err != nil || a.Principal == nil {
		t.Error(err)
	}
	call.Target = "/other"
	if a, err := b.Refresh(t.Context(), call, c); err == nil || a.Principal != nil {
		t.Error("the proof is not checked against the call")
	}
}

type broken struct{}

func (broken) Use(context.Context, string, string, string, time.Time) (bool, error) {
	return true, errors.New("away")
}

func TestProofIsNotAdmittedWhereNobodyKnowsWhetherItWasUsed(t *testing.T) {
	b := newBench(t, dpop.Options{Uses: broken{}})
	a, err := b.ask(get(b.proof(nil, nil)))
	if err == nil || a.Principal != nil || errors.Is(err, core.ErrInvalid) {
		t.Errorf("got %v, want an error that becomes 503", err)
	}
}

func TestFullMemoryOfUsedProofsRefuses(t *testing.T) {
	b := newBench(t, dpop.Options{})
	memory, err := uses.NewMemory(4, b.clock.Now)
	if err != nil {
		t.Fatal(err)
	}
	use := func(owner, id string) error {
		first, err := memory.Use(t.Context(), owner, id, "", b.clock.Now().Add(10*time.Second))
		if err == nil && !first {
			t.Errorf("%s of %s is not the first", id, owner)
		}
		return err
	}
	for _, id := range []string{"1", "2"} {
		if err := use("a", id); err != nil {
			t.Fatal(err)
		}
	}
	if err := use("a", "3"); !errors.Is(err, uses.ErrFull) {
		t.Errorf("one key fills the memory of all: %v", err)
	}
	for _, owner := range []string{"b", "c"} {
		if err := use(owner, "1"); err != nil {
			t.Fatal(err)
		}
	}
	if err := use("d", "1"); !errors.Is(err, uses.ErrFull) || !strings.Contains(err.Error(), "max_entries") {
		t.Errorf("got %v, want that the memory is full", err)
	}
	b.clock.Advance(12 * time.Second)
	if err := use("d", "1"); err != nil || memory.Len() != 1 {
		t.Errorf("what has ended takes room: %v, %d uses", err, memory.Len())
	}
	if _, err := memory.Use(t.Context(), "e", "1", "", b.clock.Now().Add(-time.Minute)); err == nil {
		t.Error("a proof that has ended counts as unused")
	}
	b.clock.Advance(1000 * time.Hour)
	if err := use("d", "1"); err != nil || memory.Len() != 1 {
		t.Errorf("after a long silence: %v, %d uses", err, memory.Len())
	}
}

// A gateway may ask twice for one request: the second time gets the first answer.
func TestSecondRunOfARequestIsNoReplay(t *testing.T) {
	b := newBench(t, dpop.Options{})
	memory, err := uses.NewMemory(4, b.clock.Now)
	if err != nil {
		t.Fatal(err)
	}
	until := b.clock.Now().Add(time.Minute)
	for _, step := range []struct {
		owner, id, request string
		first              bool
	}{
		{"a", "1", "r1", true}, {"a", "1", "r1", true}, {"a", "1", "r2", false}, {"a", "1", "", false}, {"b", "1", "r1", true},
		{"a", "2", "", true}, {"a", "2", "", false}, {"a", "2", "r1", false},
	} {
		if first, err := memory.Use(t.Context(), step.owner, step.id, step.request, until); err != nil || first != step.first {
			t.Errorf("%+v: got %v, %v", step, first, err)
		}
	}
}
