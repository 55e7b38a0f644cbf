package prove

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"gatehouse/core/permission/require"
)

// large is a table of n activities, ten a permission, with roles and tenants.
func large(n int) string {
	var b strings.Builder
	b.WriteString("permissions:\n")
	for i := range n / 10 {
		fmt.Fprintf(&b, "  p%d:\n    activities:\n", i)
		for k := range 9 {
			fmt.Fprintf(&b, "      - %s /service%d/resource%d/[^/]+\n", []string{"GET", "POST", "GET,HEAD"}[k%3], i, k)
		}
		fmt.Fprintf(&b, "      - {methods: [ANY], path: '/service%d/tenants/(?P<tenant>[^/]+)(/.*)?', require: {when: claims.tenant == path.tenant}}\n", i)
	}
	b.WriteString("roles:\n")
	for i := range n / 100 {
		fmt.Fprintf(&b, "  role%d: [p%d, p%d]\n", i, i, i+1)
	}
	b.WriteString("implicit_scopes: false\nauthenticated: [{methods: [ANY], path: '/admin(/.*)?', require: {aal: aal2}}]\npublic: [GET /healthz]\n")
	return b.String()
}

// withTools is a large table, 2,000 of whose activities are tools at 20 endpoints.
func withTools(n int) string {
	var b strings.Builder
	b.WriteString("permissions:\n")
	for i := range 20 {
		fmt.Fprintf(&b, "  tools%d:\n    mcp: {endpoint: /mcp/%d, tools: [t0", i, i)
		for k := range 99 {
			fmt.Fprintf(&b, ", t%d", k+1)
		}
		b.WriteString("]}\n")
	}
	return strings.Replace(large(n-2000), "permissions:\n", b.String(), 1)
}

// largeProperties are twenty about the large table, each of which holds.
func largeProperties() (list []Property) {
	for i := range 5 {
		service := fmt.Sprintf("/service%d", i*100)
		list = append(list,
			Property{Calls: calls("ANY", service+"/.*"), Need: Need{Credential: true}},
			Property{Calls: calls("GET", service+"/resource[0-9]/.*"), Need: Need{Permissions: []string{fmt.Sprintf("p%d", i*100)}}},
			Property{Calls: calls("ANY", service+"/tenants/(?P<tenant>[^/]+)(/.*)?"), Need: Need{Require: require.Requirements{When: "claims.tenant == path.tenant"}}})
	}
	return append(list,
		Property{Calls: calls("ANY", "/.*"), Except: calls("GET", "/healthz"), Need: Need{Credential: true}},
		Property{Calls: calls("ANY", "/admin(/.*)?"), Need: Need{Require: require.Requirements{AAL: "aal2"}}},
		Property{Calls: calls("DELETE", "/service[0-9]+/resource[0-9]+/.*"), Need: Need{Nobody: true}},
		Property{Calls: calls("ANY", "/service[0-9]+/tenants/(?P<tenant>[^/]+)(/.*)?"), Need: Need{Require: require.Requirements{When: "claims.tenant == path.tenant"}}},
		Property{Calls: calls("GET", "/healthz/.+"), Need: Need{Nobody: true}})
}

// demoProperties are twenty about the table of the demo, each of which holds.
func demoProperties() (list []Property) {
	for _, by := range []struct{ permission, method, path string }{
		{"hello:visit", "GET", "/hello/pages/.*"}, {"world:visit", "ANY", "/world(/.*)?"}, {"users:read", "GET", "/users(/[^/]+)?"}, {"users:read", "ANY", "/live/.*"},
		{"users:write", "POST", "/users(/.*)?"}, {"users:write", "DELETE", "/.*"}, {"roles:read", "ANY", "/users/api/v1/.*"}, {"products:read", "ANY", "/products(/.*)?"},
		{"orders:read", "GET", "/orders(/.*)?"}, {"orders:cancel", "POST", "/orders(/.*)?"},
	} {
		list = append(list, Property{Calls: calls(by.method, by.path), Need: Need{Permissions: []string{by.permission}}})
	}
	unnamed := slices.Concat(calls("GET", "/hello/optional", "/hello/public"), calls("HEAD", "/hello/optional", "/hello/public"))
	return append(list,
		Property{Calls: calls("ANY", "/.*"), Except: unnamed, Need: Need{Credential: true}},
		Property{Calls: calls("POST", "/orders/[0-9]+/cancel"), Need: Need{Require: require.Requirements{AAL: "aal2"}}},
		Property{Calls: calls("GET", "/users/[^/]+/keys"), Need: Need{Require: require.Requirements{Proof: "any"}}},
		Property{Calls: calls("ANY", "/(users|world)(/.*)?"), Need: Need{Require: require.Requirements{Actor: []string{"none"}}}},
		Property{Calls: calls("ANY", "/.*"), Except: unnamed, Need: Need{Require: require.Requirements{When: "has(claims.kind)"}}},
		Property{Calls: calls("DELETE", "/(hello|world|products|orders)(/.*)?"), Need: Need{Nobody: true}},
		Property{Calls: calls("ANY", "/admin(/.*)?"), Need: Need{Nobody: true}},
		Property{Calls: calls("ANY", "/"), Need: Need{Nobody: true}},
		Property{Calls: calls("OPTIONS", "/.*"), Need: Need{Nobody: true}},
		Property{Calls: calls("PUT", "/orders/.*"), Need: Need{Nobody: true}})
}

func TestPropertiesOfTheDemoAreProven(t *testing.T) {
	demo, err := os.ReadFile("../../../dev/demo/permissions.yaml")
	if err != nil {
		t.Fatal(err)
	}
	compiled, files := table(t, string(demo))
	verdicts, err := Run(t.Context(), compiled, files, demoProperties(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	for i, v := range verdicts {
		if v.Result != Proven {
			t.Errorf("property %d: %s %s %+v", i, v.Result, v.Reason, v.Witness)
		}
	}
}

// BenchmarkProveTwentyProperties includes the automata of the table.
func BenchmarkProveTwentyProperties(b *testing.B) {
	demo, err := os.ReadFile("../../../dev/demo/permissions.yaml")
	if err != nil {
		b.Fatal(err)
	}
	for _, about := range []struct {
		name, table string
		properties  []Property
	}{{"demo", string(demo), demoProperties()}, {"10,000 activities", large(10_000), largeProperties()}, {"10,000 activities, 2,000 tools", withTools(10_000), largeProperties()}} {
		b.Run(about.name, func(b *testing.B) {
			compiled, files := table(b, about.table)
			b.ReportAllocs()
			for b.Loop() {
				verdicts, err := Run(b.Context(), compiled, files, about.properties, Options{})
				if err != nil {
					b.Fatal(err)
				}
				for i, v := range verdicts {
					if v.Result != Proven {
						b.Fatalf("property %d: %s %s %+v", i, v.Result, v.Reason, v.Witness)
					}
				}
			}
		})
	}
}
