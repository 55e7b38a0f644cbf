// Package luagate runs the Lua files of the gateways in Debian's nginx, with its Lua
// module. What the files call of Kong and of APISIX is a stand-in, in the folder standin:
// small, and no gateway. It routes by the longest prefix, and knows one plugin.
package luagate

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"gatehouse/dev/child"
	"gatehouse/dev/ports"
)

// Route is a prefix of paths that the plugin guards.
type Route struct {
	Prefix string `json:"prefix"`
	// Upstream is its host and port.
	Upstream string         `json:"upstream"`
	Config   map[string]any `json:"config"`
}

// Options of a gateway.
type Options struct {
	// Kind is kong or apisix.
	Kind string
	// Program is the gateway's plugin program.
	Program string
	// Repository is the folder of the product's module.
	Repository string
	// Dir is an empty folder, with a short path: it holds sockets.
	Dir     string
	Routes  []Route
	Respawn time.Duration
	// Certificate is that of the server and its key, as PEM; nil: no TLS.
	Certificate []byte
	// Lua is a folder in which Lua files are looked for before those of the product.
	Lua string
	// Address is where nginx listens for HTTP/1.1; empty: at a free port.
	Address string
}

// Gateway is a running nginx with the plugin's process.
type Gateway struct {
	// Address takes HTTP/1.1, Plain HTTP/2 without TLS, TLS both.
	Address, Plain, TLS string

	options Options
	nginx   *exec.Cmd
	exited  chan error
	program *child.Child

	mu  sync.Mutex
	log strings.Builder
}

const configuration = `
load_module /usr/lib/nginx/modules/ndk_http_module.so;
load_module /usr/lib/nginx/modules/ngx_http_lua_module.so;
USER
daemon off;
pid DIR/nginx.pid;
error_log DIR/error.log notice; # at info nginx itself writes credentials of malformed requests
worker_processes 2;
worker_shutdown_timeout 5;
events { worker_connections 4096; }
http {
	access_log off;
	client_body_temp_path DIR/body; proxy_temp_path DIR/proxy; fastcgi_temp_path DIR/fastcgi; uwsgi_temp_path DIR/uwsgi; scgi_temp_path DIR/scgi;
	client_body_buffer_size 1k;
	client_max_body_size 1m;
	large_client_header_buffers 64 32k;
	underscores_in_headers on;
	lua_package_path "LUA;DIR/?.lua;REPOSITORY/plugins/KIND/lua/?.lua;REPOSITORY/e2e/luagate/standin/KIND/?.lua;/usr/share/lua/5.1/?.lua";
	lua_package_cpath "/usr/lib/x86_64-linux-gnu/lua/5.1/?.so;/usr/lib/aarch64-linux-gnu/lua/5.1/?.so";
	lua_socket_log_errors off;
	lua_shared_dict consumers 1m;
	init_by_lua_block { require "gateway".init("DIR") }
	server {
		listen ADDRESS;
		listen PLAIN http2;
		ENCRYPTED
		set $kong_request_id $request_id;
		set $upstream "";
		location = /apisix/admin/check { # as an Admin API asks
			client_body_buffer_size 1m;
			content_by_lua_block { require "gateway".check() }
		}
		location = /admin/consumers/changed { # as the Admin API of Kong forgets what was kept
			content_by_lua_block { require "consumers".changed() }
		}
		location / {
			access_by_lua_block { require "gateway".access() }
			log_by_lua_block { require "gateway".log() }
			proxy_http_version 1.1;
			proxy_set_header Host $http_host;
			proxy_set_header Connection "";
			proxy_pass http://$upstream;
		}
	}
}
`

// encrypted is for a gateway with a certificate.
const encrypted = `listen TLS ssl http2;
		ssl_certificate DIR/server.pem;
		ssl_certificate_key DIR/server.pem;
		ssl_certificate_by_lua_block { require "gateway".certificate() }`

// SkipVariable lists the proxies that are not there, as for e2e/forwardauth.
const SkipVariable = "GATEHOUSE_SKIP_PROXIES"

// Skipped reports whether there is no nginx.
func Skipped() bool {
	return slices.Contains(strings.Split(os.Getenv(SkipVariable), ","), "nginx")
}

// Start starts the program and nginx.
func Start(o Options) (*Gateway, error) {
	free, err := ports.Addresses(3)
	if err != nil {
		return nil, err
	}
	g := &Gateway{Address: cmp.Or(o.Address, free[0]), Plain: free[1], TLS: free[2], options: o, exited: make(chan error, 1)}
	if o.Repository, err = filepath.Abs(o.Repository); err != nil {
		return nil, err
	}
	user := ""
	if os.Getuid() == 0 {
		user = "user root;" // as the socket is for its own user alone
	}
	listen := ""
	if o.Certificate != nil {
		listen = strings.NewReplacer("TLS", g.TLS, "DIR", o.Dir).Replace(encrypted)
	}
	text := strings.NewReplacer("USER", user, "DIR", o.Dir, "REPOSITORY", o.Repository, "KIND", o.Kind, "ADDRESS", g.Address,
		"PLAIN", g.Plain, "ENCRYPTED", listen, "LUA", o.Lua+"/?.lua").Replace(configuration)
	if err := errors.Join(os.WriteFile(g.file("nginx.conf"), []byte(text), 0o600), os.WriteFile(g.file("server.pem"), o.Certificate, 0o600), g.Configure(o.Routes)); err != nil {
		return nil, err
	}
	if err := g.startProgram(); err != nil {
		return g, err
	}
	g.nginx = exec.Command(nginx(), "-c", g.file("nginx.conf"), "-e", g.file("error.log"))
	if err := g.nginx.Start(); err != nil {
		return g, err
	}
	go func() { g.exited <- g.nginx.Wait() }()
	// nginx begins to listen at one address after the other.
	addresses := []string{g.Address, g.Plain}
	if listen != "" {
		addresses = append(addresses, g.TLS)
	}
	for _, address := range addresses {
		if err := g.wait(address, 20*time.Second); err != nil {
			return g, err
		}
	}
	return g, nil
}

// nginx is in a folder that a user's PATH does not have.
func nginx() string {
	if path, err := exec.LookPath("nginx"); err == nil {
		return path
	}
	return "/usr/sbin/nginx"
}

func (g *Gateway) file(name string) string { return filepath.Join(g.options.Dir, name) }

// Socket is where the program serves the gateway.
func (g *Gateway) Socket() string { return g.file("gatehouse.socket") }

func (g *Gateway) startProgram() error {
	spec := child.Spec{
		Path: g.options.Program, Env: []string{"APISIX_LISTEN_ADDRESS=unix:" + g.Socket()},
		Output:  func(_ int, line string) { g.note(line) },
		Respawn: func(time.Duration) time.Duration { return g.options.Respawn },
	}
	if g.options.Kind == "kong" {
		spec.Args, spec.Env = []string{"-kong-prefix", g.options.Dir}, []string{}
	}
	var err error
	if g.program, err = child.Start(spec); err != nil {
		return err
	}
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if c, err := net.Dial("unix", g.Socket()); err == nil {
			return c.Close()
		} else if time.Now().After(end) {
			return err
		}
	}
}

func (g *Gateway) note(line string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.log.WriteString(line + "\n")
}

// Log is what the program and nginx have logged.
func (g *Gateway) Log() string {
	text, _ := os.ReadFile(g.file("error.log")) // not there: nothing logged
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.log.String() + string(text)
}

// Serialized is what a log plugin of the gateway gets.
func (g *Gateway) Serialized() string {
	text, _ := os.ReadFile(g.file("serialized.log")) // not there: nothing logged
	return string(text)
}

func (g *Gateway) wait(address string, limit time.Duration) error {
	for end := time.Now().Add(limit); ; time.Sleep(10 * time.Millisecond) {
		c, err := net.Dial("tcp", address)
		if err == nil {
			return c.Close()
		}
		select {
		case err := <-g.exited:
			g.exited <- err
			return fmt.Errorf("nginx ended: %v\n%s", err, g.Log())
		default:
		}
		if time.Now().After(end) {
			return err
		}
	}
}

// PID is that of the program.
func (g *Gateway) PID() int { return g.program.PID() }

// NGINX is the process whose children are the workers.
func (g *Gateway) NGINX() int { return g.nginx.Process.Pid }

// Configure writes the routes, which [Gateway.Reload] puts in force.
func (g *Gateway) Configure(routes []Route) error {
	text, err := json.Marshal(routes)
	if err != nil {
		return err
	}
	return os.WriteFile(g.file("routes.json"), text, 0o600)
}

// Reload makes nginx start new workers, with the routes as they are now.
func (g *Gateway) Reload() error { return g.nginx.Process.Signal(syscall.SIGHUP) }

// Stop ends both.
func (g *Gateway) Stop() {
	if g.nginx != nil && g.nginx.Process != nil {
		g.nginx.Process.Signal(syscall.SIGTERM)
		<-g.exited
	}
	if g.program != nil {
		g.program.Stop(5 * time.Second)
	}
}
