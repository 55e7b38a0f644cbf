package revoke

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"gatehouse/core/revocation"
)

// ListCommand is gatehouse revocations.
func ListCommand() *cobra.Command {
	var at places
	var asJSON bool
	c := &cobra.Command{
		Use:     "revocations",
		Short:   "List the revocations that are in force",
		Long:    "List the revocations that are in force, the last one first: what is revoked, since\nwhen and until when, by whom and why. They are those that Redis and PostgreSQL hold\nfor a fleet (--config), or those that a process knows (--admin).",
		Example: "  gatehouse revocations --config gatehouse.yaml\n  gatehouse revocations --admin unix:/run/gatehouse/admin.sock",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			ways, err := at.ways()
			if err != nil {
				return err
			}
			defer closeAll(ways)
			var failed error
			for _, w := range ways {
				for _, l := range w.by.List(c.Context()) {
					if l.err != nil {
						failed = errors.Join(failed, fmt.Errorf("%s: %w", l.place, l.err))
						continue
					}
					if err := show(c, l.place, l.events, asJSON); err != nil {
						return err
					}
				}
			}
			return failed
		},
	}
	at.register(c)
	c.Flags().BoolVar(&asJSON, "json", false, "print one JSON object a revocation")
	return c
}

func show(c *cobra.Command, name string, events []revocation.Event, asJSON bool) error {
	if asJSON {
		encoder := json.NewEncoder(c.OutOrStdout())
		for _, e := range events {
			if err := encoder.Encode(e); err != nil {
				return err
			}
		}
		return nil
	}
	fmt.Fprintf(c.OutOrStdout(), "%s: %d in force\n", name, len(events))
	if len(events) == 0 {
		return nil
	}
	t := tabwriter.NewWriter(c.OutOrStdout(), 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "KIND\tVALUE\tISSUER\tAT\tUNTIL\tSOURCE\tREASON")
	for _, e := range events {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", kind(e), plain(e.Value), plain(e.Issuer), moment(e.At), moment(e.Until), plain(e.Source), plain(e.Reason))
	}
	return t.Flush()
}

// kind says of an event that it only has a provider asked.
func kind(e revocation.Event) string {
	if e.Verify {
		return string(e.Kind) + " (ask)"
	}
	return string(e.Kind)
}

func moment(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// plain keeps a text that somebody else has written from moving the cursor.
func plain(text string) string {
	quoted := fmt.Sprintf("%q", text)
	if quoted[1:len(quoted)-1] != text {
		return quoted
	}
	return cmp.Or(text, "-")
}
