package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"gatehouse/internal/cli/tables"
	"gatehouse/internal/cli/terminal"
	"gatehouse/internal/signinimport"
)

// aboutSignIns is what the help of the commands that import a sign-in has in common.
const aboutSignIns = `The configuration goes to standard output and loads as it is, with a permission
table for all calls of the site.

It is never more open than what it is made of. A setting that has no
counterpart, or means something else, is listed on top of the configuration and
on standard error; the exit status is then 1. A restriction that cannot be said
closes the gate until you have decided. Secrets are not copied: the
configuration refers to environment variables, which are listed, too.`

func importKongCommand() *cobra.Command {
	return importPluginCommand("kong", "Kong", "kong.yml", signinimport.Kong)
}

func importAPISIXCommand() *cobra.Command {
	return importPluginCommand("apisix", "APISIX", "apisix.yaml", signinimport.APISIX)
}

func importPluginCommand(word, gateway, example string, read func(map[string]any, signinimport.Options) (*signinimport.Draft, error)) *cobra.Command {
	var o signinimport.Options
	var route string
	c := &cobra.Command{
		Use:   word + " [flags] FILE",
		Short: fmt.Sprintf("Make a configuration from %s's openid-connect", gateway),
		Long: fmt.Sprintf(`Make gatehouse.yaml from the configuration of %s's plugin openid-connect, in
any file of the gateway, YAML or JSON; - is standard input.

%s`, gateway, aboutSignIns),
		Example: fmt.Sprintf("  gatehouse import %s %s > gatehouse.yaml\n  gatehouse import %s --route app --redirect-uri https://app.example.com/callback %s", word, example, word, example),
		Args:    terminal.OneArgument("FILE"),
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return []string{"yaml", "yml", "json"}, cobra.ShellCompDirectiveFilterFileExt
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			text, err := terminal.ReadInput(cmd.InOrStdin(), args[0], signinimport.MaxDocument)
			if err != nil {
				return err
			}
			name := tables.ShownName(args[0])
			plugins, err := signinimport.Plugins(text)
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			values, err := signinimport.Choose(plugins, route)
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			draft, err := read(values, o)
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			return printSignIn(cmd, draft, fmt.Sprintf("Made of %s's openid-connect in %s.", gateway, name))
		},
	}
	c.Flags().StringVar(&route, "route", "", "`name` of the route or service that has the plugin, where several have one")
	registerRedirectURI(c, &o)
	return c
}

func importOAuth2ProxyCommand() *cobra.Command {
	var o signinimport.Options
	c := &cobra.Command{
		Use:   "oauth2-proxy [flags] FILE...",
		Short: "Make a configuration from one of oauth2-proxy",
		Long: `Make gatehouse.yaml from the configuration of oauth2-proxy: its file (TOML), the
alpha configuration (YAML), a file of variables (OAUTH2_PROXY_NAME=value), or one
of flags (--name=value, one a line). Of several files the later counts where
both name a setting; give flags last. - is standard input.

` + aboutSignIns,
		Example: `  gatehouse import oauth2-proxy oauth2-proxy.cfg > gatehouse.yaml
  gatehouse import oauth2-proxy oauth2-proxy.cfg alpha.yaml oauth2-proxy.env`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var files []map[string]any
			var names []string
			for _, arg := range args {
				text, err := terminal.ReadInput(cmd.InOrStdin(), arg, signinimport.MaxDocument)
				if err != nil {
					return err
				}
				name := tables.ShownName(arg)
				values, err := signinimport.ReadOAuth2Proxy(text)
				if err != nil {
					return fmt.Errorf("%s: %w", name, err)
				}
				files, names = append(files, values), append(names, name)
			}
			in := strings.Join(names, ", ")
			draft, err := signinimport.OAuth2Proxy(signinimport.Merge(files...), o)
			if err != nil {
				return fmt.Errorf("%s: %w", in, err)
			}
			return printSignIn(cmd, draft, "Made of the configuration of oauth2-proxy in "+in+".")
		},
	}
	registerRedirectURI(c, &o)
	return c
}

func registerRedirectURI(c *cobra.Command, o *signinimport.Options) {
	c.Flags().StringVar(&o.RedirectURI, "redirect-uri", "", "`URL` that is registered with the provider, where the file has none")
}

// printSignIn writes a configuration to standard output, and what is to be known of it to
// standard error.
func printSignIn(cmd *cobra.Command, d *signinimport.Draft, heading string) error {
	text, err := d.YAML(heading)
	if err != nil {
		return err
	}
	if _, err := cmd.OutOrStdout().Write(text); err != nil {
		return err
	}
	for _, e := range d.Exports {
		fmt.Fprintf(cmd.ErrOrStderr(), "export %s: %s\n", e.Name, e.What)
	}
	for _, note := range d.Notes {
		fmt.Fprintln(cmd.ErrOrStderr(), signinimport.OneLine(note))
	}
	if len(d.Notes) > 0 {
		return terminal.ErrNo
	}
	return nil
}
