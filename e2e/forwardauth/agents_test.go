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

// TestRecordNamesTheToolThatWasCalledBehindAProxy reads audit records where the body is shown and
// where the headers are trusted.
func TestRecordNamesTheToolThatWasCalledBehindAProxy(t *testing.T) {
	for name, c := range map[string]struct {
		proxy    proxy
		settings map[string]any
		body     bool
	}{
		"traefik": {withBody(t), map[string]any{}, true},
		"nginx":   {named(t, "nginx"), map[string]any{"insecure_trust_mcp_headers": true}, false},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "audit.jsonl")
			checkAgents(t, c.proxy, agents.StartDecoding(t), agents.WithRecords(c.settings, file), c.body, func(t *testing.T, g agents.Gateway, _ *agents.Server, issuer *coretest.Issuer) {
				agents.CheckRecords(t, g, issuer, file)
			})
		})
	}
}

// TestTableThatGetsToolsWhereNoBodyIsShownOpensNone changes the table of a running gate to one
// with tools, behind a proxy that shows no body. Until that is mended its calls get 503, and
// what the table before opened is closed.
func TestTableThatGetsToolsWhereNoBodyIsShownOpensNone(t *testing.T) {
	const before = "permissions: {whole: {activities: [POST /mcp]}}\nauthenticated: [GET /old]\n"
	file := filepath.Join(t.TempDir(), "permissions.yaml")
	replaceFile(t, file, before)
	settings := map[string]any{"permission_table_files": []string{file}}
	checkAgents(t, named(t, "nginx"), agents.StartSDK(t, true), settings, false, func(t *testing.T, g agents.Gateway, s *agents.Server, issuer *coretest.Issuer) {
		ran := func() int { return s.Ran(agents.Weather) + s.Ran(agents.DeleteAll) }
		send := func(header, body, scopes string) int {
			call := agents.Call{Header: agents.Headers(agents.Revision, header), Body: agents.Body(body)}
			return call.Send(t, g.Base, agents.Token(issuer, scopes)).Status
		}
		if status := send(agents.Weather, agents.Weather, "whole"); status != http.StatusOK || ran() != 1 {
			t.Fatalf("a call by the table without tools: %d", status)
		}
		replaceFile(t, file, agents.Table)
		eventually(t, "the table with tools is in force", func() bool {
			status := send(agents.Weather, agents.Weather, "weather:read")
			if status != http.StatusForbidden && status != http.StatusServiceUnavailable { // by the table before, and by the one that cannot be decided
				t.Fatalf("a call of a tool gets %d", status)
			}
			return status == http.StatusServiceUnavailable
		})
		for _, c := range []struct {
			header, body, scopes string
			want                 int
		}{
			{agents.Weather, agents.Weather, "weather:read whole", 503}, {agents.Weather, agents.DeleteAll, "weather:read", 503}, {agents.DeleteAll, agents.DeleteAll, "stations:delete", 503},
			{agents.DeleteAll, agents.DeleteAll, "weather:read", 403}, {agents.Weather, agents.Weather, "whole", 403},
		} {
			if status := send(c.header, c.body, c.scopes); status != c.want || ran() != 1 {
				t.Errorf("%+v: %d, %d tools have run", c, status, ran()-1)
			}
		}
		for attack, call := range agents.Attacks() {
			if answer := call.Send(t, g.Base, agents.Token(issuer, "weather:read whole")); answer.Status != http.StatusBadRequest && answer.Status != http.StatusServiceUnavailable || ran() != 1 {
				t.Errorf("%s: %+v, %d tools have run", attack, answer, ran()-1)
			}
		}
		replaceFile(t, file, before)
		eventually(t, "the table without tools is in force", func() bool { return send(agents.Weather, agents.Weather, "whole") == http.StatusOK })
	})
}

// replaceFile writes a file whole or not at all, as a follower of it expects.
func replaceFile(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file+".new", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(file+".new", file); err != nil {
		t.Fatal(err)
	}
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
