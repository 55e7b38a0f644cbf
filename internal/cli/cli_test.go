package cli

import (
	"testing"

	"github.com/spf13/cobra"
)

func TestEveryCommandOnTablesHasAnExample(t *testing.T) {
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		if !c.HasSubCommands() && (c.Short == "" || c.Example == "") {
			t.Errorf("%s lacks a short description or an example", c.CommandPath())
		}
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	for _, c := range Command().Commands() {
		if c.GroupID == aboutTables {
			walk(c)
		}
	}
}
