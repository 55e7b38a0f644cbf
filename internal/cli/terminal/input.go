package terminal

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/spf13/cobra"
)

// ReadInput reads a file, or standard input for "-". One byte more than limit
// is read at most, so that a reader that knows the limit can refuse.
func ReadInput(stdin io.Reader, name string, limit int64) ([]byte, error) {
	r := stdin
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, PlainPathError(err)
		}
		defer f.Close()
		r = f
	}
	text, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, PlainPathError(err)
	}
	return text, nil
}

// PlainPathError words an error of the file system as file: reason.
func PlainPathError(err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		return fmt.Errorf("%s: %w", path.Path, path.Err)
	}
	return err
}

// OneArgument is the shape of the arguments of commands that read one thing.
func OneArgument(name string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) != 1 {
			return fmt.Errorf("got %s; give one %s", Plural(len(args), "argument", "arguments"), name)
		}
		return nil
	}
}

// CompleteTables completes the names of YAML files.
func CompleteTables(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return []string{"yaml", "yml"}, cobra.ShellCompDirectiveFilterFileExt
}
