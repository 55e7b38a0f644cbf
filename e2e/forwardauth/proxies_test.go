package forwardauth

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"gatehouse/e2e/forwardauth/servers"
)

// route is a path prefix, the address of the upstream behind it and the
// endpoint that guards it, such as "traefik" or "traefik-live".
type route struct {
	name, prefix, upstream, endpoint string
}

// site is what a proxy has to serve.
type site struct {
	dir    string // where it may write
	listen string // host:port
	ask    string // host:port of gatehouse-forwardauth
	socket string // and its unix socket
	// direct are paths that the service itself serves, without an auth request.
	direct []string
	// routes in the order in which they are tried; the last one has the prefix
	// "/" and takes what no other does.
	routes []route
}

// proxy is a proxy program with the configuration that is in deploy/.
type proxy struct {
	name string
	// find returns the program.
	find func() (string, error)
	// configure writes the files for a site, with those of deploy/ in them, and
	// returns the arguments.
	configure func(site) ([]string, error)
}

func proxies() []proxy {
	all := []proxy{
		{"nginx", onPath("nginx"), nginx},
		{"haproxy", onPath("haproxy"), haproxy},
		{"caddy", built(servers.Caddy), caddy},
		{"traefik", built(servers.Traefik), traefik},
	}
	return slices.DeleteFunc(all, func(p proxy) bool { return servers.Skipped(p.name) })
}

// named is one of the proxies. A test that is about one that is left out is
// skipped.
func named(t *testing.T, name string) proxy {
	t.Helper()
	all := proxies()
	at := slices.IndexFunc(all, func(p proxy) bool { return p.name == name })
	if at < 0 {
		t.Skipf("%s lists %s", servers.SkipVariable, name)
	}
	return all[at]
}

// change is what an operator does to a file of a proxy. UPSTREAM in the
// replacement is the address of the first route's.
type change struct{ file, old, replacement string }

// changed is a proxy whose files an operator has changed.
func changed(t *testing.T, name string, changes ...change) proxy {
	t.Helper()
	p := named(t, name)
	configure := p.configure
	p.configure = func(s site) ([]string, error) {
		args, err := configure(s)
		for _, c := range changes {
			replacement := strings.ReplaceAll(c.replacement, "UPSTREAM", s.routes[0].upstream)
			err = errors.Join(err, edit(filepath.Join(s.dir, c.file), c.old, replacement))
		}
		return args, err
	}
	return p
}

func built(ensure func(context.Context) (string, error)) func() (string, error) {
	return func() (string, error) { return ensure(context.Background()) }
}

func onPath(name string) func() (string, error) {
	return func() (string, error) {
		for _, dir := range append(filepath.SplitList(os.Getenv("PATH")), "/usr/sbin", "/usr/local/sbin") {
			if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
				return path, nil
			}
		}
		return "", fmt.Errorf("%s is not installed: apt-get install %s", name, name)
	}
}

const deploy = "../../deploy"

// shipped is a file of deploy/ with other addresses. Each replacement must
// apply, so that the files and the tests cannot drift apart.
func shipped(file string, pairs ...string) (string, error) {
	content, err := os.ReadFile(filepath.Join(deploy, file))
	if err != nil {
		return "", err
	}
	text := string(content)
	for i := 0; i < len(pairs); i += 2 {
		if !strings.Contains(text, pairs[i]) {
			return "", fmt.Errorf("deploy/%s does not hold %q any more", file, pairs[i])
		}
		text = strings.ReplaceAll(text, pairs[i], pairs[i+1])
	}
	return text, nil
}

func (s site) write(name, text string) error {
	return os.WriteFile(filepath.Join(s.dir, name), []byte(text), 0o600)
}

// endpoints are those of the routes, each once.
func (s site) endpoints() []string {
	var all []string
	seen := map[string]bool{}
	for _, r := range s.routes {
		if !seen[r.endpoint] {
			all = append(all, r.endpoint)
		}
		seen[r.endpoint] = true
	}
	return all
}

// What the pages of deploy/ say about paths that the gate itself serves.
const (
	nginxDirect   = "location = %s { include gatehouse_direct.conf; }"
	haproxyDirect = "http-request set-header X-Forwarded-For %[src] if gatehouse_serves\n" +
		"http-request set-header X-Forwarded-Proto %[ssl_fc,iif(https,http)] if gatehouse_serves\n"
)

// nginx asks over the unix socket.
func nginx(s site) ([]string, error) {
	for _, file := range []string{"gatehouse_headers.conf", "gatehouse_cookies.conf", "gatehouse_direct.conf"} {
		text, err := shipped("nginx/" + file)
		if err := errors.Join(err, s.write(file, text)); err != nil {
			return nil, err
		}
	}
	var server strings.Builder
	for _, e := range s.endpoints() {
		ask, err := shipped("nginx/gatehouse.conf", "/_gatehouse", "/_"+e, "@gatehouse_refused", "@refused_"+e, "gatehouse/auth/nginx", "gatehouse/auth/"+e)
		protect, err2 := shipped("nginx/gatehouse_protect.conf", "/_gatehouse", "/_"+e, "@gatehouse_refused", "@refused_"+e)
		if err := errors.Join(err, err2, s.write("ask_"+e+".conf", ask), s.write("protect_"+e+".conf", protect)); err != nil {
			return nil, err
		}
		fmt.Fprintf(&server, "include ask_%s.conf;\n", e)
	}
	for _, path := range s.direct {
		fmt.Fprintf(&server, nginxDirect+"\n", path)
	}
	for _, r := range s.routes {
		fmt.Fprintf(&server, "location %s { include protect_%s.conf; proxy_pass http://%s; }\n", r.prefix, r.endpoint, r.upstream)
	}
	text, err := shipped("nginx/nginx.conf",
		"pid /run/nginx.pid;", "pid nginx.pid; daemon off; user root;",
		"worker_processes auto;", "worker_processes 1;",
		"access_log off;", "access_log off; client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;",
		"server 127.0.0.1:4180;", "server unix:"+s.socket+";",
		"listen 8000;", "listen "+s.listen+";",
		"include gatehouse.conf;", server.String())
	if err != nil {
		return nil, err
	}
	// The example's one location makes room for the routes.
	start, end := strings.Index(text, "        location / {\n"), strings.LastIndex(text, "    }\n}")
	text = text[:start] + text[end:]
	return []string{"-p", s.dir, "-c", "nginx.conf", "-e", "stderr"}, s.write("nginx.conf", text)
}

func haproxy(s site) ([]string, error) {
	lua, err := shipped("haproxy/gatehouse.lua")
	if err != nil {
		return nil, err
	}
	text, err := shipped("haproxy/haproxy.cfg", "bind :8000", "bind "+s.listen, "lua-load-per-thread gatehouse.lua", "lua-load-per-thread gatehouse.lua\n    nbthread 2")
	if err != nil {
		return nil, err
	}
	_, action, _ := strings.Cut(text, "    http-request lua.gatehouse http://127.0.0.1:4180/auth/haproxy ")
	names, action, _ := strings.Cut(action, "\n")
	guard, _, _ := strings.Cut(action, "    default_backend")
	before, _, _ := strings.Cut(text, "    http-request lua.gatehouse")
	var front, back strings.Builder
	if len(s.direct) > 0 {
		fmt.Fprintf(&front, "    acl gatehouse_serves path %s\n    http-request set-var(txn.route) str(gatehouse) if gatehouse_serves\n%s", strings.Join(s.direct, " "), haproxyDirect)
		const admitted = "unless { var(txn.gatehouse) -m str admitted }"
		guard = strings.Replace(guard, admitted, admitted+" or gatehouse_serves", 1)
		fmt.Fprintf(&back, "backend gatehouse\n    mode http\n    server s %s\n", s.ask)
	}
	for _, r := range s.routes {
		for _, matches := range []string{"path " + r.prefix, "path_beg " + strings.TrimSuffix(r.prefix, "/") + "/"} {
			fmt.Fprintf(&front, "    http-request set-var(txn.route) str(%s) if !{ var(txn.route) -m found } { %s }\n", r.name, matches)
		}
		fmt.Fprintf(&back, "backend %s\n    mode http\n    server s %s\n", r.name, r.upstream)
	}
	// What is no path at all is for the last route too.
	last := s.routes[len(s.routes)-1].name
	fmt.Fprintf(&front, "    http-request set-var(txn.route) str(%s) if !{ var(txn.route) -m found }\n", last)
	for _, r := range s.routes {
		fmt.Fprintf(&front, "    http-request lua.gatehouse http://%s/auth/%s %s if { var(txn.route) -m str %s }\n", s.ask, r.endpoint, names, r.name)
	}
	front.WriteString(guard + "    use_backend %[var(txn.route)]\n")
	return []string{"-f", "haproxy.cfg", "-db"}, errors.Join(s.write("gatehouse.lua", lua), s.write("haproxy.cfg", before+front.String()+back.String()))
}

// atOnce is an address of an entry point that does not wait for its clients when
// it gets the signal to stop.
func atOnce(address string) string {
	return strconv.Quote(address) + "\n    transport: {lifeCycle: {graceTimeOut: 1ms}}"
}

// traefik has its own routers, and the middleware of the example for each
// endpoint.
func traefik(s site) ([]string, error) {
	static, err := shipped("traefik/traefik.yml", `":8000"`, atOnce(s.listen))
	if err != nil {
		return nil, err
	}
	text, err := shipped("traefik/dynamic.yml", "127.0.0.1:4180", s.ask)
	if err != nil {
		return nil, err
	}
	middlewares, routers, services := map[string]any{}, map[string]any{}, map[string]any{}
	for _, e := range s.endpoints() {
		var example struct {
			HTTP struct{ Middlewares map[string]any }
		}
		if err := yaml.Unmarshal([]byte(strings.ReplaceAll(text, "/auth/traefik", "/auth/"+e)), &example); err != nil {
			return nil, err
		}
		for _, name := range []string{"no-upgrade", "only-websocket"} {
			middlewares[name] = example.HTTP.Middlewares[name]
		}
		middlewares[e] = example.HTTP.Middlewares["gatehouse"]
	}
	for i, r := range s.routes {
		rule := fmt.Sprintf("Path(`%s`) || PathPrefix(`%s/`)", r.prefix, r.prefix)
		if r.prefix == "/" {
			rule = "PathPrefix(`/`)"
		}
		routers[r.name] = map[string]any{"rule": rule, "priority": 1000 - i, "middlewares": []string{"no-upgrade", r.endpoint}, "service": r.name}
		routers[r.name+"-websocket"] = map[string]any{"rule": "(" + rule + ") && HeaderRegexp(`Upgrade`, `(?i)websocket`)", "priority": 2000 - i, "middlewares": []string{"only-websocket", r.endpoint}, "service": r.name}
		services[r.name] = map[string]any{"loadBalancer": map[string]any{"servers": []any{map[string]any{"url": "http://" + r.upstream}}}}
	}
	for i, path := range s.direct {
		name := fmt.Sprint("gatehouse-", i)
		routers[name] = map[string]any{"rule": "Path(`" + path + "`)", "priority": 3000, "service": name}
		services[name] = map[string]any{"loadBalancer": map[string]any{"servers": []any{map[string]any{"url": "http://" + s.ask}}}}
	}
	dynamic, err := yaml.Marshal(map[string]any{"http": map[string]any{"middlewares": middlewares, "routers": routers, "services": services}})
	if err != nil {
		return nil, err
	}
	return []string{"--configFile=" + filepath.Join(s.dir, "traefik.yml")}, errors.Join(s.write("traefik.yml", static), s.write("dynamic.yml", string(dynamic)))
}

func caddy(s site) ([]string, error) {
	headers, err := shipped("caddy/gatehouse_headers.caddy")
	cookies, err2 := shipped("caddy/gatehouse_cookies.caddy")
	if err := errors.Join(err, err2, s.write("gatehouse_cookies.caddy", cookies)); err != nil {
		return nil, err
	}
	const include = "import gatehouse_headers.caddy\nimport gatehouse_cookies.caddy\n"
	snippets := include
	for _, e := range s.endpoints() {
		snippet, err := shipped("caddy/gatehouse.caddy", include, "", "(gatehouse)", "(ask_"+e+")", "127.0.0.1:4180", s.ask, "/auth/caddy", "/auth/"+e)
		if err != nil {
			return nil, err
		}
		snippets += snippet
	}
	var routes strings.Builder
	for i, path := range s.direct {
		fmt.Fprintf(&routes, "\t@direct%d path %s\n\troute @direct%[1]d {\n\t\treverse_proxy %[3]s\n\t}\n", i, path, s.ask)
	}
	for _, r := range s.routes {
		matcher := ""
		if r.prefix != "/" {
			fmt.Fprintf(&routes, "\t@%s path %s %s/*\n", r.name, r.prefix, r.prefix)
			matcher = "@" + r.name
		}
		fmt.Fprintf(&routes, "\troute %s {\n\t\timport ask_%s\n\t\treverse_proxy %s\n\t}\n", matcher, r.endpoint, r.upstream)
	}
	text, err := shipped("caddy/Caddyfile", "http://:8000 {", "http://:"+s.listen[strings.LastIndexByte(s.listen, ':')+1:]+" {\n\tbind 127.0.0.1")
	if err != nil {
		return nil, err
	}
	start, end := strings.Index(text, "\troute {\n"), strings.LastIndex(text, "}")
	text = text[:start] + routes.String() + text[end:]
	return []string{"run", "--config", "Caddyfile"}, errors.Join(s.write("gatehouse_headers.caddy", headers), s.write("gatehouse.caddy", snippets), s.write("Caddyfile", text))
}
