package apisix

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"gatehouse/internal/check"
)

// guardPriority marks, in the random files below, the plugins that run
// Gatehouse.
const guardPriority = 12345

// TestCheckFindsEveryOpenRoute makes random files. A route for which gatehouse
// check says nothing has to run Gatehouse here, after APISIX's own merging, and
// one that does must not be complained of.
func TestCheckFindsEveryOpenRoute(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	open, closed := 0, 0
	for range 1000 {
		text := randomRoutes(r)
		c, err := loadConfig(write(t, "apisix.yaml", text), 1, nil, environment(nil), false)
		if err != nil {
			t.Fatalf("%s\n%v", text, err)
		}
		st := newState(c)
		isGuard := func(p *plugin) bool { return p.priority == guardPriority }
		complained := openRoutes(text)
		for _, route := range c.routes {
			runs := slices.ContainsFunc(c.bind(route, "1").plugins, isGuard) || slices.ContainsFunc(st.globalPlugins, isGuard)
			if runs == complained[route.id] {
				t.Fatalf("%s\nthe route %s runs Gatehouse: %v; check complains of %v", text, route.id, runs, complained)
			}
			if runs {
				closed++
			} else {
				open++
			}
		}
	}
	if open < 300 || closed < 300 {
		t.Errorf("%d routes are open and %d closed", open, closed)
	}
}

// openRoutes are those that check complains of, by their ids.
func openRoutes(text string) map[string]bool {
	found := map[string]bool{}
	for _, f := range check.Files([]check.File{{Name: "apisix.yaml", Content: []byte(text)}}, check.Options{As: check.APISIX}).Findings {
		if rest, ok := strings.CutPrefix(f.Text, "the route "); ok && f.Rule == "unguarded-route" {
			id, _, _ := strings.Cut(rest, " ")
			found[id] = true
		}
	}
	return found
}

func randomRoutes(r *rand.Rand) string {
	var b strings.Builder
	set := func(indent string) string { return indent + "plugins: {" + randomPlugins(r) + "}\n" }
	b.WriteString("services:\n")
	for id := range 2 {
		fmt.Fprintf(&b, "  - id: s%d\n%s", id, set("    "))
	}
	b.WriteString("plugin_configs:\n")
	for id := range 2 {
		fmt.Fprintf(&b, "  - id: c%d\n%s", id, set("    "))
	}
	if r.IntN(4) == 0 {
		fmt.Fprintf(&b, "global_rules:\n  - id: g\n%s", set("    "))
	}
	b.WriteString("routes:\n")
	for id := range 3 {
		fmt.Fprintf(&b, "  - id: r%d\n    uri: /%d\n", id, id)
		if r.IntN(2) == 0 {
			b.WriteString(set("    "))
		}
		if r.IntN(2) == 0 {
			fmt.Fprintf(&b, "    plugin_config_id: c%d\n", r.IntN(2))
		}
		if r.IntN(2) == 0 {
			fmt.Fprintf(&b, "    service_id: s%d\n", r.IntN(2))
		}
	}
	return b.String() + "#END\n"
}

func randomPlugins(r *rand.Rand) string {
	var all []string
	for _, name := range []string{"ext-plugin-pre-req", "ext-plugin-post-req"} {
		switch r.IntN(8) {
		case 0, 1:
			all = append(all, fmt.Sprintf(`%s: {_meta: {priority: %d}, conf: [{name: say, value: x}, {name: gatehouse, value: '{}'}]}`, name, guardPriority))
		case 2:
			all = append(all, fmt.Sprintf(`%s: {_meta: {priority: %d, disable: true}, conf: [{name: gatehouse, value: '{}'}]}`, name, guardPriority))
		case 3:
			all = append(all, name+`: {conf: [{name: say, value: hello}]}`)
		}
	}
	if r.IntN(2) == 0 {
		all = append(all, "cors: {}")
	}
	return strings.Join(all, ", ")
}
