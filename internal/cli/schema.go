package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"gatehouse/core/config"
	"gatehouse/core/permission/expectation"
	"gatehouse/core/permission/tablefile"
	"gatehouse/internal/check"
	"gatehouse/internal/cli/terminal"
	forwardauth "gatehouse/plugins/forwardauth/settings"
)

// fileSchemas are the JSON Schemas of the files that people write.
var fileSchemas = []struct {
	kind check.Kind
	make func() []byte
}{
	{check.GateConfig, config.JSONSchema},
	{check.ForwardAuth, forwardauth.JSONSchema},
	{check.Table, tablefile.JSONSchema},
	{check.Expectations, expectation.JSONSchema},
}

func schemaCommand() *cobra.Command {
	var kinds []string
	for _, s := range fileSchemas {
		kinds = append(kinds, string(s.kind))
	}
	return &cobra.Command{
		Use:   "schema KIND",
		Short: "Print the JSON Schema of a file, for editors",
		Long: `Print the JSON Schema (draft 2020-12) of a kind of file: gatehouse for
gatehouse.yaml, forwardauth for forwardauth.yaml, permissions for a permission
table, expectations for a file of gatehouse test.

An editor that speaks the YAML language server completes and checks a file whose
first line names its schema:

    # yaml-language-server: $schema=gatehouse.schema.json`,
		Example: `  gatehouse schema gatehouse > gatehouse.schema.json
  gatehouse schema permissions`,
		ValidArgs: kinds,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				for _, s := range fileSchemas {
					if string(s.kind) == args[0] {
						_, err := cmd.OutOrStdout().Write(s.make())
						return err
					}
				}
			}
			return fmt.Errorf("name one kind of file: %s", terminal.Listing(kinds, "or"))
		},
	}
}
