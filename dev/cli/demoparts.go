package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"gatehouse/dev/demo"
	"gatehouse/dev/demo/upstream"
)

// demoPartCommands are the parts of the demo one by one, for the containers of
// deploy/. They are hidden: who wants a demo wants all of it.
func demoPartCommands() []*cobra.Command {
	return []*cobra.Command{demoUpstreamCommand(), demoSeedCommand(), demoSiteCommand(), demoReadyCommand()}
}

func demoUpstreamCommand() *cobra.Command {
	var name, listen string
	c := &cobra.Command{
		Use:    "upstream",
		Short:  "Run one service of the demo, which answers with what it received",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: untilSignal(func(cmd *cobra.Command, _ []string) error {
			s, err := upstream.Start(name, listen)
			if err != nil {
				return err
			}
			defer s.Close()
			<-cmd.Context().Done()
			return nil
		}),
	}
	c.Flags().StringVar(&name, "name", demo.Hello, "`name` of the service")
	c.Flags().StringVar(&listen, "listen", "127.0.0.1:8080", "`address` to listen on")
	return c
}

func demoSeedCommand() *cobra.Command {
	var o partsOptions
	c := &cobra.Command{
		Use:    "seed",
		Short:  "Create the people, clients and credentials of the demo in running servers",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: untilSignal(func(cmd *cobra.Command, _ []string) error {
			parts, err := o.parts()
			if err != nil {
				return err
			}
			return parts.Seed(cmd.Context(), o.dir)
		}),
	}
	o.register(c)
	return c
}

func demoSiteCommand() *cobra.Command {
	var o partsOptions
	var listen string
	c := &cobra.Command{
		Use:    "site",
		Short:  "Run the login and consent site of the demo",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: untilSignal(func(cmd *cobra.Command, _ []string) error {
			parts, err := o.parts()
			if err != nil {
				return err
			}
			handler, err := parts.Site(o.dir, slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), nil)))
			if err != nil {
				return err
			}
			return serveUntilDone(cmd.Context(), listen, handler)
		}),
	}
	o.register(c)
	c.Flags().StringVar(&listen, "listen", "127.0.0.1:4455", "`address` to listen on")
	return c
}

func serveUntilDone(ctx context.Context, listen string, handler http.Handler) error {
	server := &http.Server{
		Addr: listen, Handler: handler,
		ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 30 * time.Second, IdleTimeout: 2 * time.Minute,
	}
	stop := context.AfterFunc(ctx, func() { server.Close() })
	defer stop()
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func demoReadyCommand() *cobra.Command {
	return &cobra.Command{
		Use:    "ready URL",
		Short:  "Succeed if a URL answers with 200 to 299: a health check for images without a shell",
		Hidden: true,
		Args:   cobra.ExactArgs(1),
		RunE: untilSignal(func(cmd *cobra.Command, args []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), 5*time.Second)
			defer cancel()
			request, err := http.NewRequestWithContext(ctx, http.MethodGet, args[0], nil)
			if err != nil {
				return err
			}
			response, err := http.DefaultClient.Do(request)
			if err != nil {
				return err
			}
			defer response.Body.Close()
			if response.StatusCode < 200 || response.StatusCode > 299 {
				fmt.Fprintf(cmd.ErrOrStderr(), "%s answers %s\n", args[0], response.Status)
				return errFailed
			}
			return nil
		}),
	}
}

// partsOptions say where the other parts are. The defaults are the demo's
// fixed ports.
type partsOptions struct {
	kratosPublic, kratosAdmin string
	hydraPublic, hydraAdmin   string
	site                      string
	gateways, connectTo       []string
	dir                       string
}

func (o *partsOptions) register(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&o.kratosPublic, "kratos-public", "http://127.0.0.1:4433", "`URL` of Kratos' public API, as browsers see it")
	f.StringVar(&o.kratosAdmin, "kratos-admin", "http://127.0.0.1:4434", "`URL` of Kratos' admin API")
	f.StringVar(&o.hydraPublic, "hydra-public", "http://127.0.0.1:4444", "`URL` of Hydra's public API, as browsers see it")
	f.StringVar(&o.hydraAdmin, "hydra-admin", "http://127.0.0.1:4445", "`URL` of Hydra's admin API")
	f.StringVar(&o.site, "site", "http://127.0.0.1:4455", "`URL` of the site, as browsers see it")
	f.StringArrayVar(&o.gateways, "gateway", nil, "gateway as `NAME=URL`; may be repeated")
	f.StringArrayVar(&o.connectTo, "connect-to", nil, "`FROM=TO`: connect to the address TO for URLs that name FROM (host:port), as a browser outside would reach it; may be repeated")
	f.StringVar(&o.dir, "dir", ".", "`folder` with the credentials")
}

func (o *partsOptions) parts() (demo.Parts, error) {
	p := demo.Parts{SiteURL: o.site}
	p.Kratos.PublicURL, p.Kratos.AdminURL = o.kratosPublic, o.kratosAdmin
	p.Hydra.PublicURL, p.Hydra.AdminURL = o.hydraPublic, o.hydraAdmin
	for _, text := range o.gateways {
		name, url, ok := strings.Cut(text, "=")
		if !ok {
			return p, fmt.Errorf("--gateway %s: want NAME=URL", text)
		}
		p.Gateways = append(p.Gateways, demo.Gateway{Name: name, URL: url})
	}
	return p, connectTo(o.connectTo)
}

// connectTo has every call of this process connect to TO where a URL names
// FROM: containers know each other by other names than browsers do.
func connectTo(pairs []string) error {
	instead := map[string]string{}
	for _, pair := range pairs {
		from, to, ok := strings.Cut(pair, "=")
		if !ok {
			return fmt.Errorf("--connect-to %s: want FROM=TO", pair)
		}
		instead[from] = to
	}
	transport := http.DefaultTransport.(*http.Transport) // this is what net/http declares it with
	dialer := &net.Dialer{Timeout: 10 * time.Second}
	transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		if to, ok := instead[address]; ok {
			address = to
		}
		return dialer.DialContext(ctx, network, address)
	}
	return nil
}
