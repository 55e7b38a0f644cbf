// Package demo starts everything around the gateways: the real Kratos and
// Hydra, five upstreams that repeat what they receive, the login and consent
// site, and people, OAuth 2.0 clients and fresh credentials to try. The command
// `gatehouse-dev demo` and the end-to-end tests put gateways in front of it.
package demo

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"gatehouse/dev/demo/site"
	"gatehouse/dev/demo/upstream"
	"gatehouse/dev/ory"
)

// The upstreams. The first two are pages for people who are signed in, the
// others APIs for tokens with the scope NAME:read.
const (
	Hello    = "hello"
	World    = "world"
	Users    = "users"
	Products = "products"
	Orders   = "orders"
)

// Names of all upstreams.
var Names = []string{Hello, World, Users, Products, Orders}

// Options say where everything listens. The zero value works.
type Options struct {
	// Binaries are the servers. Empty: from [ory.Ensure].
	Binaries ory.Binaries
	// Log gets the output of builds. Nil: standard error.
	Log io.Writer
	// Listen is the address that everything listens on. Default 127.0.0.1.
	Listen string
	// Host is the name in all URLs. Default: Listen. The gateways must be reached
	// by the same name, because browsers keep cookies by host.
	Host string
	// Ports are the ports; each that is zero is a free one. See [FixedPorts].
	Ports Ports
	// Gateways are where the gateways will be, so that a browser may return there.
	// Each is expected to have the upstream NAME below /NAME.
	Gateways []Gateway
	// Sites are the base URLs of further sites at which people sign in by Hydra.
	Sites []string
}

// Gateway is a gateway by its name and base URL, without a trailing slash.
type Gateway struct {
	Name string
	URL  string
}

// Ports of everything.
type Ports struct {
	KratosPublic, KratosAdmin             int
	HydraPublic, HydraAdmin               int
	Site                                  int
	Hello, World, Users, Products, Orders int
}

// FixedPorts are the ports for gateways that run elsewhere and have these
// written in their configuration.
var FixedPorts = Ports{
	KratosPublic: 4433, KratosAdmin: 4434,
	HydraPublic: 4444, HydraAdmin: 4445,
	Site:  4455,
	Hello: 5001, World: 5002, Users: 5003, Products: 5004, Orders: 5005,
}

func (p Ports) upstream(name string) int {
	switch name {
	case Hello:
		return p.Hello
	case World:
		return p.World
	case Users:
		return p.Users
	case Products:
		return p.Products
	}
	return p.Orders
}

// Demo is everything that runs.
type Demo struct {
	Kratos    *ory.Kratos
	Hydra     *ory.Hydra
	Upstreams map[string]*upstream.Server
	// SiteURL is the base URL of the site, without a trailing slash.
	SiteURL string
	Accounts

	options Options
	stops   []func() // in the order of starting
}

// Start starts everything. The context bounds the start alone; end it with Stop.
func Start(ctx context.Context, o Options) (*Demo, error) {
	if o.Listen == "" {
		o.Listen = "127.0.0.1"
	}
	if o.Host == "" {
		o.Host = o.Listen
	}
	d := &Demo{options: o, Upstreams: map[string]*upstream.Server{}}
	if err := d.start(ctx); err != nil {
		d.Stop()
		return nil, fmt.Errorf("start the demo: %w", err)
	}
	return d, nil
}

func (d *Demo) start(ctx context.Context) error {
	if err := d.findServers(ctx); err != nil {
		return err
	}
	if err := d.startUpstreams(); err != nil {
		return err
	}
	// Kratos and Hydra need the site's address and the site needs theirs, so its
	// port is taken first and served last.
	listener, err := d.listen(d.options.Ports.Site)
	if err != nil {
		return fmt.Errorf("the site: %w", err)
	}
	d.SiteURL = d.url(listener.Addr())
	if err := d.startOry(ctx); err != nil {
		listener.Close()
		return err
	}
	if d.Accounts, err = Provision(ctx, d.Kratos.KratosAPI, d.Hydra.HydraAPI, d.SiteURL, ""); err != nil {
		listener.Close()
		return err
	}
	return d.startSite(listener)
}

// Stop ends everything, last started first.
func (d *Demo) Stop() {
	for len(d.stops) > 0 {
		last := len(d.stops) - 1
		d.stops[last]()
		d.stops = d.stops[:last]
	}
}

// LoginURL is where to send a browser that has to sign in, with the page it
// came for as the query parameter return_to.
func (d *Demo) LoginURL() string { return d.SiteURL + "/login" }

// RegistrationURL is LoginURL for people without an account.
func (d *Demo) RegistrationURL() string { return d.SiteURL + "/registration" }

// UpstreamURL is the base URL of an upstream, without a trailing slash.
func (d *Demo) UpstreamURL(name string) string { return d.url(d.Upstreams[name].Addr()) }

func (d *Demo) url(a net.Addr) string {
	port := strconv.Itoa(a.(*net.TCPAddr).Port)
	u := url.URL{Scheme: "http", Host: net.JoinHostPort(d.options.Host, port)}
	return u.String()
}

func (d *Demo) findServers(ctx context.Context) error {
	if d.options.Binaries != (ory.Binaries{}) {
		return nil
	}
	binaries, err := ory.Ensure(ctx, ory.Options{Log: d.options.Log})
	d.options.Binaries = binaries
	return err
}

func (d *Demo) startUpstreams() error {
	for _, name := range Names {
		s, err := upstream.Start(name, d.address(d.options.Ports.upstream(name)))
		if err != nil {
			return err
		}
		d.Upstreams[name] = s
		d.stops = append(d.stops, s.Close)
	}
	return nil
}

func (d *Demo) address(port int) string {
	return net.JoinHostPort(d.options.Listen, strconv.Itoa(port))
}

func (d *Demo) listen(port int) (net.Listener, error) { return net.Listen("tcp", d.address(port)) }

func (d *Demo) startOry(ctx context.Context) (err error) {
	o := d.options
	d.Kratos, err = ory.StartKratos(ctx, ory.KratosConfig{
		Binary: o.Binaries.Kratos, Listen: o.Listen, Host: o.Host,
		PublicPort: o.Ports.KratosPublic, AdminPort: o.Ports.KratosAdmin,
		UI: d.SiteURL, ReturnURLs: o.gatewayURLs(),
	})
	if err != nil {
		return err
	}
	d.stops = append(d.stops, d.Kratos.Stop)

	d.Hydra, err = ory.StartHydra(ctx, ory.HydraConfig{
		Binary: o.Binaries.Hydra, Listen: o.Listen, Host: o.Host,
		PublicPort: o.Ports.HydraPublic, AdminPort: o.Ports.HydraAdmin,
		UI: d.SiteURL,
	})
	if err != nil {
		return err
	}
	d.stops = append(d.stops, d.Hydra.Stop)
	return nil
}

func (o Options) gatewayURLs() []string {
	var urls []string
	for _, g := range o.Gateways {
		urls = append(urls, g.URL)
	}
	return append(urls, o.Sites...)
}

func (d *Demo) startSite(l net.Listener) error {
	pages, apis := d.options.links()
	handler, err := site.New(site.Config{
		URL: d.SiteURL, Kratos: d.Kratos.KratosAPI, Hydra: d.Hydra.HydraAPI,
		ReturnURLs: d.options.gatewayURLs(), Links: pages, Client: d.Web, APIs: apis,
		Log: slog.Default(),
	})
	if err != nil {
		l.Close()
		return err
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 30 * time.Second, IdleTimeout: 2 * time.Minute}
	go server.Serve(l)
	d.stops = append(d.stops, func() { server.Close() })
	return nil
}

// links are the pages and the APIs behind every gateway.
func (o Options) links() (pages, apis []site.Link) {
	for _, g := range o.Gateways {
		for _, name := range []string{Hello, World} {
			pages = append(pages, site.Link{Name: name + " behind " + g.Name, URL: g.URL + "/" + name})
		}
		for _, name := range []string{Users, Products, Orders} {
			apis = append(apis, site.Link{Name: name + " behind " + g.Name, URL: g.URL + "/" + name + "/123"})
		}
	}
	return pages, apis
}
