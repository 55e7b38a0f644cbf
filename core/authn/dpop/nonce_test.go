package dpop_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"gatehouse/core"
	"gatehouse/core/authn/dpop"
	"gatehouse/core/coretest"
)

const (
	secretA = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	secretB = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
)

func nonces(t testing.TB, clock *coretest.Clock, secrets ...string) *dpop.Nonces {
	t.Helper()
	n, err := dpop.NewNonces(100*time.Second, clock.Now, secrets...)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func (b *bench) withNonce(nonce string) *core.Request {
	return get(b.proof(nil, map[string]any{"nonce": nonce}))
}

// given is the nonce that a refusal gives out.
func (b *bench) given(r *core.Request) string {
	b.t.Helper()
	_, err := b.ask(r)
	bad, ok := errors.AsType[*core.BadProof](err)
	if !ok || len(bad.Header) != 1 || bad.Header[0].Name != "DPoP-Nonce" || bad.Header[0].Value == "" {
		b.t.Fatalf("%v gives out no nonce", err)
	}
	return bad.Header[0].Value
}

func TestProofWithoutANonceOfTheGateIsRefused(t *testing.T) {
	clock := coretest.NewClock()
	b := newBenchAt(t, clock, dpop.Options{Nonces: nonces(t, clock, secretA)})
	nonce := b.given(get(b.proof(nil, nil)))
	b.admits("nonce of a refusal", b.withNonce(nonce))
	b.admits("the same nonce in another proof", b.withNonce(nonce))
	for attack, bad := range map[string]string{
		"none": "", "made up": "eyJ7S_zG.eyJH0-Z.HX4w-7v", "cut": nonce[:47], "with more": nonce + "A", "changed": flipped(nonce),
		"of another gate": nonces(t, clock, secretB).New(), "long": strings.Repeat(nonce, 100), "not ASCII": nonce[:46] + "é",
	} {
		b.refuses(attack, "use_dpop_nonce", b.withNonce(bad))
	}
	b.clock.Advance(101 * time.Second)
	b.refuses("old", "use_dpop_nonce", b.withNonce(nonce))
	ahead := coretest.NewClock()
	ahead.Advance(clock.Now().Sub(ahead.Now()) + 20*time.Second)
	b.admits("of a node whose clock is ahead", b.withNonce(nonces(t, ahead, secretA).New()))
	ahead.Advance(20 * time.Second)
	b.refuses("of the future", "use_dpop_nonce", b.withNonce(nonces(t, ahead, secretA).New()))
}

func flipped(nonce string) string {
	if nonce[20] == 'A' {
		return nonce[:20] + "B" + nonce[21:]
	}
	return nonce[:20] + "A" + nonce[21:]
}

// What is wrong with a proof beside its nonce is told first: a new nonce would not help.
func TestNonceIsNotAskedForWhereTheProofIsBad(t *testing.T) {
	clock := coretest.NewClock()
	b := newBenchAt(t, clock, dpop.Options{Nonces: nonces(t, clock, secretA)})
	b.refuses("another method", "invalid_dpop_proof", get(b.proof(nil, map[string]any{"htm": "POST"})))
}

func TestSecretOfNoncesCanBeChangedNodeByNode(t *testing.T) {
	clock := coretest.NewClock()
	old, both, coming := nonces(t, clock, secretA), nonces(t, clock, secretB, secretA), nonces(t, clock, secretA, secretB)
	b := newBenchAt(t, clock, dpop.Options{Nonces: both})
	b.admits("nonce by the former secret", b.withNonce(old.New()))
	b = newBenchAt(t, clock, dpop.Options{Nonces: coming})
	b.admits("nonce by the coming secret", b.withNonce(both.New()))
}

func TestNonceIsRenewedBeforeItEnds(t *testing.T) {
	clock := coretest.NewClock()
	b := newBenchAt(t, clock, dpop.Options{Nonces: nonces(t, clock, secretA), RenewNonces: true})
	if got := b.ResponseHeaders(); len(got) != 1 || got[0] != "DPoP-Nonce" {
		t.Errorf("the headers of responses are %q", got)
	}
	nonce := b.given(get(b.proof(nil, nil)))
	if a := b.admits("new nonce", b.withNonce(nonce)); len(a.ResponseHeader) != 0 {
		t.Errorf("a new nonce is renewed: %v", a.ResponseHeader)
	}
	clock.Advance(51 * time.Second)
	a := b.admits("older nonce", b.withNonce(nonce))
	if len(a.ResponseHeader) != 1 || a.ResponseHeader[0].Name != "DPoP-Nonce" {
		t.Fatalf("the nonce is not renewed: %v", a.ResponseHeader)
	}
	mute := b.withNonce(nonce)
	mute.AddsNoResponseHeader = true
	if a := b.admits("on a host that adds no header", mute); len(a.ResponseHeader) != 0 {
		t.Errorf("the host is asked for what it cannot do: %v", a.ResponseHeader)
	}
	clock.Advance(51 * time.Second)
	b.admits("the renewed nonce, where the first has ended", b.withNonce(a.ResponseHeader[0].Value))
}

func TestRefusalWithoutNoncesGivesNoneOut(t *testing.T) {
	b := newBench(t, dpop.Options{})
	_, err := b.ask(get())
	if bad, ok := errors.AsType[*core.BadProof](err); !ok || len(bad.Header) != 0 {
		t.Errorf("got %v with %v", err, bad)
	}
	if got := b.ResponseHeaders(); len(got) != 0 {
		t.Errorf("the headers of responses are %q", got)
	}
}
