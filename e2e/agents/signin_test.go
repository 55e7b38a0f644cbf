package agents

import (
	"testing"

	"gatehouse/dev/ory"
	"gatehouse/dev/ory/orytest"
)

// TestClientSignsInByMetadataAndStepsUp is the whole way of a client that knows one address.
func TestClientSignsInByMetadataAndStepsUp(t *testing.T) {
	hydra := orytest.Hydra(t, ory.HydraConfig{})
	eachGateway(t, stateless, func(base string) map[string]any { return GateOf(hydra, base) }, func(t *testing.T, g Gateway, s *Server) {
		CheckTokenForNoResource(t, g.Base, s, hydra)
		CheckSignIn(t, g.Base, s, hydra)
	})
}
