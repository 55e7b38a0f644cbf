package prove

import (
	"fmt"
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

// BenchmarkProveTwentyProperties includes the automata of the table.
func BenchmarkProveTwentyProperties(b *testing.B) {
	for _, n := range []int{100, 10_000} {
		compiled, files := table(b, large(n))
		b.Run(fmt.Sprint(n, " activities"), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				verdicts, err := Run(b.Context(), compiled, files, largeProperties(), Options{})
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
