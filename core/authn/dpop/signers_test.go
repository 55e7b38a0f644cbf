package dpop

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"gatehouse/core"
	"gatehouse/core/authn/dpop/uses"
	"gatehouse/core/coretest"
)

// holderOnly judges every token to be bound to one key.
type holderOnly struct{ cnf map[string]any }

func (j holderOnly) Authenticate(context.Context, *core.Call, core.Credential) (core.Authentication, error) {
	return core.Authentication{Principal: &core.Principal{Kind: core.KindJWT, Claims: map[string]any{"cnf": j.cnf}}}, nil
}

func (j holderOnly) Refresh(ctx context.Context, call *core.Call, c core.Credential) (core.Authentication, error) {
	return j.Authenticate(ctx, call, c)
}

func (holderOnly) JudgesOthers() {}

func remembered(a *Authenticator) int { return len(a.signers.young) + len(a.signers.old) }

// A key is remembered once a token is bound to it, and its signatures are checked all the
// same. Who has no such token has nothing remembered.
func TestOnlyKeysOfHoldersAreRemembered(t *testing.T) {
	clock := coretest.NewClock()
	holder, thief := coretest.NewHolder(t, "ES256", clock.Now), coretest.NewHolder(t, "ES256", clock.Now)
	memory, err := uses.NewMemory(1000, clock.Now)
	if err != nil {
		t.Fatal(err)
	}
	a, err := New(holderOnly{holder.Confirmation()}, Options{Algorithms: []string{"ES256"}, MaxAge: time.Minute, Scheme: "https", Uses: memory, Now: clock.Now})
	if err != nil {
		t.Fatal(err)
	}
	const uri, token = "https://a.test/orders", "token"
	ask := func(proof string) error {
		r := &core.Request{Method: "GET", Target: "/orders", Host: "a.test", Header: []core.Header{{Name: "DPoP", Value: proof}}}
		_, err := a.Authenticate(t.Context(), &core.Call{Request: r}, core.Credential{Place: core.DPoPToken, Value: token})
		return err
	}
	forged := func() string { // the holder's header, and a signature of the thief
		good, bad := strings.Split(holder.Proof("GET", uri, token, nil), "."), strings.Split(thief.ProofWith(map[string]any{"jwk": holder.PublicJWK()}, "GET", uri, token, nil), ".")
		return good[0] + "." + bad[1] + "." + bad[2]
	}
	for _, proof := range []string{
		thief.Proof("GET", uri, token, nil), forged(), holder.Proof("POST", uri, token, nil), holder.ProofWith(map[string]any{"typ": "JWT"}, "GET", uri, token, nil), "x", "",
	} {
		if err := ask(proof); !errors.Is(err, core.ErrInvalid) || remembered(a) != 0 {
			t.Errorf("%.40q: %v; %d keys are remembered", proof, err, remembered(a))
		}
	}
	for range 3 {
		if err := ask(holder.Proof("GET", uri, token, nil)); err != nil || remembered(a) != 1 {
			t.Errorf("%v; %d keys are remembered", err, remembered(a))
		}
		if err := ask(forged()); !errors.Is(err, core.ErrInvalid) {
			t.Errorf("the signature of another key, where the one in the header is remembered: %v", err)
		}
	}
	if err := ask(holder.ProofWith(map[string]any{"typ": "dpop+JWT"}, "GET", uri, token, nil)); err != nil || remembered(a) != 2 {
		t.Errorf("another header of the same key: %v; %d are remembered", err, remembered(a))
	}
}

func TestRememberedKeysAreBounded(t *testing.T) {
	var s signers
	for i := range 5 * maxSigners {
		s.put(&signer{header: fmt.Sprint(i)})
		if all := len(s.young) + len(s.old); all > 2*maxSigners {
			t.Fatalf("%d are remembered", all)
		}
		s.put(&signer{header: "in use"})
		if s.get("in use") == nil || s.get(fmt.Sprint(i)) == nil {
			t.Fatalf("after %d, one that is in use is forgotten", i)
		}
	}
	if s.get("0") != nil {
		t.Error("the first one is remembered still")
	}
	s.put(&signer{header: strings.Repeat("x", maxSignerHeader+1)})
	if s.get(strings.Repeat("x", maxSignerHeader+1)) != nil {
		t.Error("a header of any length is remembered")
	}
}
