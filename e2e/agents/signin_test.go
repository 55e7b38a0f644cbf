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

// TestClientThatNobodyHasRegisteredSignsIn registers itself at a Hydra that lets anybody do so,
// and does not get in where Hydra lets nobody.
func TestClientThatNobodyHasRegisteredSignsIn(t *testing.T) {
	for name, scopes := range map[string][]string{"anybody may register": {"weather:read"}, "nobody may register": nil} {
		t.Run(name, func(t *testing.T) {
			hydra := orytest.Hydra(t, ory.HydraConfig{RegistersClients: scopes})
			eachGateway(t, stateless, func(base string) map[string]any { return GateOf(hydra, base) }, func(t *testing.T, g Gateway, s *Server) {
				CheckRegistration(t, g.Base, s, hydra, scopes != nil)
			})
		})
	}
}
