package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"

	"gatehouse/dev/apisix"
	"gatehouse/dev/demo"
	"gatehouse/dev/kong"
)

type demoOptions struct {
	kongListen, apisixListen string
	kongPlugin, apisixRunner string
	traefik                  traefikOptions
	subdomains               subdomainsOptions
	check, backendsOnly      bool
	writeTo                  string
}

func demoCommand() *cobra.Command {
	var o demoOptions
	c := &cobra.Command{
		Use:   "demo",
		Short: "Start Kratos, Hydra, five services and both local gateways, and show requests to try",
		Example: `  gatehouse-dev demo
  gatehouse-dev demo --check
  gatehouse-dev demo --backends-only --write external/`,
		Args: cobra.NoArgs,
		RunE: untilSignal(func(cmd *cobra.Command, _ []string) error { return o.run(cmd) }),
	}
	f := c.Flags()
	f.StringVar(&o.kongListen, "kong-listen", "127.0.0.1:8000", "`address` of the local Kong")
	f.StringVar(&o.apisixListen, "apisix-listen", "127.0.0.1:9080", "`address` of the local APISIX")
	f.StringVar(&o.kongPlugin, "kong-plugin", "", "Kong plugin `binary` (default: "+kongPlugin+" beside this program)")
	f.StringVar(&o.apisixRunner, "apisix-runner", "", "APISIX runner `binary` (default: "+apisixRunner+" beside this program)")
	o.traefik.register(c)
	o.subdomains.register(c)
	f.BoolVar(&o.check, "check", false, "make every request that the demo shows, compare the responses, and stop")
	f.BoolVar(&o.backendsOnly, "backends-only", false, "start everything but the gateways, on fixed ports")
	f.StringVar(&o.writeTo, "write", "", "`folder` to write kong.yml and apisix.yaml to (default: a temporary one)")
	c.AddCommand(demoPartCommands()...)
	return c
}

func (o *demoOptions) run(cmd *cobra.Command) error {
	out := cmd.OutOrStdout()
	dir, err := o.folder()
	if err != nil {
		return err
	}
	if o.writeTo == "" {
		defer os.RemoveAll(dir)
	}
	fmt.Fprintln(out, "Starting Kratos, Hydra and the services. Their first build takes some minutes.")
	d, err := o.startBackends(cmd)
	if err != nil {
		return err
	}
	defer d.Stop()
	if err := writeGatewayFiles(d, dir); err != nil {
		return err
	}
	if o.backendsOnly {
		fmt.Fprintf(out, "Running on the fixed ports. Give %s/kong.yml to Kong and %[1]s/apisix.yaml to APISIX. Ctrl-C stops everything.\n", dir)
		<-cmd.Context().Done()
		return nil
	}
	return o.withGateways(cmd, d, dir)
}

func (o *demoOptions) folder() (string, error) {
	if o.writeTo == "" {
		return os.MkdirTemp("", "gatehouse-demo-")
	}
	dir, err := filepath.Abs(o.writeTo)
	if err != nil {
		return "", err
	}
	return dir, os.MkdirAll(dir, 0o755)
}

func (o *demoOptions) startBackends(cmd *cobra.Command) (*demo.Demo, error) {
	options := demo.Options{
		Log: cmd.OutOrStdout(),
		Gateways: []demo.Gateway{
			{Name: "Kong", URL: "http://" + o.kongListen},
			{Name: "APISIX", URL: "http://" + o.apisixListen},
		},
	}
	if o.backendsOnly {
		options.Ports = demo.FixedPorts
	} else {
		options.Sites = append(o.subdomains.urls(), o.traefik.url())
	}
	return demo.Start(cmd.Context(), options)
}

func writeGatewayFiles(d *demo.Demo, dir string) error {
	kongYAML, err := d.KongYAML()
	if err != nil {
		return err
	}
	apisixYAML, err := d.APISIXYAML()
	if err != nil {
		return err
	}
	luaYAML, err := d.APISIXLuaYAML()
	if err != nil {
		return err
	}
	return errors.Join(
		os.WriteFile(filepath.Join(dir, "kong.yml"), kongYAML, 0o644),
		os.WriteFile(filepath.Join(dir, "apisix.yaml"), apisixYAML, 0o644),
		os.WriteFile(filepath.Join(dir, "apisix-lua.yaml"), luaYAML, 0o644),
	)
}

func (o *demoOptions) withGateways(cmd *cobra.Command, d *demo.Demo, dir string) error {
	log, err := os.Create(filepath.Join(dir, "gateways.log"))
	if err != nil {
		return err
	}
	defer log.Close()
	gateways, stop, err := o.startGateways(dir, log)
	if err != nil {
		return err
	}
	defer stop()
	site, err := o.traefik.start(cmd, d, dir, log)
	if err != nil {
		return err
	}
	if site != nil {
		defer site.Stop()
	}
	sites, stopSites, err := o.subdomains.start(cmd, d, o, dir, log)
	defer stopSites()
	if err != nil {
		return err
	}
	if o.check {
		return errors.Join(checkDemo(cmd.Context(), cmd.OutOrStdout(), d, gateways), checkSubdomains(cmd, d, sites), checkTraefik(cmd, d, site))
	}
	if err := showDemo(cmd.Context(), cmd.OutOrStdout(), d, gateways, dir); err != nil {
		return err
	}
	showSubdomains(cmd.OutOrStdout(), sites)
	showTraefik(cmd.OutOrStdout(), site)
	<-cmd.Context().Done()
	fmt.Fprintln(cmd.OutOrStdout(), "\nStopping.")
	return nil
}

// startGateways starts both local gateways with the binaries that the real
// ones load.
func (o *demoOptions) startGateways(dir string, log io.Writer) (gateways []demo.Gateway, stop func(), err error) {
	plugin, runner, err := o.plugins()
	if err != nil {
		return nil, nil, err
	}
	k, err := kong.Start(kong.Options{Config: filepath.Join(dir, "kong.yml"), Listen: o.kongListen, PluginBinary: plugin, Log: log})
	if err != nil {
		return nil, nil, elsewhere(err, "--kong-listen")
	}
	a, err := apisix.Start(apisix.Options{Config: filepath.Join(dir, "apisix.yaml"), Listen: o.apisixListen, RunnerBinary: runner, Log: slog.New(slog.NewTextHandler(log, nil))})
	if err != nil {
		k.Stop()
		return nil, nil, elsewhere(err, "--apisix-listen")
	}
	stop = func() { a.Stop(); k.Stop() }
	return []demo.Gateway{{Name: "Kong", URL: k.URL()}, {Name: "APISIX", URL: a.URL()}}, stop, nil
}

// plugins are the programs that the gateways load.
func (o *demoOptions) plugins() (plugin, runner string, err error) {
	if plugin, err = pluginBinary(o.kongPlugin, kongPlugin); err != nil {
		return "", "", err
	}
	runner, err = pluginBinary(o.apisixRunner, apisixRunner)
	return plugin, runner, err
}

// elsewhere says how to get out of the way of what listens already, such as the
// gateway that the demo stands in for.
func elsewhere(err error, flag string) error {
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("%w; choose another address with %s", err, flag)
	}
	return err
}

func checkDemo(ctx context.Context, out io.Writer, d *demo.Demo, gateways []demo.Gateway) error {
	failed := 0
	for _, g := range gateways {
		for _, request := range d.Requests() {
			got, err := request.Do(ctx, g)
			if err == nil {
				err = request.Check(got)
			}
			if err != nil {
				failed++
				fmt.Fprintf(out, "FAIL  %-6s  %s: %v\n", g.Name, request.Title, err)
				continue
			}
			fmt.Fprintf(out, "ok    %-6s  %s: %d\n", g.Name, request.Title, got.Status)
		}
	}
	if failed > 0 {
		fmt.Fprintf(out, "%d of the demo's requests were not answered as they should be.\n", failed)
		return errFailed
	}
	return nil
}

// showDemo makes each request once and prints it as a curl line with what
// came of it.
func showDemo(ctx context.Context, out io.Writer, d *demo.Demo, gateways []demo.Gateway, dir string) error {
	env := filepath.Join(dir, "env")
	if err := os.WriteFile(env, []byte(d.Environment()), 0o600); err != nil {
		return err
	}
	fmt.Fprintf(out, `
Gatehouse is running behind Kong's and APISIX's protocols, with the binaries they load.

  Kong    %s
  APISIX  %s
  site    %s   (sign in, register, consent; ada: %s / %s)

In another terminal, take over fresh credentials:

  . %s

and try, on either gateway:
`, gateways[0].URL, gateways[1].URL, d.SiteURL, d.Ada.Email, d.Ada.Password, env)
	for _, request := range d.Requests() {
		got, err := request.Do(ctx, gateways[0])
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "\n# %s\n%s\n%s", request.Title, request.Curl("$KONG"), got.Summary("    "))
	}
	fmt.Fprintf(out, `
Put $APISIX in place of $KONG for the other gateway. In a browser, open %s/hello:
you are sent to sign in and come back. The permission table is in dev/demo/permissions.yaml,
the gateways' configuration in %s. Ctrl-C stops everything.
`, gateways[0].URL, dir)
	return nil
}
