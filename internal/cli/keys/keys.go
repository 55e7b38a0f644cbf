// Package keys has the commands on the keys with which the gate signs tokens for
// services.
package keys

import (
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"gatehouse/core/setting"
	"gatehouse/core/upstreamtoken/signing"
	"gatehouse/internal/cli/terminal"
)

// Command is gatehouse keys.
func Command() *cobra.Command {
	c := &cobra.Command{
		Use:   "keys",
		Short: "Make, rotate and list the keys of upstream_token and gateway_token",
		Long: `Make, rotate and list the private keys with which the gate signs tokens for
services (upstream_token.keys), and its own (gateway_token.keys).

They are in a file: a key set (RFC 7517) that notes for each key when it begins to
sign (nbf) and when it ends (exp). A gate that names the file with $file:// follows
it. Whoever can read the file can sign as the gate: it is made with the mode 0600.`,
	}
	c.AddCommand(generateCommand(), rotateCommand(), listCommand())
	return c
}

func algorithmFlag(c *cobra.Command, to *string, normal, usage string) {
	c.Flags().StringVar(to, "algorithm", normal, "`name` of the algorithm: "+strings.Join(signing.Algorithms(), ", ")+usage)
}

func generateCommand() *cobra.Command {
	var algorithm string
	c := &cobra.Command{
		Use:     "generate [flags] FILE",
		Short:   "Make a file with a key that signs at once",
		Long:    `Make a file with a key that signs at once. A file that is there is left as it is.`,
		Example: `  gatehouse keys generate /etc/gatehouse/keys.json`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			k, err := signing.Generate(algorithm, time.Now())
			if err != nil {
				return err
			}
			set, err := signing.NewSet(k)
			if err == nil {
				err = create(args[0], set)
			}
			if err == nil {
				fmt.Fprintf(cmd.OutOrStdout(), "made the key %s (%s) in %s\n", k.ID, k.Algorithm, args[0])
			}
			return err
		},
	}
	algorithmFlag(c, &algorithm, signing.Algorithms()[0], "")
	return c
}

func rotateCommand() *cobra.Command {
	var r signing.Rotation
	c := &cobra.Command{
		Use:   "rotate [flags] FILE",
		Short: "Add a key that will sign, and end the one before",
		Long: `Add a key, which is published at once and signs after --publish, when every service
has fetched the key set anew. The key before is published for --keep after that, so
that its last tokens still verify. Keys that have ended are removed.

While a key waits to sign, the file is left as it is, with exit status 2: a job that
runs too often does no harm. All nodes need the new file before the key signs.`,
		Example: `  gatehouse keys rotate /etc/gatehouse/keys.json
  gatehouse keys rotate --algorithm EdDSA --publish 24h --keep 2h keys.json`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if r.Publish < 0 || r.Keep < 0 {
				return fmt.Errorf("--publish and --keep are no times before now")
			}
			set, err := read(args[0])
			if err != nil {
				return err
			}
			renewed, added, err := set.Rotate(r, time.Now())
			if err == nil {
				err = replace(args[0], renewed)
			}
			if err == nil {
				fmt.Fprintf(cmd.OutOrStdout(), "added the key %s (%s) to %s; it signs from %s on\n", added.ID, added.Algorithm, args[0], moment(added.Begins))
			}
			return err
		},
	}
	algorithmFlag(c, &r.Algorithm, "", " (default: that of the key that signs)")
	c.Flags().DurationVar(&r.Publish, "publish", time.Hour, "`time` for which the new key is published before it signs: longer than services keep the key set")
	c.Flags().DurationVar(&r.Keep, "keep", 2*time.Hour, "`time` for which the key before is published after it has signed: longer than upstream_token.ttl and gateway_token.ttl")
	return c
}

// listed is a key in the output for programs. It holds no private key.
type listed struct {
	ID        string    `json:"id"`
	Algorithm string    `json:"algorithm"`
	State     string    `json:"state"`
	Added     time.Time `json:"added,omitzero"`
	Begins    time.Time `json:"begins,omitzero"`
	Ends      time.Time `json:"ends,omitzero"`
}

func listCommand() *cobra.Command {
	var output terminal.OutputFlags
	c := &cobra.Command{
		Use:   "list [flags] FILE",
		Short: "List the keys of a file, and which of them signs",
		Long: `List the keys of a file: signs is the one that signs now, waits will sign later,
published only verifies, ended is of no use any more. No private key is printed.`,
		Example: `  gatehouse keys list /etc/gatehouse/keys.json`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			set, err := read(args[0])
			if err != nil {
				return err
			}
			rows := states(set, time.Now())
			if output.JSON() {
				return terminal.PrintJSON(cmd.OutOrStdout(), rows)
			}
			print(output.Printer(cmd), rows)
			return nil
		},
	}
	output.Register(c)
	return c
}

func print(p *terminal.Printer, rows []listed) {
	var head []terminal.Cell
	for _, name := range []string{"STATE", "ALGORITHM", "SIGNS FROM", "ENDS", "KEY"} {
		head = append(head, terminal.Dim(name))
	}
	table := [][]terminal.Cell{head}
	for _, r := range rows {
		var cells []terminal.Cell
		for _, text := range []string{r.State, r.Algorithm, moment(r.Begins), moment(r.Ends), r.ID} {
			cells = append(cells, terminal.Plain(text))
		}
		table = append(table, cells)
	}
	p.Rows("", table)
}

func states(set *signing.Set, now time.Time) []listed {
	signer, _ := set.Signer(now)
	rows := []listed{}
	for _, k := range set.Keys() {
		row := listed{k.ID, k.Algorithm, "published", k.Added, k.Begins, k.Ends}
		switch {
		case signer != nil && k.ID == signer.ID:
			row.State = "signs"
		case !k.Ends.IsZero() && !k.Ends.After(now):
			row.State = "ended"
		case k.Begins.After(now):
			row.State = "waits"
		}
		rows = append(rows, row)
	}
	return rows
}

func moment(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format(time.RFC3339)
}

func read(path string) (*signing.Set, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Mode().Perm()&0o007 != 0 {
		return nil, fmt.Errorf("everybody on this machine can read or write %s (mode %04o): take the key for lost, or chmod 0600 and go on", path, info.Mode().Perm())
	}
	text, err := setting.ReadBounded(path, setting.MaxDocument)
	if err != nil {
		return nil, err
	}
	set, err := signing.Parse(string(text))
	if err != nil {
		return nil, fmt.Errorf("%s: the keys %w", path, err)
	}
	return set, nil
}
