// Package bundle has the command that signs a permission table for nodes that read it
// from a web server.
package bundle

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"gatehouse/core/fleet/bundle"
	"gatehouse/core/setting"
	"gatehouse/internal/cli/tables"
)

// Command is gatehouse bundle.
func Command() *cobra.Command {
	c := &cobra.Command{
		Use:   "bundle",
		Short: "Sign a permission table for nodes that read it from a web server",
		Args:  cobra.NoArgs,
	}
	c.AddCommand(signCommand())
	return c
}

func signCommand() *cobra.Command {
	var key string
	var validFor time.Duration
	c := &cobra.Command{
		Use:   "sign --key FILE TABLE...",
		Short: "Sign the files of a table",
		Long: `Sign the files of a table, in the order in which the setting bundle.urls of the
nodes lists them. A table with an error is not signed.

The signature is a JWS without its payload (RFC 7515 appendix F) and is printed.
Its payload is the SHA-256 digests of the files in hexadecimal, one a line; its
header says when it was made (iat). Nodes load no table that was signed before
the one in force: to go back to an older table, sign it anew. With --valid-for, none
is loaded after that time, so that a table that was withdrawn cannot be handed to a
node that never had another one: sign anew, as by a timer, before it has passed.

The key is private: PEM or JWK, Ed25519, ECDSA (P-256, P-384, P-521) or RSA.`,
		Example: `  openssl genpkey -algorithm ed25519 -out bundle.key
  openssl pkey -in bundle.key -pubout -out bundle.pub
  gatehouse bundle sign --key bundle.key permissions.yaml > permissions.sig`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if validFor < 0 {
				return errors.New("--valid-for takes a time such as 168h, or 0 for no end")
			}
			private, err := setting.ReadBounded(key, setting.MaxDocument)
			if err != nil {
				return err
			}
			t, err := tables.LoadFiles(cmd.InOrStdin(), args...)
			if err != nil {
				return err
			}
			contents := make([][]byte, len(t.Files))
			for i, f := range t.Files {
				contents[i] = t.Texts[f.Name]
			}
			signature, err := bundle.Sign(private, time.Now(), validFor, contents...)
			if err != nil {
				return fmt.Errorf("%s %w", key, err)
			}
			fmt.Fprintln(cmd.OutOrStdout(), signature)
			return nil
		},
	}
	c.Flags().StringVar(&key, "key", "", "`file` with the private key")
	c.Flags().DurationVar(&validFor, "valid-for", 0, "`time` after which the signature is not loaded any more, such as 168h (exp); 0: it has no end")
	_ = c.MarkFlagRequired("key")
	_ = c.MarkFlagFilename("key", "pem", "key", "jwk")
	return c
}
