package kong

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"gatehouse/dev/child"
	"gatehouse/dev/kong/schema"
)

// dump is what a plugin binary says about itself.
type dump struct {
	Protocol string
	Plugins  []struct {
		Name     string
		Phases   []string
		Version  string
		Priority int
		Schema   any
	}
}

const dumpTimeout = 30 * time.Second

// queryPlugin runs "<binary> -dump" and reads the schema, as strictly as Kong
// needs it to be.
func queryPlugin(ctx context.Context, binary string, env []string) (*schema.Plugin, error) {
	ctx, cancel := context.WithTimeout(ctx, dumpTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, "-dump")
	cmd.Env = env
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s -dump: %w\n%s", binary, err, stderr.Bytes())
	}
	plugin, err := readDump(out)
	if err != nil {
		return nil, fmt.Errorf("%s -dump: %w", binary, err)
	}
	return plugin, nil
}

func readDump(out []byte) (*schema.Plugin, error) {
	var d dump
	if err := json.Unmarshal(out, &d); err != nil {
		return nil, fmt.Errorf("standard output must be one JSON value and nothing else: %w", err)
	}
	if d.Protocol == "" {
		return nil, errors.New(`no "Protocol": Kong would take MsgPack:1, which fails open; it must be "ProtoBuf:1"`)
	}
	if d.Protocol != "ProtoBuf:1" {
		return nil, fmt.Errorf("protocol %q: the local gateway speaks ProtoBuf:1 only", d.Protocol)
	}
	if len(d.Plugins) == 0 {
		return nil, errors.New("no plugin in it")
	}
	info := d.Plugins[0] // Kong looks at no other
	if !strings.ContainsAny(info.Version, "0123456789") {
		return nil, fmt.Errorf("version %q: Kong does not start with a plugin whose version has no number in it", info.Version)
	}
	for _, phase := range info.Phases {
		if phase != "access" {
			return nil, fmt.Errorf("phase %q: the local gateway runs the access phase only", phase)
		}
	}
	if len(info.Phases) == 0 {
		return nil, errors.New("the plugin handles no phase")
	}
	plugin, err := schema.ParsePlugin(info.Schema)
	if err != nil {
		return nil, fmt.Errorf("schema violation:\n%w", err)
	}
	plugin.Name, plugin.Priority = info.Name, info.Priority
	return plugin, nil
}

// respawn is Kong's rule: at once, or a second after the last start if the
// server died younger than that.
func respawn(lived time.Duration) time.Duration {
	return max(0, time.Second-lived)
}

// startServer runs "<binary> <args> -kong-prefix <prefix>" and keeps it running.
func startServer(binary string, args []string, prefix string, env []string, log *slog.Logger) (*child.Child, error) {
	name := filepath.Base(binary)
	return child.Start(child.Spec{
		Path: binary, Args: append(slices.Clone(args), "-kong-prefix", prefix), Env: env, Respawn: respawn,
		Output: child.LogTo(log, name),
		Exited: func(pid int, err error) {
			log.Info("external pluginserver terminated", "plugin", name, "pid", pid, "reason", reason(err))
		},
	})
}

func reason(err error) string {
	if err == nil {
		return "exit status 0"
	}
	return err.Error()
}

// maxSocketPath is what a Unix socket address holds on the tightest system.
const maxSocketPath = 103

func socketPath(binary, prefix string) (string, error) {
	path := filepath.Join(prefix, filepath.Base(binary)+".socket")
	if len(path) > maxSocketPath {
		return "", fmt.Errorf("%s: too long for a socket, %d bytes are the limit: choose a shorter prefix", path, maxSocketPath)
	}
	return path, nil
}

// awaitSocket waits until the plugin server accepts. Kong does not wait and
// responds with 500 meanwhile; a developer wants to know.
func awaitSocket(ctx context.Context, path string) error {
	ctx, cancel := context.WithTimeout(ctx, socketTimeout)
	defer cancel()
	for {
		conn, err := new(net.Dialer).DialContext(ctx, "unix", path)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the plugin server does not listen on %s after %s: %s", path, socketTimeout, strings.TrimPrefix(err.Error(), "dial "))
		case <-time.After(20 * time.Millisecond):
		}
	}
}

const socketTimeout = 15 * time.Second
