package cli

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/spf13/cobra"

	"gatehouse/internal/offline"
)

// gateFlags say which gate decides.
type gateFlags struct {
	table  tableFlags
	path   pathFlags
	source offline.Source
	roots  []string
}

func (f *gateFlags) register(c *cobra.Command) {
	f.table.register(c)
	f.path.register(c)
	c.Flags().StringVar(&f.source.File, "config", "", "`file` with the gate's configuration: gatehouse.yaml, or kong.yml, apisix.yaml or forwardauth.yaml that holds some")
	c.Flags().StringVar(&f.source.Route, "route", "", "`name` or id of the route of Kong or APISIX whose configuration counts, where the file holds several")
	c.Flags().StringVar(&f.source.Gate, "gate", "", "`name` of the gate of gatehouse-forwardauth that counts, where the file holds several")
	c.Flags().StringArrayVar(&f.roots, "root", nil, "`folder` that holds the files of the gateway's machine, as DIR, or FROM=DIR for those below FROM; repeat it for more")
	_ = c.MarkFlagFilename("config", "yaml", "yml", "json")
}

// openGate is a gate with the table that it was made of.
type openGate struct {
	*offline.Gate
	*table
	// Name says which configuration was taken; empty for none.
	Name  string
	Notes []string
}

// open makes the gate that the flags name.
func (f *gateFlags) open(cmd *cobra.Command) (*openGate, error) {
	if f.source.File == "" {
		return f.openDefault(cmd)
	}
	for _, name := range pathFlagNames {
		if cmd.Flags().Changed(name) {
			return nil, fmt.Errorf("--%s does not go with --config: how paths are read is in the section path of the configuration", name)
		}
	}
	var err error
	if f.source.Roots, err = offline.ParseRoots(f.roots); err != nil {
		return nil, err
	}
	found, err := f.source.Find()
	if err != nil {
		return nil, err
	}
	t, err := f.tableOf(cmd, found)
	if err != nil {
		return nil, err
	}
	g, err := offline.New(found.Config, f.path.PathOptions, t.Inspector)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", found.Name, err)
	}
	return &openGate{g, t, found.Name, found.Notes}, nil
}

// openDefault makes the gate that has a table and no configuration.
func (f *gateFlags) openDefault(cmd *cobra.Command) (*openGate, error) {
	for name, value := range map[string]bool{"route": f.source.Route != "", "gate": f.source.Gate != "", "root": f.roots != nil} {
		if value {
			return nil, fmt.Errorf("--%s goes with --config, the file of the configuration", name)
		}
	}
	t, err := f.table.load(cmd)
	if err != nil {
		return nil, err
	}
	g, err := offline.New(nil, f.path.PathOptions, t.Inspector)
	return &openGate{Gate: g, table: t}, err
}

// tableOf loads the table of a configuration, unless the flags name another one.
func (f *gateFlags) tableOf(cmd *cobra.Command, found *offline.Found) (*table, error) {
	if len(f.table.paths) > 0 {
		return f.table.load(cmd)
	}
	if found.PermissionTable != "" {
		return newTable([]tableText{{"permission_table", []byte(found.PermissionTable)}})
	}
	t, err := loadFiles(cmd.InOrStdin(), f.source.TableFiles(found)...)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w; %s names it as a file of the gateway's machine: say with --root where it is here, or name the table with --table", err, found.Name)
	}
	return t, err
}
