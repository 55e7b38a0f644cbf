package cli

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"gatehouse/internal/devgateway/apisix"
	"gatehouse/internal/devgateway/kong"
)

// Where the plugin binaries are, seen from the folder of this one.
const (
	kongPlugin   = "kong/gatehouse"
	apisixRunner = "apisix/gatehouse-runner"
)

func devCommand() *cobra.Command {
	dev := &cobra.Command{
		Use:   "dev",
		Short: "Run a local gateway that loads the real plugin binary",
		Long: `Run a small reverse proxy that reads the real gateway's declarative
configuration, starts the real plugin binary and speaks the real protocol with
it. It is for development and tests, not for production.`,
	}
	dev.AddCommand(devKongCommand(), devAPISIXCommand())
	return dev
}

func devKongCommand() *cobra.Command {
	o := kong.Options{}
	c := &cobra.Command{
		Use:     "kong --config kong.yml",
		Short:   "Local Kong: DB-less configuration, ProtoBuf:1 plugin protocol",
		Example: "  gatehouse dev kong --config kong.yml --listen 127.0.0.1:8000",
		Args:    cobra.NoArgs,
		RunE: untilSignal(func(cmd *cobra.Command, _ []string) (err error) {
			if o.PluginBinary, err = pluginBinary(o.PluginBinary, kongPlugin); err != nil {
				return err
			}
			o.Log = cmd.ErrOrStderr()
			return kong.Run(cmd.Context(), o)
		}),
	}
	c.Flags().StringVar(&o.Config, "config", "kong.yml", "declarative configuration `file`; reloaded when it changes")
	c.Flags().StringVar(&o.Listen, "listen", "127.0.0.1:8000", "`address` to listen on")
	c.Flags().StringVar(&o.PluginBinary, "plugin", "", "plugin `binary`; its name is the plugin's (default: "+kongPlugin+" beside this program)")
	return c
}

func devAPISIXCommand() *cobra.Command {
	o := apisix.Options{}
	c := &cobra.Command{
		Use:     "apisix --config apisix.yaml",
		Short:   "Local APISIX: standalone configuration, ext-plugin protocol",
		Example: "  gatehouse dev apisix --config apisix.yaml --listen 127.0.0.1:9080",
		Args:    cobra.NoArgs,
		RunE: untilSignal(func(cmd *cobra.Command, _ []string) (err error) {
			if o.Settings == "" || o.RunnerBinary != "" {
				if o.RunnerBinary, err = pluginBinary(o.RunnerBinary, apisixRunner); err != nil {
					return err
				}
			}
			o.Log = slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), nil))
			return apisix.Run(cmd.Context(), o)
		}),
	}
	c.Flags().StringVar(&o.Config, "config", "apisix.yaml", "standalone configuration `file`; re-read when it changes")
	c.Flags().StringVar(&o.Settings, "settings", "", "config.yaml, for its ext-plugin.cmd")
	c.Flags().StringVar(&o.Listen, "listen", "127.0.0.1:9080", "`address` to listen on")
	c.Flags().StringVar(&o.RunnerBinary, "runner", "", "runner `binary` (default: "+apisixRunner+" beside this program)")
	c.Flags().StringSliceVar(&o.Env, "env", nil, "`names` of environment variables to pass on to the runner")
	return c
}

// pluginBinary returns the given binary or the one built beside this program.
func pluginBinary(given, name string) (string, error) {
	path := given
	if path == "" {
		self, err := os.Executable()
		if err != nil {
			return "", err
		}
		path = filepath.Join(filepath.Dir(self), name)
	}
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("the plugin binary is missing: %w; build it with make build or name another", err)
	}
	return filepath.Abs(path)
}
