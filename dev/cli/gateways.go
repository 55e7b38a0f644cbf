package cli

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"gatehouse/dev/apisix"
	"gatehouse/dev/kong"
)

// Where the plugin binaries are, seen from the folder of this one.
const (
	kongPlugin   = "kong/gatehouse"
	apisixRunner = "apisix/gatehouse-runner"
)

func standIn(gateway string) string {
	return fmt.Sprintf(`Run a small reverse proxy that reads %s's declarative configuration, starts the
real plugin binary and speaks %[1]s's protocol with it. It is a stand-in for
development and tests, checked against recorded traffic of %[1]s, and not for
production.`, gateway)
}

const (
	skipHelp = "leave out plugins, consumers and the like that are not supported, and say so in the log"
	argsHelp = "`arguments` of the plugin's process, separated by spaces, such as \"-admin 127.0.0.1:9464\""
)

// words is a flag of words; a second use adds some.
type words []string

func (w *words) String() string { return strings.Join(*w, " ") }
func (w *words) Type() string   { return "words" }
func (w *words) Set(text string) error {
	*w = append(*w, strings.Fields(text)...)
	return nil
}

func kongCommand() *cobra.Command {
	o := kong.Options{}
	c := &cobra.Command{
		Use:     "kong --config kong.yml",
		Short:   "Local Kong: DB-less configuration, ProtoBuf:1 plugin protocol",
		Long:    standIn("Kong"),
		Example: "  gatehouse-dev kong --config kong.yml --listen 127.0.0.1:8000\n  gatehouse-dev kong --config kong.yml --skip-unsupported --plugin-args '-admin 127.0.0.1:9464'",
		Args:    cobra.NoArgs,
		RunE: untilSignal(func(cmd *cobra.Command, _ []string) (err error) {
			if o.PluginBinary, err = pluginBinary(o.PluginBinary, kongPlugin); err != nil {
				return err
			}
			o.Log = cmd.ErrOrStderr()
			return withAdvice(kong.Run(cmd.Context(), o), o.SkipUnsupported)
		}),
	}
	c.Flags().StringVar(&o.Config, "config", "kong.yml", "declarative configuration `file`; reloaded when it changes")
	c.Flags().StringVar(&o.Listen, "listen", "127.0.0.1:8000", "`address` to listen on")
	c.Flags().BoolVar(&o.SkipUnsupported, "skip-unsupported", false, skipHelp)
	c.Flags().Var((*words)(&o.PluginArgs), "plugin-args", argsHelp)
	c.Flags().StringVar(&o.PluginBinary, "plugin", "", "plugin `binary`; its name is the plugin's (default: "+kongPlugin+" beside this program)")
	return c
}

func apisixCommand() *cobra.Command {
	o := apisix.Options{}
	c := &cobra.Command{
		Use:     "apisix --config apisix.yaml",
		Short:   "Local APISIX: standalone configuration, ext-plugin protocol",
		Long:    standIn("APISIX"),
		Example: "  gatehouse-dev apisix --config apisix.yaml --listen 127.0.0.1:9080",
		Args:    cobra.NoArgs,
		RunE: untilSignal(func(cmd *cobra.Command, _ []string) (err error) {
			if o.Settings != "" && o.RunnerBinary == "" && len(o.RunnerArgs) > 0 {
				return errors.New("--plugin-args goes with --runner; ext-plugin.cmd of the settings has its arguments itself")
			}
			if o.Settings == "" || o.RunnerBinary != "" {
				if o.RunnerBinary, err = pluginBinary(o.RunnerBinary, apisixRunner); err != nil {
					return err
				}
			}
			o.Log = slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), nil))
			return withAdvice(apisix.Run(cmd.Context(), o), o.SkipUnsupported)
		}),
	}
	c.Flags().StringVar(&o.Config, "config", "apisix.yaml", "standalone configuration `file`; re-read when it changes")
	c.Flags().StringVar(&o.Settings, "settings", "", "config.yaml, for its ext-plugin.cmd")
	c.Flags().StringVar(&o.Listen, "listen", "127.0.0.1:9080", "`address` to listen on")
	c.Flags().BoolVar(&o.SkipUnsupported, "skip-unsupported", false, skipHelp)
	c.Flags().Var((*words)(&o.RunnerArgs), "plugin-args", argsHelp)
	c.Flags().StringVar(&o.RunnerBinary, "runner", "", "runner `binary` (default: "+apisixRunner+" beside this program)")
	c.Flags().StringSliceVar(&o.Env, "env", nil, "`names` of environment variables to pass on to the runner")
	return c
}

// withAdvice says how a file of a real gateway is run here.
func withAdvice(err error, skips bool) error {
	if err == nil || skips || !strings.Contains(err.Error(), "the local gateway") {
		return err
	}
	return fmt.Errorf("%w\n--skip-unsupported leaves out plugins, consumers and the like that the local gateway does not run", err)
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
