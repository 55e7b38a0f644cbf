package apisix

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// settings is what the local gateway takes from config.yaml.
type settings struct {
	command []string        // ext-plugin.cmd
	socket  string          // ext-plugin.path_for_test: a runner that another process started
	envs    []string        // nginx_config.envs
	plugins map[string]bool // nil when the file does not list plugins: all
}

// loadSettings reads config.yaml.
func loadSettings(file string) (*settings, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	r, root, err := parseYAML(file, text)
	if err != nil {
		return nil, err
	}
	s := &settings{}
	r.object(root, "", map[string]field{
		"deployment": r.standalone,
		"apisix": func(n *yaml.Node, path string) {
			r.object(n, path, map[string]field{
				"node_listen": ignored, "enable_admin": ignored, "enable_control": ignored, "control": ignored,
				"enable_ipv6": ignored, "enable_server_tokens": ignored, "ssl": ignored, "status": ignored,
				"router": r.router,
			})
		},
		"nginx_config": func(n *yaml.Node, path string) {
			r.object(n, path, map[string]field{
				"envs": r.texts(&s.envs), "error_log": ignored, "error_log_level": ignored, "worker_processes": ignored,
			})
		},
		"ext-plugin": func(n *yaml.Node, path string) {
			r.object(n, path, map[string]field{"cmd": r.texts(&s.command), "path_for_test": r.text(&s.socket)})
		},
		"plugins":     r.pluginList(&s.plugins),
		"plugin_attr": ignored,
	})
	if err := r.err(); err != nil {
		return nil, err
	}
	return s, nil
}

// standalone checks that the real gateway would read apisix.yaml at all.
func (r *reader) standalone(n *yaml.Node, path string) {
	var role string
	provider := func(n *yaml.Node, path string) {
		var kind string
		r.object(n, path, map[string]field{"config_provider": r.text(&kind)})
		r.oneOf(n, join(path, "config_provider"), kind, "yaml")
	}
	r.object(n, path, map[string]field{
		"role": r.text(&role), "role_data_plane": provider, "role_traditional": provider,
	})
	r.oneOf(n, join(path, "role"), role, "data_plane", "traditional")
}

func (r *reader) router(n *yaml.Node, path string) {
	kind := "radixtree_host_uri"
	r.object(n, path, map[string]field{"http": r.text(&kind), "ssl": ignored})
	r.oneOf(n, join(path, "http"), kind, "radixtree_host_uri")
}

func (r *reader) pluginList(to *map[string]bool) field {
	return func(n *yaml.Node, path string) {
		*to = map[string]bool{}
		r.list(n, path, func(item *yaml.Node, path string) {
			var name string
			r.text(&name)(item, path)
			(*to)[name] = true
		})
	}
}

// passedByAPISIX are the variables that APISIX's nginx hands on unasked.
var passedByAPISIX = []string{"PATH", "TZ", "APISIX_PROFILE", "APISIX_DEPLOYMENT_ETCD_HOST", "GCP_SERVICE_ACCOUNT"}

// runnerEnv is the environment of the runner: nginx clears its own but for the
// listed names. An item is a name, or a name and a value.
func runnerEnv(listed []string, socket string, lookup func(string) (string, bool)) []string {
	env := []string{fmt.Sprintf("APISIX_CONF_EXPIRE_TIME=%d", confExpire), "APISIX_LISTEN_ADDRESS=unix:" + socket}
	for _, item := range slices.Concat(passedByAPISIX, listed) {
		if strings.Contains(item, "=") {
			env = append(env, item)
		} else if value, ok := lookup(item); ok {
			env = append(env, item+"="+value)
		}
	}
	return env
}
