package luagate

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"gatehouse/core/coretest"
	"gatehouse/e2e/vector"
)

// prover is a client with an opaque token that is bound to its key.
type prover struct {
	*bench
	*cutter
	holder *coretest.Holder
	nonce  string
}

const boundToken = "bound-token-of-the-prover"

func startProver(t *testing.T, kind string) *prover {
	t.Helper()
	b := start(t, kind, map[string]any{"dpop": map[string]any{"use_nonce": true, "scheme": "http"}}, nil)
	p := &prover{b, b.cutBetween(), coretest.NewHolder(t, "ES256", time.Now), ""}
	b.idp.Know(boundToken, map[string]any{"active": true, "sub": "ada", "exp": 4102444800, "token_type": "DPoP", "cnf": p.holder.Confirmation()})
	response, reached := b.send("GET /me HTTP/1.1", p.lines(p.proof())...)
	nonces := response.Header.Values("DPoP-Nonce")
	if reached || len(nonces) != 1 || challenge(response) != `error="use_dpop_nonce"` {
		t.Fatalf("a proof without a nonce: %d %v", response.Status, response.Header)
	}
	p.nonce = nonces[0]
	return p
}

func (p *prover) proof() string {
	var changes map[string]any
	if p.nonce != "" {
		changes = map[string]any{"nonce": p.nonce}
	}
	return p.holder.Proof("GET", "http://a.test/me", boundToken, changes)
}

func (p *prover) lines(proofs ...string) []string {
	lines := []string{"Authorization: DPoP " + boundToken}
	for _, text := range proofs {
		lines = append(lines, "DPoP: "+text)
	}
	return lines
}

func (p *prover) ask(lines ...string) vector.Response {
	p.bench.t.Helper()
	response, reached := p.send("GET /me HTTP/1.1", lines...)
	if reached != (response.Status == http.StatusOK) {
		p.bench.t.Errorf("status %d, and the upstream is reached: %v", response.Status, reached)
	}
	return response
}

// challenge is the error of the DPoP challenge.
func challenge(r vector.Response) string {
	_, rest, found := strings.Cut(r.Header.Get("WWW-Authenticate"), "DPoP realm=")
	at := strings.Index(rest, `error="`)
	if !found || at < 0 {
		return ""
	}
	code, _, _ := strings.Cut(rest[at+len(`error="`):], `"`)
	return `error="` + code + `"`
}

func (p *prover) refuses(attack string, lines ...string) {
	p.bench.t.Helper()
	if response := p.ask(lines...); response.Status != http.StatusUnauthorized || challenge(response) != `error="invalid_dpop_proof"` {
		p.bench.t.Errorf("%s: %d %v", attack, response.Status, response.Header)
	}
}

func TestBoundTokenNeedsAProofThroughTheLuaFile(t *testing.T) { each(t, boundTokenNeedsAProof) }

func boundTokenNeedsAProof(t *testing.T, kind string) {
	p := startProver(t, kind)
	good := p.proof()
	if response := p.ask(p.lines(good)...); response.Status != http.StatusOK {
		t.Fatalf("a good proof: %d %s", response.Status, response.Body)
	}
	p.refuses("replay", p.lines(good)...)
	p.refuses("no proof", p.lines()...)
	p.refuses("two proofs", p.lines(p.proof(), p.proof())...)
	p.refuses("empty line before a proof", p.lines("", p.proof())...)
	p.refuses("empty line behind a proof", p.lines(p.proof(), "")...)
	p.refuses("two proofs on one line", p.lines(p.proof()+","+p.proof())...)
	p.refuses("proof under other names", append(p.lines(), "D-PoP: "+p.proof(), "D_PoP: "+p.proof(), "X-DPoP: "+p.proof())...)
	if response := p.ask("Authorization: Bearer "+boundToken, "DPoP: "+p.proof()); response.Status != http.StatusUnauthorized {
		t.Errorf("as a bearer token: %d", response.Status)
	}
	if response := p.ask(p.lines(p.proof())...); response.Status != http.StatusOK {
		t.Errorf("a new proof: %d %s", response.Status, response.Body)
	}
	if log := p.Log(); strings.Contains(log, boundToken) || strings.Contains(log, good) {
		t.Error("a token or a proof is in the log")
	}
}

// Where the reply is lost the file asks once more, with the proof that is used by then: the
// client gets what came of it, and whoever sends the same bytes nothing.
func TestReplyThatIsLostUsesAProofOnce(t *testing.T) { each(t, replyThatIsLostUsesAProofOnce) }

func replyThatIsLostUsesAProofOnce(t *testing.T, kind string) {
	p := startProver(t, kind)
	const id = "f8ddf30b9ec2a1e67c8e12ee778ea480"
	for range 3 {
		good := append(p.lines(p.proof()), "X-Request-Id: "+id, "X-Kong-Request-Id: "+id, "Kong-Request-Id: "+id)
		if response := p.lose(func() vector.Response { return p.ask(good...) }); response.Status != http.StatusOK {
			t.Errorf("a good proof whose reply is lost: %d %s", response.Status, response.Body)
		}
		p.refuses("the same bytes", good...)
		if response := p.lose(func() vector.Response { return p.ask(good...) }); response.Status != http.StatusUnauthorized {
			t.Errorf("the same bytes, whose reply is lost: %d", response.Status)
		}
	}
}
