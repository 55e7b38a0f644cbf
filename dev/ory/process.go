package ory

import (
	"context"
	"encoding/json"
	"io"
	"maps"
	"net"
	"strconv"

	"gatehouse/dev/ports"
	"gatehouse/dev/process"
)

// launch is what start needs to know about a server.
type launch struct {
	name   string
	binary string
	args   []string
	config map[string]any // written as JSON, which the servers take as they take YAML
	files  map[string][]byte
	ready  string    // URL that responds with 200 once the server serves
	log    io.Writer // may be nil
}

func start(ctx context.Context, l launch) (*process.Process, error) {
	content, err := json.MarshalIndent(l.config, "", "  ")
	if err != nil {
		return nil, err
	}
	config := l.name + ".json"
	files := map[string][]byte{config: content}
	maps.Copy(files, l.files)
	return process.Start(ctx, process.Launch{
		Name: l.name, Binary: l.binary, Args: append(l.args, "--config", config, "--dev", "--sqa-opt-out"),
		Env: []string{"SQA_OPT_OUT=true"}, Files: files, Ready: l.ready, Log: l.log,
	})
}

// onPorts calls try with the wanted ports, zero meaning one that no program listens
// on. They are held while the server starts. A fixed port that is taken is
// refused: the server there, perhaps one like ours from an earlier run, would
// respond to the readiness probe in its stead.
func onPorts[T any](host string, public, admin int, try func(public, admin int) (T, error)) (server T, err error) {
	a, err := ports.Hold(net.JoinHostPort(host, strconv.Itoa(public)))
	if err != nil {
		return server, err
	}
	defer a.Release()
	b, err := ports.Hold(net.JoinHostPort(host, strconv.Itoa(admin)))
	if err != nil {
		return server, err
	}
	defer b.Release()
	return try(a.Port(), b.Port())
}
