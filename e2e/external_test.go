package e2e

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"
	"testing"

	"gatehouse/dev/demo"
	"gatehouse/dev/ory"
	"gatehouse/e2e/credentials"
	"gatehouse/e2e/vector"
)

// TestVectorsExternal replays the vectors against gateways that run already,
// in front of what `make e2e-backends` starts on its fixed ports. KONG_URL,
// APISIX_URL, KONG_LUA_URL and APISIX_LUA_URL say where the gateways are;
// BACKENDS_HOST is where the backends are, if not here.
func TestVectorsExternal(t *testing.T) {
	gateways := externalGateways(t)
	people, err := provisionExternal(t.Context(), cmp.Or(os.Getenv("BACKENDS_HOST"), "127.0.0.1"))
	if err != nil {
		t.Fatalf("the backends are not ready (start them with make e2e-backends): %v", err)
	}
	vectors := suite(t)
	for name, address := range gateways {
		h := gatewayHost(name, address, people, nil)
		h.real = true
		for _, v := range vectors.Vectors {
			t.Run(name+"/"+v.Name, func(t *testing.T) { replay(t, vectors, onRealGateway(v, name), h) })
		}
	}
}

// onRealGateway is a vector for a real gateway. What such a gateway refuses by itself
// depends on its router and its nginx, so the plugin may refuse it, too. It rewrites
// targets for its Lua file as for its other plugin.
func onRealGateway(v *vector.Vector, name string) *vector.Vector {
	here := *v
	if here.Class != vector.Allow && strings.HasPrefix(string(here.ClassOn(name)), "gateway 4") {
		here.Overrides = nil
	}
	gateway, _, _ := strings.Cut(name, "-")
	if target, ok := v.UpstreamOn[gateway]; ok {
		here.UpstreamOn = map[string]string{name: target}
	}
	return &here
}

// externalGateways are the addresses by the gateway's name.
func externalGateways(t *testing.T) map[string]string {
	t.Helper()
	gateways := map[string]string{}
	for name, variable := range map[string]string{"kong": "KONG_URL", "apisix": "APISIX_URL", "kong-lua": "KONG_LUA_URL", "apisix-lua": "APISIX_LUA_URL"} {
		value := os.Getenv(variable)
		if value == "" {
			continue
		}
		u, err := url.Parse(value)
		if err != nil || u.Scheme != "http" || u.Host == "" {
			t.Fatalf("%s=%s is not the URL of a gateway, such as http://127.0.0.1:8000", variable, value)
		}
		gateways[name] = u.Host
		if u.Port() == "" {
			gateways[name] = net.JoinHostPort(u.Hostname(), "80")
		}
	}
	if len(gateways) == 0 {
		t.Skip("none of KONG_URL, APISIX_URL, KONG_LUA_URL and APISIX_LUA_URL is set: no gateway elsewhere to replay against (see docs/testing.md)")
	}
	return gateways
}

func provisionExternal(ctx context.Context, host string) (*credentials.Set, error) {
	at := func(port int) string { return "http://" + net.JoinHostPort(host, strconv.Itoa(port)) }
	ports := demo.FixedPorts
	servers := credentials.Servers{
		Kratos:  ory.KratosAPI{PublicURL: at(ports.KratosPublic), AdminURL: at(ports.KratosAdmin)},
		Hydra:   ory.HydraAPI{PublicURL: at(ports.HydraPublic), AdminURL: at(ports.HydraAdmin)},
		SiteURL: at(ports.Site),
	}
	return provisionAnew(ctx, servers)
}

// provisionAnew makes accounts and credentials in servers that may have others.
func provisionAnew(ctx context.Context, servers credentials.Servers) (*credentials.Set, error) {
	tag := strings.ToLower(rand.Text()[:10])
	accounts, err := demo.Provision(ctx, servers.Kratos, servers.Hydra, servers.SiteURL, tag)
	if err != nil {
		return nil, fmt.Errorf("accounts: %w", err)
	}
	return credentials.Provision(ctx, servers, accounts, tag)
}

// The backends stay up between two runs of TestVectorsExternal.
func TestBackendsCanBeProvisionedAgain(t *testing.T) {
	first := shared.credentials(t)
	again, err := provisionAnew(t.Context(), shared.get(t).servers())
	if err != nil {
		t.Fatal(err)
	}
	for name, secret := range again.Secrets {
		if first.Secrets[name] == secret {
			t.Errorf("%s is not fresh", name)
		}
	}
}
