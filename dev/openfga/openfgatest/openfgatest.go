// Package openfgatest starts a real OpenFGA for tests and stops it when the test ends.
package openfgatest

import (
	"context"
	"os"
	"testing"

	"gatehouse/dev/openfga"
)

// SkipVariable is the environment variable that, set to anything, skips every test that
// needs OpenFGA. Without it such a test never skips.
const SkipVariable = "GATEHOUSE_SKIP_OPENFGA"

// Start starts OpenFGA, built if need be.
func Start(t testing.TB, c openfga.Config) *openfga.Server {
	t.Helper()
	if os.Getenv(SkipVariable) != "" {
		t.Skipf("%s is set: not running against OpenFGA", SkipVariable)
	}
	var err error
	if c.Binary, err = openfga.Ensure(t.Context()); err != nil {
		t.Fatalf("OpenFGA (set %s=1 to do without): %v", SkipVariable, err)
	}
	s, err := openfga.Start(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	return s
}
