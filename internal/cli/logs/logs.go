// Package logs has the flags of commands that read access logs.
package logs

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"gatehouse/core/permission/accesslog"
	"gatehouse/internal/cli/terminal"
)

// Flags say how a log is read, and who called.
type Flags struct {
	Host      string
	UserField string
	users     []string
	format    string
}

// Register adds the flags to a command.
func (f *Flags) Register(c *cobra.Command) {
	c.Flags().StringVar(&f.UserField, "user-field", "", "`field` of the log that names the caller's roles: a dotted path in JSON lines, remote_user in others")
	c.Flags().StringArrayVar(&f.users, "user", nil, "`NAME=ROLE,ROLE` for a user that --user-field finds; repeat it for more (default: the field holds roles)")
	c.Flags().StringVar(&f.Host, "host", "", "`name` of the host that is called where the log does not say (default: one that no table names)")
	c.Flags().StringVar(&f.format, "format", "", "`pattern` of the lines, as in log_format of nginx ('$host \"$request\" $status') or APISIX ('{\"m\": \"$request_method\", \"u\": \"$request_uri\"}'; members in any order) (default: each line tells its format)")
}

// Options are what the flags say.
func (f *Flags) Options() (o accesslog.Options, err error) {
	o.UserField = f.UserField
	if f.format != "" {
		if o.Format, err = accesslog.NewFormat(f.format); err != nil {
			return o, fmt.Errorf("--format: %w", err)
		}
	}
	return o, nil
}

// Users are the roles of the users that the flags name; nil: the field holds roles.
func (f *Flags) Users() (map[string][]string, error) {
	if len(f.users) == 0 {
		return nil, nil
	}
	if f.UserField == "" {
		return nil, errors.New("--user needs --user-field, the field of the log that names the user")
	}
	users := map[string][]string{}
	for _, text := range f.users {
		user, roles, ok := strings.Cut(text, "=")
		if !ok || user == "" {
			return nil, fmt.Errorf("--user %q is no mapping; write NAME=ROLE,ROLE", text)
		}
		for role := range strings.SplitSeq(roles, ",") {
			if role != "" {
				users[user] = append(users[user], role)
			}
		}
	}
	return users, nil
}

// Open opens a log, or standard input for "-".
func Open(stdin io.Reader, name string) (io.ReadCloser, error) {
	if name == "-" {
		return io.NopCloser(stdin), nil
	}
	f, err := os.Open(name)
	return f, terminal.PlainPathError(err)
}

// Empty is the error of a log in which no request was found: line is the first that was
// not read, and reason why.
func Empty(shown string, lines, line int, reason string) error {
	if lines == 0 {
		return fmt.Errorf("%s: the log is empty", shown)
	}
	return fmt.Errorf("%s: no line holds a request that can be read (line %d: %s); give an access log in one of the formats that gatehouse help replay lists, or the pattern of its lines with --format", shown, line, reason)
}
