package check

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"gatehouse/internal/check/finding"
)

// A list of plugins without the one that runs a gate leaves routes open; the list and the
// routes are in different files.
func TestListOfPluginsHasWhatTheRoutesOfOtherFilesUse(t *testing.T) {
	const runner, lua, both = "ext-plugin: {cmd: [/r]}\nplugins: [ext-plugin-pre-req]\n", "ext-plugin: {cmd: [/r]}\nplugins: [gatehouse]\n", "ext-plugin: {cmd: [/r]}\nplugins: [gatehouse, ext-plugin-pre-req]\n"
	const unlisted = "ext-plugin: {cmd: [/r]}\n"
	for name, c := range map[string]struct {
		config, routes string
		want           []string
	}{
		"the runner's Plugin, listed":     {runner, apisixWith("", ""), nil},
		"the runner's Plugin, not listed": {lua, apisixWith("", ""), []string{"config.yaml:2"}},
		"the runner's Plugin, no list":    {unlisted, apisixWith("", ""), nil},
		"the Lua Plugin, listed":          {lua, luaWith("", ""), nil},
		"the Lua Plugin, not listed":      {runner, luaWith("", ""), []string{"config.yaml:2"}},
		"the Lua Plugin, no list":         {unlisted, luaWith("", ""), []string{"config.yaml:1"}},
		"both, one listed":                {runner, strings.Replace(apisixWith("", ""), "#END", "- {uri: /b, plugins: {gatehouse: "+soundGate+"}}\n#END", 1), []string{"config.yaml:2"}},
		"both, listed":                    {both, strings.Replace(apisixWith("", ""), "#END", "- {uri: /b, plugins: {gatehouse: "+soundGate+"}}\n#END", 1), nil},
		"no route, the Lua Plugin listed": {lua, "", nil},
		"no route, neither listed":        {"ext-plugin: {cmd: [/r]}\nplugins: [cors]\n", "", []string{"config.yaml:2"}},
	} {
		files := []File{{"config.yaml", []byte(c.config)}, {"apisix.yaml", []byte(c.routes)}}
		if c.routes == "" {
			files = files[:1]
		}
		for range 2 { // in either order
			var found []string
			for _, f := range Files(files, Options{}).Findings {
				if f.Severity != finding.Note {
					found = append(found, fmt.Sprintf("%s:%d", f.Place.File, f.Place.Line))
					if f.Rule != "plugin-not-enabled" {
						t.Errorf("%s: %s: %s: %s", name, f.Place, f.Rule, f.Text)
					}
				}
			}
			if !slices.Equal(found, c.want) {
				t.Errorf("%s: %q, want %q", name, found, c.want)
			}
			slices.Reverse(files)
		}
	}
}

// APISIX looks secrets up for the Lua plugin, and hands them to a runner as they are.
func TestSecretThatAPISIXLooksUpIsOneForTheLuaPluginAlone(t *testing.T) {
	gate := func(secret string) string {
		return `{introspection: {introspection_endpoint: "http://h", introspection_endpoint_auth_method: client_secret_basic, client_id: g, client_secret: "` + secret + `", audience: [a]}, permission_table: "public: [GET /x]"}`
	}
	for _, c := range []struct{ plugin, secret, want string }{
		{"gatehouse", "$secret://vault/1/x/y", "not-known"},
		{"gatehouse", "$SECRET://vault/1/x/y", "not-known"},
		{"gatehouse", "$ENV://X", "not-known"},
		{"gatehouse", "$env://X", ""},
		{"gatehouse", "{vault://env/x}", "unresolved-reference"},
		{"gatehouse", "open sesame", "literal-secret"},
		{"ext-plugin-pre-req", "$secret://vault/1/x/y", "unresolved-reference"},
	} {
		plugins := "{gatehouse: " + gate(c.secret) + "}"
		if c.plugin != plugin {
			plugins = "{ext-plugin-pre-req: {conf: [{name: gatehouse, value: '" + gate(c.secret) + "'}]}}"
		}
		var found []string
		for _, f := range Files([]File{{"apisix.yaml", []byte("routes:\n- {uri: /a, plugins: " + plugins + "}\n#END\n")}}, Options{}).Findings {
			found = append(found, f.Rule)
			if strings.Contains(f.Text, c.secret) {
				t.Errorf("%s of %s: the secret is in the finding: %s", c.secret, c.plugin, f.Text)
			}
		}
		if got := strings.Join(found, " "); got != c.want {
			t.Errorf("%s of %s: %q, want %q", c.secret, c.plugin, got, c.want)
		}
	}
}
