// Package traefik is the part of the demo where people sign in at the gate: a real
// Traefik asks gatehouse-forwardauth before each request to two applications, foo and
// bar. The gate knows an OpenID provider and no Kratos.
package traefik

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"gatehouse/dev/child"
	"gatehouse/dev/demo/upstream"
	"gatehouse/dev/ory"
	"gatehouse/dev/pinned"
	"gatehouse/dev/ports"
)

// Program is Traefik, which is built from its module.
var Program = pinned.Program{
	Name: "traefik", Package: "github.com/traefik/traefik/v3/cmd/traefik", Module: "e2e/forwardauth/servers/traefik", Cache: "proxies",
}

// Options of a Site.
type Options struct {
	// Hydra is the OpenID provider.
	Hydra ory.HydraAPI
	// Traefik and Service are the programs traefik and gatehouse-forwardauth.
	Traefik, Service string
	// Listen is the address of Traefik, on loopback. Browsers reach it as URL says.
	Listen string
	// Dir takes the files of both.
	Dir string
	// Log gets what both write.
	Log io.Writer
}

// URL is the base URL of a site that Traefik serves at an address of loopback: over plain
// HTTP, browsers keep the cookies of a sign-in for localhost only.
func URL(listen string) string {
	_, port, _ := net.SplitHostPort(listen)
	return "http://localhost:" + port
}

// Site is Traefik with what is behind it.
type Site struct {
	// URL is the base URL.
	URL string
	Foo *upstream.Server
	Bar *upstream.Server

	options Options
	stops   []func() // in the order of starting
}

// clientID is the gate's name at the provider.
const clientID = "foo"

// Start starts it. The context bounds the start alone; end it with Stop.
func Start(ctx context.Context, o Options) (*Site, error) {
	s := &Site{URL: URL(o.Listen), options: o}
	if err := s.start(ctx); err != nil {
		s.Stop()
		return nil, fmt.Errorf("start the site behind Traefik: %w", err)
	}
	return s, nil
}

// Stop ends everything, last started first.
func (s *Site) Stop() {
	for len(s.stops) > 0 {
		last := len(s.stops) - 1
		s.stops[last]()
		s.stops = s.stops[:last]
	}
}

func (s *Site) start(ctx context.Context) (err error) {
	_, err = s.options.Hydra.CreateClient(ctx, ory.Client{
		ID: clientID, Name: "foo and bar", Public: true, Grants: []string{"authorization_code", "refresh_token"}, Scopes: []string{"openid", "offline"},
		RedirectURIs: []string{s.URL + "/rbac/callback"}, PostLogoutRedirectURIs: []string{s.URL + "/foo/public"},
	})
	if err != nil {
		return err
	}
	if s.Foo, err = s.application("foo"); err != nil {
		return err
	}
	if s.Bar, err = s.application("bar"); err != nil {
		return err
	}
	service, err := ports.Hold("127.0.0.1:0")
	if err != nil {
		return err
	}
	s.stops = append(s.stops, service.Release)
	if err := s.write(service.Addr()); err != nil {
		return err
	}
	if err := s.run(ctx, service.Addr(), s.options.Service, "-config", "forwardauth.yaml"); err != nil {
		return err
	}
	if err := s.run(ctx, s.options.Listen, s.options.Traefik, "--configFile=traefik.yml"); err != nil {
		return err
	}
	return s.awaitRoutes(ctx)
}

func (s *Site) application(name string) (*upstream.Server, error) {
	u, err := upstream.Start(name, "127.0.0.1:0")
	if err == nil {
		s.stops = append(s.stops, u.Close)
	}
	return u, err
}

// write writes the files of deploy/traefik with addresses of this machine.
func (s *Site) write(service string) error {
	values := strings.NewReplacer(
		"SITE", s.URL, "DISCOVERY", s.options.Hydra.PublicURL+"/.well-known/openid-configuration", "SECRET", rand.Text()+rand.Text(),
		"SERVICE", service, "LISTEN", s.options.Listen, "FOO", s.Foo.Addr().String(), "BAR", s.Bar.Addr().String(),
	)
	var err error
	for name, text := range files {
		err = errors.Join(err, os.WriteFile(filepath.Join(s.options.Dir, name), []byte(values.Replace(text)), 0o600))
	}
	return err
}

var files = map[string]string{
	"forwardauth.yaml": `listen: [{address: "SERVICE"}]
trusted_proxies: [127.0.0.1]
endpoints:
  - {path: /auth/traefik, dialect: traefik, gate: main}
  - {dialect: direct, gate: main}
gates:
  main:
    realm: foo
    login:
      oidc:
        providers: [{name: hydra, discovery: "DISCOVERY", client_id: ` + clientID + `, scope: openid offline}]
        start_path: /rbac/login
        redirect_uri: SITE/rbac/callback
        logout_path: /rbac/logout
        post_logout_redirect_uri: SITE/foo/public
        login_redirect_path: /foo
        session: {secret: ["SECRET"]}
    upstream_headers: {X-Auth-User: sub}
    permission_table: |
      authenticated: ["GET,HEAD,POST /(foo|bar)"]
      public: ["GET,HEAD /foo/public"]
`,
	"traefik.yml": `entryPoints:
  web:
    address: "LISTEN"
    transport: {lifeCycle: {graceTimeOut: 1ms}}
    http: {underscoreHeadersStrategy: delete}
providers: {file: {filename: dynamic.yml}}
`,
	"dynamic.yml": `http:
  middlewares:
    gatehouse:
      forwardAuth:
        address: http://SERVICE/auth/traefik
        trustForwardHeader: false
        maxResponseBodySize: 65536
        authResponseHeaders: [X-Auth-User]
        addAuthCookiesToResponse: [` + sessionCookie + `, ` + sessionCookie + `.0, ` + sessionCookie + `.1, ` + sessionCookie + `.2]
    no-upgrade:
      headers: {customRequestHeaders: {Upgrade: ""}}
  routers:
    foo: {rule: "PathPrefix(` + "`/foo`" + `)", middlewares: [no-upgrade, gatehouse], service: foo}
    bar: {rule: "PathPrefix(` + "`/bar`" + `)", middlewares: [no-upgrade, gatehouse], service: bar}
    gatehouse: {rule: "Path(` + "`/rbac/login`) || Path(`/rbac/callback`) || Path(`/rbac/logout`" + `)", middlewares: [no-upgrade], service: gatehouse}
  services:
    foo: {loadBalancer: {servers: [{url: "http://FOO"}]}}
    bar: {loadBalancer: {servers: [{url: "http://BAR"}]}}
    gatehouse: {loadBalancer: {servers: [{url: "http://SERVICE"}]}}
`,
}

const (
	startLimit = time.Minute
	stopLimit  = 10 * time.Second
)

// run starts a program that listens at an address.
func (s *Site) run(ctx context.Context, address, path string, args ...string) error {
	name, ended := filepath.Base(path), make(chan struct{})
	var last struct {
		sync.Mutex
		line string
	}
	process, err := child.Start(child.Spec{
		Path: path, Args: args, Dir: s.options.Dir,
		Output: func(_ int, line string) {
			last.Lock()
			defer last.Unlock()
			last.line = line
			fmt.Fprintf(s.options.Log, "%s: %s\n", name, line)
		},
		Exited: func(int, error) { close(ended) },
	})
	if err != nil {
		return err
	}
	s.stops = append(s.stops, func() { process.Stop(stopLimit) })
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	for {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-ended:
			last.Lock()
			defer last.Unlock()
			return fmt.Errorf("%s has ended: %s", name, last.line)
		case <-ctx.Done():
			return fmt.Errorf("%s does not listen on %s: %w", name, address, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// awaitRoutes waits until Traefik has read its routes.
func (s *Site) awaitRoutes(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	b := newBrowser(s)
	for {
		response, err := b.open(ctx, http.MethodGet, "/foo/public")
		if err == nil && response.StatusCode == http.StatusOK {
			s.Foo.Forget()
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(errors.New("Traefik has no route to foo"), err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}
