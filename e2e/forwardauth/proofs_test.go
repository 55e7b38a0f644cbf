package forwardauth

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"gatehouse/core/coretest"
	"gatehouse/dev/demo/upstream"
)

// A client behind each proxy gets a nonce (RFC 9449 section 9) with the refusal, and tries
// again. The script of another origin may read it.
func TestNonceForProofsComesThroughRealProxies(t *testing.T) {
	for _, p := range proxies() {
		t.Run(p.name, func(t *testing.T) {
			foo, err := upstream.Start("foo", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(foo.Close)
			b := &bench{foo: foo, gate: map[string]any{
				"dpop": map[string]any{"use_nonce": true}, "cors": map[string]any{"origins": []string{"https://app.test"}},
			}}
			b.start(t, p, benchTable, foo.Addr().String())
			holder := coretest.NewHolder(t, "ES256", time.Now)
			token := b.issuer.Token(map[string]any{"cnf": holder.Confirmation()})
			ask := func(nonce string) (proof, next, challenge string, status int) {
				t.Helper()
				proof = holder.Proof("GET", "http://"+b.address+"/private", token, map[string]any{"nonce": nonce})
				next, challenge, status = b.prove(t, token, proof)
				return proof, next, challenge, status
			}
			_, nonce, challenge, status := ask("made up")
			if status != http.StatusUnauthorized || nonce == "" || !strings.Contains(challenge, `error="use_dpop_nonce"`) {
				t.Fatalf("a nonce that is made up: %d %s, nonce %q", status, challenge, nonce)
			}
			proof, _, challenge, status := ask(nonce)
			if status != http.StatusOK {
				t.Errorf("the nonce of the gate: %d %s", status, challenge)
			}
			if next, challenge, status := b.prove(t, token, proof); status != http.StatusUnauthorized || next == "" || !strings.Contains(challenge, `error="invalid_dpop_proof"`) {
				t.Errorf("replay: %d %s, nonce %q", status, challenge, next)
			}
		})
	}
}

// prove sends a token with a proof, as a script does.
func (b *bench) prove(t *testing.T, token, proof string) (nonce, challenge string, status int) {
	t.Helper()
	response, got := b.send(t, "GET", "/private", "Authorization: DPoP "+token, "DPoP: "+proof, "Origin: https://app.test", "Connection: close")
	status = response.Status
	if (got != nil) != (status == http.StatusOK) {
		t.Errorf("status %d, arrived %v", status, got)
	}
	nonces, exposed := response.Header.Values("DPoP-Nonce"), response.Header.Get("Access-Control-Expose-Headers")
	if len(nonces) > 1 || len(nonces) == 1 && !strings.Contains(exposed, "DPoP-Nonce") {
		t.Errorf("DPoP-Nonce %q, Access-Control-Expose-Headers %q", nonces, exposed)
	}
	return response.Header.Get("DPoP-Nonce"), response.Header.Get("WWW-Authenticate"), status
}
