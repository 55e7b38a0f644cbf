package cli

import (
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"gatehouse/dev/demo"
	"gatehouse/dev/demo/traefik"
	"gatehouse/dev/pinned"
)

// forwardAuth is where gatehouse-forwardauth is, seen from the folder of this program.
const forwardAuth = "forwardauth/gatehouse-forwardauth"

// traefikOptions are about the part of the demo behind Traefik.
type traefikOptions struct{ listen, service string }

func (o *traefikOptions) register(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&o.listen, "traefik-listen", "127.0.0.1:8002", "`address` of Traefik, which is left out if it is not built")
	f.StringVar(&o.service, "forwardauth", "", "`binary` of the service that Traefik asks (default: "+forwardAuth+" beside this program)")
}

func (o *traefikOptions) url() string { return traefik.URL(o.listen) }

// start starts it; nil: what it needs is not there.
func (o *traefikOptions) start(cmd *cobra.Command, d *demo.Demo, dir string, log io.Writer) (*traefik.Site, error) {
	program, err := pinned.Find(pinned.Options{}, traefik.Program)
	if err != nil {
		fmt.Fprintf(cmd.OutOrStdout(), "The sign-in behind Traefik is left out: %v.\n", err)
		return nil, nil
	}
	service, err := pluginBinary(o.service, forwardAuth)
	if err != nil {
		return nil, err
	}
	files := filepath.Join(dir, "traefik")
	if err := os.MkdirAll(files, 0o700); err != nil {
		return nil, err
	}
	site, err := traefik.Start(cmd.Context(), traefik.Options{
		Hydra: d.Hydra.HydraAPI, Traefik: program, Service: service, Listen: o.listen, Dir: files, Log: log,
	})
	return site, elsewhere(err, "--traefik-listen")
}

func checkTraefik(cmd *cobra.Command, d *demo.Demo, site *traefik.Site) error {
	if site == nil {
		return nil
	}
	out := cmd.OutOrStdout()
	err := site.Check(cmd.Context(), d.Ada.ID, func(s traefik.Step) {
		if s.Err == nil {
			fmt.Fprintf(out, "ok    %-6s  %s: %d\n", "Traefik", s.Title, s.Status)
		}
	})
	if err != nil {
		fmt.Fprintf(out, "FAIL  %-6s  %v\n", "Traefik", err)
		return errFailed
	}
	return nil
}

func showTraefik(out io.Writer, site *traefik.Site) {
	if site == nil {
		return
	}
	fmt.Fprintf(out, `
Behind a real Traefik people sign in at the gate itself, which knows Hydra and no Kratos.
In a browser, open %s/foo and then %[1]s/bar; %[1]s/rbac/logout signs out.
`, site.URL)
}
