// Package gates has the flags of a gate, a request and a caller, once for all
// commands that decide, and the gate that they describe.
package gates

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/spf13/cobra"

	"gatehouse/core"
	"gatehouse/core/permission/report"
	"gatehouse/internal/cli/tables"
	"gatehouse/internal/cli/terminal"
	"gatehouse/internal/offline"
)

// Flags say which gate decides.
type Flags struct {
	Table  tables.Flags
	path   PathFlags
	Source offline.Source
	roots  []string
}

// Register adds the flags to a command.
func (f *Flags) Register(c *cobra.Command) {
	f.Table.Register(c)
	f.path.Register(c)
	c.Flags().StringVar(&f.Source.File, "config", "", "`file` with the gate's configuration: gatehouse.yaml, or kong.yml, apisix.yaml or forwardauth.yaml that holds some")
	c.Flags().StringVar(&f.Source.Route, "route", "", "`name` or id of the route of Kong or APISIX whose configuration counts, where the file holds several")
	c.Flags().StringVar(&f.Source.Gate, "gate", "", "`name` of the gate of gatehouse-forwardauth that counts, where the file holds several")
	c.Flags().StringArrayVar(&f.roots, "root", nil, "`folder` that holds the files of the gateway's machine, as DIR, or FROM=DIR for those below FROM; repeat it for more")
	_ = c.MarkFlagFilename("config", "yaml", "yml", "json")
}

// Gate is a gate with the table that it was made of.
type Gate struct {
	*offline.Gate
	*tables.Table
	// Name says which configuration was taken; empty for none.
	Name  string
	Notes []string
}

// Open makes the gate that the flags name.
func (f *Flags) Open(cmd *cobra.Command) (*Gate, error) {
	if f.Source.File == "" {
		return f.openDefault(cmd)
	}
	for _, name := range pathFlagNames {
		if cmd.Flags().Changed(name) {
			return nil, fmt.Errorf("--%s does not go with --config: how paths are read is in the section path of the configuration", name)
		}
	}
	var err error
	if f.Source.Roots, err = offline.ParseRoots(f.roots); err != nil {
		return nil, err
	}
	found, err := f.Source.Find()
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
	return &Gate{g, t, found.Name, found.Notes}, nil
}

// openDefault makes the gate that has a table and no configuration.
func (f *Flags) openDefault(cmd *cobra.Command) (*Gate, error) {
	for name, value := range map[string]bool{"route": f.Source.Route != "", "gate": f.Source.Gate != "", "root": f.roots != nil} {
		if value {
			return nil, fmt.Errorf("--%s goes with --config, the file of the configuration", name)
		}
	}
	t, err := f.Table.Load(cmd)
	if err != nil {
		return nil, err
	}
	g, err := offline.New(nil, f.path.PathOptions, t.Inspector)
	return &Gate{Gate: g, Table: t}, err
}

// tableOf loads the table of a configuration, unless the flags name another one.
func (f *Flags) tableOf(cmd *cobra.Command, found *offline.Found) (*tables.Table, error) {
	if len(f.Table.Paths) > 0 {
		return f.Table.Load(cmd)
	}
	if found.PermissionTable != "" {
		return tables.New([]tables.Text{{Name: "permission_table", Content: []byte(found.PermissionTable)}})
	}
	if where := found.TableElsewhere(); where != "" {
		return nil, fmt.Errorf("%s: the permission table is at %s, which this command does not call: fetch it, and name it with --table", found.Name, where)
	}
	t, err := tables.LoadFiles(cmd.InOrStdin(), f.Source.TableFiles(found)...)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w; %s names it as a file of the gateway's machine: say with --root where it is here, or name the table with --table", err, found.Name)
	}
	return t, err
}

// DecidedBy prints which configuration was taken.
func (g *Gate) DecidedBy(p *terminal.Printer) {
	if g.Name != "" {
		p.Printf("  %s\n", p.Dim("by "+g.Name))
	}
}

// ScopesLacking are those of scopes_required that a caller does not have.
func (g *Gate) ScopesLacking(p *core.Principal) []string {
	if p == nil {
		return g.ScopesRequired()
	}
	return slices.DeleteFunc(slices.Clone(g.ScopesRequired()), func(s string) bool { return slices.Contains(p.Scopes, s) })
}

// ScopesRequiredText words scopes that scopes_required lists.
func ScopesRequiredText(scopes []string) string {
	return "the scope " + terminal.Listing(scopes, "and") + ", by scopes_required"
}

// WithoutEffect are the flags that no credential of the caller's kind can state.
func (g *Gate) WithoutEffect(p *core.Principal, f *CallerFlags) []string {
	if p == nil {
		return nil
	}
	var notes []string
	cannot := g.CannotState(p.Kind, p.Issuer)
	for _, given := range []struct {
		what  string
		names []string
	}{{"roles", f.roles}, {"scopes", f.scopes}, {"permissions", f.permissions}} {
		if len(given.names) > 0 && slices.Contains(cannot, given.what) {
			notes = append(notes, fmt.Sprintf("at this gate no credential of kind %s states %s, so %s does not count", p.Kind, given.what, terminal.Listing(given.names, "and")))
		}
	}
	return notes
}

// UnknownNames finds names that neither the table nor scopes_required defines,
// which would otherwise silently grant nothing.
func (g *Gate) UnknownNames(f *CallerFlags) string {
	permissions, roles, scopes := g.Names()
	scopes = append(scopes, g.ScopesRequired()...)
	for _, list := range []struct {
		kind         string
		given, known []string
	}{{"role", f.roles, roles}, {"scope", f.scopes, scopes}, {"permission", f.permissions, permissions}} {
		for _, name := range list.given {
			if !slices.Contains(list.known, name) {
				return "the table has no " + list.kind + " " + name + report.DidYouMean(name, list.known)
			}
		}
	}
	return ""
}
