package cli

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"gatehouse/dev/demo"
	"gatehouse/dev/demo/subdomains"
)

// subdomainsOptions are about the part of the demo with one sign-in for applications on
// subdomains, behind further local gateways.
type subdomainsOptions struct{ kongListen, apisixListen string }

func (o *subdomainsOptions) register(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&o.kongListen, "subdomains-kong-listen", "127.0.0.1:8003", "`address` of the local Kong with applications on subdomains")
	f.StringVar(&o.apisixListen, "subdomains-apisix-listen", "127.0.0.1:9083", "`address` of the local APISIX with them")
}

// urls are those to which browsers come back from the provider.
func (o *subdomainsOptions) urls() []string {
	return append(subdomains.Origins(subdomains.Kong, o.kongListen), subdomains.Origins(subdomains.APISIX, o.apisixListen)...)
}

// start starts the applications behind each gateway.
func (o *subdomainsOptions) start(cmd *cobra.Command, d *demo.Demo, of *demoOptions, dir string, log io.Writer) (sites []*subdomains.Site, stop func(), err error) {
	stop = func() {
		for _, s := range sites {
			s.Stop()
		}
	}
	plugin, runner, err := of.plugins()
	if err != nil {
		return nil, stop, err
	}
	for _, behind := range []subdomains.Options{
		{Gateway: subdomains.Kong, Plugin: plugin, Listen: o.kongListen},
		{Gateway: subdomains.APISIX, Plugin: runner, Listen: o.apisixListen},
	} {
		name := strings.ToLower(behind.Gateway)
		behind.Hydra, behind.Log, behind.Dir = d.Hydra.HydraAPI, log, filepath.Join(dir, "subdomains-"+name)
		if err := os.MkdirAll(behind.Dir, 0o700); err != nil {
			return sites, stop, err
		}
		site, err := subdomains.Start(cmd.Context(), behind)
		if err != nil {
			return sites, stop, elsewhere(err, "--subdomains-"+name+"-listen")
		}
		sites = append(sites, site)
	}
	return sites, stop, nil
}

func checkSubdomains(cmd *cobra.Command, d *demo.Demo, sites []*subdomains.Site) error {
	out := cmd.OutOrStdout()
	for _, site := range sites {
		err := site.Check(cmd.Context(), d.Ada.ID, func(s subdomains.Step) {
			fmt.Fprintf(out, "ok    %-6s  %s: %d\n", site.Gateway(), s.Title, s.Status)
		})
		if err != nil {
			fmt.Fprintf(out, "FAIL  %-6s  %v\n", site.Gateway(), err)
			return errFailed
		}
	}
	return nil
}

func showSubdomains(out io.Writer, sites []*subdomains.Site) {
	fmt.Fprint(out, "\nOne sign-in for applications on subdomains, with a token in a cookie of the parent domain:\n\n")
	for _, site := range sites {
		fmt.Fprintf(out, "  %-6s  %s   and %s\n          a script:  curl -i -H \"Authorization: Bearer %s\" %s\n",
			site.Gateway(), site.URL("shop", "/"), site.URL("staff", "/"), site.Script, site.URL("shop", "/api/v1/orders"))
	}
}
