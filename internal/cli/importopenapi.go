package cli

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"gatehouse/core/permission/draft"
	"gatehouse/core/permission/openapi"
	"gatehouse/internal/cli/gates"
	"gatehouse/internal/cli/tables"
	"gatehouse/internal/cli/terminal"
)

func importCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "import",
		Short: "Make a permission table or a configuration from those of other programs",
		Args:  cobra.NoArgs,
	}
	c.AddCommand(importOpenAPICommand(), importSQLCommand(), importKongCommand(), importAPISIXCommand(), importOAuth2ProxyCommand())
	return c
}

// documentFlags say how an OpenAPI document is read.
type documentFlags struct {
	path gates.PathFlags
	base string
}

func (f *documentFlags) register(c *cobra.Command) {
	c.Flags().StringVar(&f.base, "base-path", "", "`path` before all paths of the document (default: that of its servers); \"\" for none")
	f.path.Register(c)
}

func (f *documentFlags) read(cmd *cobra.Command, name string) (*openapi.Document, error) {
	options := openapi.Options{Path: f.path.PathOptions}
	if cmd.Flags().Changed("base-path") {
		if f.base != "" && !strings.HasPrefix(f.base, "/") {
			return nil, fmt.Errorf("--base-path %q does not begin with a slash; write it as in: /v1", f.base)
		}
		options.BasePath = &f.base
	}
	if name != "-" {
		options.Open = func(file string) ([]byte, error) {
			return terminal.ReadInput(nil, filepath.Join(filepath.Dir(name), filepath.FromSlash(file)), openapi.MaxDocument)
		}
	}
	text, err := terminal.ReadInput(cmd.InOrStdin(), name, openapi.MaxDocument)
	if err != nil {
		return nil, err
	}
	return openapi.Read(tables.ShownName(name), text, options)
}

func importOpenAPICommand() *cobra.Command {
	var document documentFlags
	by := terminal.Choice{Value: string(openapi.ByOperation), Of: []string{string(openapi.ByOperation), string(openapi.ByTag), string(openapi.ByScope)}}
	c := &cobra.Command{
		Use:   "openapi [flags] FILE",
		Short: "Make a first table from an OpenAPI 3 document",
		Long: `Make a first permission table from an OpenAPI 3.0 or 3.1 document, YAML or
JSON, - is standard input. The table goes to standard output and loads as it is.

Each operation becomes an activity, with [^/?#]+ for each parameter of its path.
Its security requirements become scopes: alternatives stay alternatives, and
scopes that are asked for together are asked for together. An operation with
"security: []" is public. One about which the document says nothing is not: it
gets a permission that nobody has.

References are followed, also to files beside the document. An operation that
refers to what cannot be read is left out and listed.

What a table cannot say is decided the stricter way and listed on top of the
table and on standard error; the exit status is then 1.`,
		Example: `  gatehouse import openapi openapi.yaml > permissions.yaml
  gatehouse import openapi --permission-per scope --base-path /v1 openapi.json`,
		Args: terminal.OneArgument("FILE"),
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return []string{"yaml", "yml", "json"}, cobra.ShellCompDirectiveFilterFileExt
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			d, err := document.read(cmd, args[0])
			if err != nil {
				return err
			}
			return printDraft(cmd, d.Table(openapi.By(by.Value)))
		},
	}
	by.Register(c, "permission-per", "", "what becomes a permission")
	document.register(c)
	return c
}

// printDraft writes a table to standard output and its notes to standard error.
func printDraft(cmd *cobra.Command, t *draft.Table) error {
	text, err := t.YAML()
	if err != nil {
		return err
	}
	if _, err := cmd.OutOrStdout().Write(text); err != nil {
		return err
	}
	for _, note := range t.Notes {
		fmt.Fprintln(cmd.ErrOrStderr(), note)
	}
	if len(t.Notes) > 0 {
		return terminal.ErrNo
	}
	return nil
}
