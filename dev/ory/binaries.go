package ory

import (
	"context"

	"gatehouse/dev/pinned"
)

// Options say where the servers are built from and kept: .cache/ory in the
// checkout around the working directory, unless they say otherwise.
type Options = pinned.Options

// Binaries are the paths of the two server programs.
type Binaries struct {
	Kratos string
	Hydra  string
}

var (
	kratosProgram = pinned.Program{
		Name: "kratos", Package: "github.com/ory/kratos", Tags: "sqlite,json1", Cgo: true,
		Module: "dev/ory/kratos", Cache: "ory", Mark: "Build Commit:",
	}
	hydraProgram = pinned.Program{
		Name: "hydra", Package: "github.com/ory/hydra/v2", Tags: "sqlite", Cgo: true,
		Module: "dev/ory/hydra", Cache: "ory", Mark: "Git Hash:",
	}
)

// Ensure returns the servers, building whichever is neither on PATH nor in the
// cache; see [pinned.Ensure].
func Ensure(ctx context.Context, o Options) (Binaries, error) {
	kratos, err := pinned.Ensure(ctx, o, kratosProgram)
	if err != nil {
		return Binaries{}, err
	}
	hydra, err := pinned.Ensure(ctx, o, hydraProgram)
	if err != nil {
		return Binaries{}, err
	}
	return Binaries{Kratos: kratos, Hydra: hydra}, nil
}
