package cli

import (
	"bytes"
	"strings"
	"testing"
)

func runMain(args ...string) (status int, stdout, stderr string) {
	var out, errs bytes.Buffer
	status = Main(args, strings.NewReader(""), &out, &errs)
	return status, out.String(), errs.String()
}

func TestPasswordInTheDSNIsInNoMessage(t *testing.T) {
	for _, dsn := range []string{
		"postgres://u:s3cret@127.0.0.1:1/db?sslmode=disable", "postgres://u:s3cret@127.0.0.1:port/db", "host=/nowhere password=s3cret user=u", "password=s3cret port=x", "s3cret",
		"postgres://u:s3cret@127.0.0.1:1/db?sslmode=nonsense", "postgres://u:s3cret@[/db",
	} {
		status, stdout, stderr := runMain("import", "sql", dsn)
		if status != 2 || strings.Contains(stdout+stderr, "s3cret") {
			t.Errorf("%s: status %d\n%s%s", dsn, status, stdout, stderr)
		}
	}
}
