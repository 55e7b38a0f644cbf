// Package orytest starts real Ory servers for tests and stops them when the
// test ends.
package orytest

import (
	"context"
	"os"
	"testing"

	"gatehouse/dev/ory"
)

// SkipVariable is the environment variable that, set to anything, skips every
// test that needs the Ory servers. Without it such a test never skips: servers
// that cannot be built or started fail it.
const SkipVariable = "GATEHOUSE_SKIP_ORY"

// Binaries returns the servers, built if need be.
func Binaries(t testing.TB) ory.Binaries {
	t.Helper()
	if os.Getenv(SkipVariable) != "" {
		t.Skipf("%s is set: not running against Ory's servers", SkipVariable)
	}
	b, err := ory.Ensure(t.Context(), ory.Options{})
	if err != nil {
		t.Fatalf("the Ory servers (set %s=1 to do without): %v", SkipVariable, err)
	}
	return b
}

// Kratos starts Kratos for the test.
func Kratos(t testing.TB, c ory.KratosConfig) *ory.Kratos {
	t.Helper()
	c.Binary = Binaries(t).Kratos
	k, err := ory.StartKratos(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(k.Stop)
	return k
}

// Hydra starts Hydra for the test.
func Hydra(t testing.TB, c ory.HydraConfig) *ory.Hydra {
	t.Helper()
	c.Binary = Binaries(t).Hydra
	h, err := ory.StartHydra(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Stop)
	return h
}
