package forwardauth

import (
	"errors"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gatehouse/core/coretest"
	"gatehouse/dev/ory"
	"gatehouse/dev/ory/orytest"
	"gatehouse/dev/ports"
	"gatehouse/e2e/agents"
)

type agentsCheck = func(*testing.T, agents.Gateway, *agents.Server, *coretest.Issuer)

// checkAgents runs a check of tools of MCP servers behind a proxy.
func checkAgents(t *testing.T, p proxy, server *agents.Server, settings map[string]any, body bool, check agentsCheck) {
	t.Helper()
	issuer := coretest.NewIssuer(t, coretest.NewClock())
	b := &bench{gate: agents.Gate(issuer), body: body}
	maps.Copy(b.gate, settings)
	b.start(t, p, agents.Table, server.Address)
	check(t, agents.Gateway{Base: "http://" + b.address, TooLarge: 413}, server, issuer)
}

// withBody is Traefik that sends the body along, as deploy/traefik says.
func withBody(t *testing.T) proxy {
	return changed(t, "traefik", change{"dynamic.yml", "address: http", "forwardBody: true\n                maxBodySize: 65536\n                address: http"})
}

// TestToolsBehindProxiesThatShowNoBody trusts the headers, as the server of the SDK compares
// them with the body.
func TestToolsBehindProxiesThatShowNoBody(t *testing.T) {
	trust := map[string]any{"insecure_trust_mcp_headers": true}
	for _, p := range proxies() {
		t.Run(p.name, func(t *testing.T) {
			checkAgents(t, p, agents.StartSDK(t, true), trust, false, func(t *testing.T, g agents.Gateway, s *agents.Server, issuer *coretest.Issuer) {
				agents.CheckClient(t, g, s, issuer)
				agents.CheckAttacks(t, g, s, issuer)
			})
			checkAgents(t, p, agents.StartDecoding(t), trust, false, agents.CheckNames)
		})
	}
}

func TestToolsBehindATraefikThatSendsTheBodyAlong(t *testing.T) {
	checkAgents(t, withBody(t), agents.StartSDK(t, true), nil, true, func(t *testing.T, g agents.Gateway, s *agents.Server, issuer *coretest.Issuer) {
		agents.CheckClient(t, g, s, issuer)
		agents.CheckAttacks(t, g, s, issuer)
		agents.CheckBodies(t, g, s, issuer)
	})
	checkAgents(t, withBody(t), agents.StartDecoding(t), nil, true, agents.CheckNames)
}

// TestBodyThatTraefikDoesNotSendAlong is one over its maxBodySize, which Traefik itself
// refuses, and any where forwardBody is not set.
func TestBodyThatTraefikDoesNotSendAlong(t *testing.T) {
	for name, c := range map[string]struct {
		proxy  proxy
		pad    int
		status int
	}{
		"over maxBodySize": {withBody(t), 70_000, http.StatusUnauthorized},
		"no forwardBody":   {named(t, "traefik"), 0, http.StatusBadRequest},
	} {
		checkAgents(t, c.proxy, agents.StartSDK(t, true), nil, true, func(t *testing.T, g agents.Gateway, s *agents.Server, issuer *coretest.Issuer) {
			call := agents.Call{Header: agents.Headers(agents.Revision, agents.Weather), Body: agents.Body(agents.Weather) + strings.Repeat(" ", c.pad)}
			answer := call.Send(t, g.Base, agents.Token(issuer, "weather:read"))
			byTraefik := answer.Challenge == ""
			if answer.Status != c.status || byTraefik != (c.pad > 0) || s.Ran(agents.Weather) > 0 {
				t.Errorf("%s: %+v, ran %d times", name, answer, s.Ran(agents.Weather))
			}
		})
	}
}

// TestClientSignsInByMetadataBehindTraefik finds the metadata at an endpoint of the dialect
// direct.
func TestClientSignsInByMetadataBehindTraefik(t *testing.T) {
	hydra, server := orytest.Hydra(t, ory.HydraConfig{}), agents.StartSDK(t, true)
	free, err := ports.Addresses(1)
	if err != nil {
		t.Fatal(err)
	}
	base := "http://" + free[0]
	b := &bench{address: free[0], gate: agents.GateOf(hydra, base), body: true, direct: []string{"/.well-known/oauth-protected-resource/mcp"}}
	b.start(t, withBody(t), agents.Table, server.Address)
	agents.CheckTokenForNoResource(t, base, server, hydra)
	agents.CheckSignIn(t, base, server, hydra)
}

// TestExampleOfTraefikInFrontOfAnMCPServer runs the files of deploy/traefik/mcp.
func TestExampleOfTraefikInFrontOfAnMCPServer(t *testing.T) {
	issuer, server := coretest.NewIssuer(t, coretest.NewClock()), agents.StartSDK(t, true)
	free, err := ports.Addresses(2)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, file := range []struct{ name, at string }{
		{"mcp/gatehouse.yaml", "gatehouse.yaml"}, {"mcp/forwardauth.yaml", "forwardauth.yaml"}, {"mcp/dynamic.yml", "dynamic.yml"}, {"traefik.yml", "traefik.yml"},
	} {
		text, err := shipped("traefik/" + file.name)
		text = strings.NewReplacer("https://auth.example.com/", issuer.URL, "/etc/gatehouse", dir, "127.0.0.1:4180", free[0], "127.0.0.1:8081", server.Address, `":8000"`, atOnce(free[1])).Replace(text)
		if err := errors.Join(err, os.WriteFile(filepath.Join(dir, file.at), []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	service, err := binaryFor()
	if err != nil {
		t.Fatal(err)
	}
	startPart(t, "gatehouse-forwardauth", dir, free[0], service, "-config", "forwardauth.yaml")
	traefik := named(t, "traefik")
	program, err := traefik.find()
	if err != nil {
		t.Fatal(err)
	}
	startPart(t, "traefik", dir, free[1], program, "--configFile="+filepath.Join(dir, "traefik.yml"))
	if err := awaitRoutes(free[1]); err != nil {
		t.Fatal(err)
	}
	g := agents.Gateway{Base: "http://" + free[1], TooLarge: http.StatusRequestEntityTooLarge}
	agents.CheckClient(t, g, server, issuer)
	agents.CheckAttacks(t, g, server, issuer)
	if response, err := http.Get(g.Base + "/.well-known/oauth-protected-resource/mcp"); err != nil || response.StatusCode != http.StatusOK {
		t.Errorf("the metadata: %v, %v", response, err)
	}
}

func startPart(t *testing.T, name, dir, address, program string, args ...string) {
	t.Helper()
	p, err := startProcess(name, dir, address, program, args...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.stop)
}
