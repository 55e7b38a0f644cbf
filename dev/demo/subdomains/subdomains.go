// Package subdomains is many applications with one sign-in, for the demo and a test: two
// applications on subdomains of one domain, behind the local gateways of Kong and APISIX.
// People sign in at an OpenID provider; the cookie jwt-token of the parent domain holds the
// gate's own access token with what a team's users service says of them.
package subdomains

import (
	"context"
	"crypto/rand"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"gatehouse/core/authn/apitoken"
	"gatehouse/core/authn/apitoken/manage"
	"gatehouse/core/authn/apitoken/tokenfile"
	"gatehouse/core/upstreamtoken/signing"
	"gatehouse/dev/apisix"
	"gatehouse/dev/kong"
	"gatehouse/dev/ory"
)

// Gateways that a site can be behind.
const (
	Kong   = "Kong"
	APISIX = "APISIX"
)

// Options of a Site.
type Options struct {
	// Gateway is Kong or APISIX, and Plugin the program that it loads.
	Gateway, Plugin string
	// Hydra is the OpenID provider.
	Hydra ory.HydraAPI
	// Listen is the address of the gateway, on loopback. Browsers reach it as Origin says.
	Listen string
	// Dir takes the files of the site.
	Dir string
	// Log gets what the gateway and its plugin write.
	Log io.Writer
}

// Origin is that of an application at a gateway that listens on loopback. Each gateway has
// a domain of its own: browsers keep cookies by domain, whatever the port is.
func Origin(app, gateway, listen string) string {
	_, port, _ := net.SplitHostPort(listen)
	return "http://" + app + "." + domain(gateway) + ":" + port
}

func domain(gateway string) string { return strings.ToLower(gateway) + ".localhost" }

// Origins are those to which browsers come back from the provider.
func Origins(gateway, listen string) []string {
	return []string{Origin(login, gateway, listen), Origin(shop, gateway, listen)}
}

// The subdomains.
const (
	shop  = "shop"
	staff = "staff"
	login = "login"
)

// Site is a gateway with what is behind it.
type Site struct {
	// Script is an API token of a service account that may read orders.
	Script string

	options Options
	users   *users
	mobile  ory.Client        // an application on phones
	other   ory.Client        // an application of somebody else at the same provider
	servers map[string]string // addresses of what is behind the gateway, by name
	stops   []func()          // in the order of starting
}

// Start starts it. The context bounds the start alone; end it with Stop.
func Start(ctx context.Context, o Options) (*Site, error) {
	s := &Site{options: o, users: newUsers(rand.Text()), servers: map[string]string{}}
	if err := s.start(ctx); err != nil {
		s.Stop()
		return nil, fmt.Errorf("start the applications on subdomains behind %s: %w", o.Gateway, err)
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

// Gateway is the name of the gateway.
func (s *Site) Gateway() string { return s.options.Gateway }

// URL is that of a path of an application.
func (s *Site) URL(app, path string) string {
	return Origin(app, s.options.Gateway, s.options.Listen) + path
}

func (s *Site) start(ctx context.Context) error {
	for name, handler := range map[string]http.Handler{login: s.portal(), shop: s.shop(), staff: s.staff(), "users": s.users} {
		if err := s.serve(name, handler); err != nil {
			return err
		}
	}
	gate, err := s.register(ctx)
	if err != nil {
		return err
	}
	if err := errors.Join(s.makeKeys(), s.makeScript(ctx), s.write("permissions.yaml", permissionTable), s.write("gatehouse.yaml", s.configuration(gate))); err != nil {
		return err
	}
	if s.options.Gateway == Kong {
		return s.startKong()
	}
	return s.startAPISIX()
}

func (s *Site) shop() *app {
	return &app{
		Name: shop, Login: s.URL(login, ""), Own: s.URL(shop, "/api/v1/orders"), Other: s.URL(staff, "/api/v1/people"), origin: s.URL(staff, ""),
		fields: []field{{name: "item", value: "a lamp"}, {name: "price", value: "12 EUR", permission: "orders:prices"}},
	}
}

func (s *Site) staff() *app {
	return &app{
		Name: staff, Login: s.URL(login, ""), Own: s.URL(staff, "/api/v1/people"), Other: s.URL(shop, "/api/v1/orders"), origin: s.URL(shop, ""),
		fields: []field{{name: "name", value: "Grace"}, {name: "salary", value: "3000 EUR", permission: "people:salaries"}},
	}
}

// portal is the page on the host of the sign-in.
func (s *Site) portal() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		portal.Execute(w, map[string]string{shop: s.URL(shop, "/"), staff: s.URL(staff, "/")})
	})
}

func (s *Site) serve(name string, handler http.Handler) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	go server.Serve(l)
	s.stops = append(s.stops, func() { server.Close() })
	s.servers[name] = l.Addr().String()
	return nil
}

// register makes clients of the provider: the gate, an application on phones, and one of
// somebody else.
func (s *Site) register(ctx context.Context) (gate ory.Client, err error) {
	name := strings.ToLower(s.options.Gateway)
	gate, err = s.options.Hydra.CreateClient(ctx, ory.Client{
		ID: "apps-" + name, Name: "Shop and staff", Grants: []string{"authorization_code"}, Scopes: strings.Fields(scopes),
		RedirectURIs:         []string{s.URL(login, "/callback")},
		BackChannelLogoutURI: "http://" + s.options.Listen + "/backchannel", // where the provider knows no *.localhost
	})
	if err != nil {
		return gate, err
	}
	for id, client := range map[string]*ory.Client{"mobile-" + name: &s.mobile, "other-" + name: &s.other} {
		*client, err = s.options.Hydra.CreateClient(ctx, ory.Client{
			ID: id, Public: true, Grants: []string{"authorization_code"}, Scopes: strings.Fields(scopes), RedirectURIs: []string{"http://127.0.0.1/callback"},
		})
		if err != nil {
			return gate, err
		}
	}
	return gate, nil
}

const scopes = "openid email profile"

// makeKeys does what the command gatehouse keys generate does.
func (s *Site) makeKeys() error {
	key, err := signing.Generate("ES256", time.Now())
	if err != nil {
		return err
	}
	set, err := signing.NewSet(key)
	if err != nil {
		return err
	}
	text, err := set.Private()
	return errors.Join(err, s.write("keys.json", string(text)))
}

// makeScript does what the command gatehouse token does.
func (s *Site) makeScript(ctx context.Context) error {
	m := manage.New(manage.Options{Keeper: tokenfile.NewKeeper(s.path("tokens.yaml")), MaxLifetime: 24 * time.Hour, Now: time.Now})
	grants := apitoken.Grants{Permissions: []string{"orders:read"}}
	if err := m.SetAccount(ctx, "nightly", manage.Account{Grants: grants}, "the demo"); err != nil {
		return err
	}
	token, _, err := m.Create(ctx, manage.Request{Owner: apitoken.Owner{ServiceAccount: "nightly"}, Grants: grants, Lifetime: time.Hour})
	s.Script = token
	return err
}

//go:embed gatehouse.yaml
var configuration string

//go:embed permissions.yaml
var permissionTable string

// configuration is the file gatehouse.yaml of the documentation with addresses and secrets
// of this machine.
func (s *Site) configuration(gate ory.Client) string {
	text := origins.ReplaceAllString(configuration, strings.ReplaceAll(s.URL("APP", ""), "APP", "$1"))
	return strings.NewReplacer(
		"scheme: https", "scheme: http", "back_channel_logout_path:", "allow_missing_exp: true\n    back_channel_logout_path:", // Hydra writes no exp
		"    post_logout_redirect_uri: "+s.URL(login, "/")+"\n", "", // which Hydra takes beside an ID token alone
		"https://accounts.google.com/.well-known", s.options.Hydra.PublicURL+"/.well-known", "https://accounts.google.com", s.options.Hydra.Issuer(),
		"$env://GOOGLE_CLIENT_ID", gate.ID, "$env://GOOGLE_CLIENT_SECRET", gate.Secret, "$env://MOBILE_CLIENT_ID", s.mobile.ID,
		"https://users.example.internal", "http://"+s.servers["users"], "$env://USERS_TOKEN", s.users.token,
		"$env://SESSION_SECRET", rand.Text()+rand.Text(),
		"example.com", domain(s.options.Gateway), "/etc/gatehouse", s.options.Dir, "/var/lib/gatehouse", s.path("state"),
	).Replace(text)
}

var origins = regexp.MustCompile(`https://(\w+|\*)\.example\.com`)

func (s *Site) path(name string) string { return filepath.Join(s.options.Dir, name) }

func (s *Site) write(name, text string) error {
	return os.WriteFile(s.path(name), []byte(text), 0o600)
}

// routes are the hosts of each service.
func (s *Site) routes() map[string][]string {
	host := func(app string) string { return app + "." + domain(s.options.Gateway) }
	return map[string][]string{
		login: {host(login), "127.0.0.1"}, // the last one is the provider's back channel
		shop:  {host(shop)},
		staff: {host(staff)},
	}
}

func (s *Site) startKong() error {
	services := []any{}
	for name, hosts := range s.routes() {
		services = append(services, map[string]any{
			"name": name, "url": "http://" + s.servers[name],
			"routes":  []any{map[string]any{"name": name, "hosts": hosts}},
			"plugins": []any{map[string]any{"name": "gatehouse", "config": map[string]any{"file": s.path("gatehouse.yaml")}}},
		})
	}
	text, err := yaml.Marshal(map[string]any{"_format_version": "3.0", "services": services})
	if err := errors.Join(err, s.write("kong.yml", string(text))); err != nil {
		return err
	}
	g, err := kong.Start(kong.Options{Config: s.path("kong.yml"), Listen: s.options.Listen, PluginBinary: s.options.Plugin, Log: s.options.Log})
	if err == nil {
		s.stops = append(s.stops, g.Stop)
	}
	return err
}

func (s *Site) startAPISIX() error {
	routes := []any{}
	for name, hosts := range s.routes() {
		routes = append(routes, map[string]any{
			"id": name, "uri": "/*", "hosts": hosts,
			"plugins": map[string]any{"ext-plugin-pre-req": map[string]any{
				"conf": []any{map[string]any{"name": "gatehouse", "value": fmt.Sprintf(`{"file": %q}`, s.path("gatehouse.yaml"))}},
			}},
			"upstream": map[string]any{"type": "roundrobin", "nodes": map[string]any{s.servers[name]: 1}},
		})
	}
	text, err := yaml.Marshal(map[string]any{"routes": routes})
	if err := errors.Join(err, s.write("apisix.yaml", string(text)+"#END\n")); err != nil {
		return err
	}
	g, err := apisix.Start(apisix.Options{Config: s.path("apisix.yaml"), Listen: s.options.Listen, RunnerBinary: s.options.Plugin, Log: slog.New(slog.NewTextHandler(s.options.Log, nil))})
	if err == nil {
		s.stops = append(s.stops, func() { g.Stop() })
	}
	return err
}
