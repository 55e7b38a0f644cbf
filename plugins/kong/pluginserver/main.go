package pluginserver

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"gatehouse/internal/unixsocket"
)

// Exit statuses of Main.
const (
	exitOK    = 0
	exitError = 1
	exitUsage = 2
)

// socketCheck is how often a server looks whether its socket is still its own.
const socketCheck = 15 * time.Second

// socketOptions let only this user connect. During a reload Kong has two servers
// alive, and the new one takes the path over.
var socketOptions = unixsocket.Options{Mode: 0o600, Replace: true}

// Main is the main function of a plugin's program: it serves p, or describes
// it with -dump. args are the arguments without the program's name. It returns
// the exit status.
func Main(p Plugin, args []string, stdout, stderr io.Writer) int {
	o, status := parseOptions(p, args, stdout, stderr)
	if o == nil {
		return status
	}
	if err := o.run(p, stdout, stderr); err != nil {
		fmt.Fprintf(stderr, "%s: %v\n", p.Name, err)
		return exitError
	}
	return exitOK
}

type options struct {
	prefix        string
	dump, version bool
}

// parseOptions returns nil if there is nothing to do but to exit.
func parseOptions(p Plugin, args []string, stdout, stderr io.Writer) (*options, int) {
	var o options
	flags := flag.NewFlagSet(p.Name, flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&o.prefix, "kong-prefix", "/usr/local/kong", "`folder` that Kong runs in; the socket is made there")
	flags.BoolVar(&o.dump, "dump", false, "describe the plugin to Kong as JSON, and exit")
	flags.BoolVar(&o.version, "version", false, "print the version, and exit")
	if p.Flags != nil {
		p.Flags(flags)
	}
	flags.Usage = func() {
		fmt.Fprintf(flags.Output(), "Serves the plugin %s to Kong.\n\nUsage: %s [flags]\n\n", p.Name, p.Name)
		flags.PrintDefaults()
	}
	for _, arg := range args {
		if arg == "-help" || arg == "--help" || arg == "-h" || arg == "--h" {
			flags.SetOutput(stdout)
		}
	}
	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		return nil, exitOK
	} else if err != nil {
		return nil, exitUsage
	}
	if flags.NArg() > 0 {
		fmt.Fprintf(stderr, "%s: unexpected argument %q; see -help\n", p.Name, flags.Arg(0))
		return nil, exitUsage
	}
	return &o, exitOK
}

func (o *options) run(p Plugin, stdout, stderr io.Writer) error {
	switch {
	case o.version:
		_, err := fmt.Fprintln(stdout, p.Name, p.Version)
		return err
	case o.dump:
		if err := newKongEvidence(o.prefix).installedTooOld(); err != nil {
			return err
		}
		return dump(stdout, p, o.socketPath(p))
	}
	return o.serve(p, stderr)
}

func (o *options) socketPath(p Plugin) string {
	return filepath.Join(o.prefix, p.Name+".socket")
}

func (o *options) serve(p Plugin, stderr io.Writer) error {
	logger := cmp.Or(p.Log, slog.New(slog.NewTextHandler(stderr, nil)))
	evidence := newKongEvidence(o.prefix)
	if err := evidence.tooOld(); err != nil {
		// To exit would make this very Kong let every request through.
		logger.Error("every request is denied", "error", err)
		p.New = func(json.RawMessage) (Handler, error) { return nil, err }
		p.Exchange = nil
	}
	s, err := newPluginServer(p, logger)
	if err != nil {
		return err
	}
	s.inOrder = evidence.callsInOrder()
	// Kong reads this output. If Kong is killed it is not read, and that must not
	// be the end of requests that other workers have open.
	signal.Ignore(syscall.SIGPIPE)
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer cancel()
	context.AfterFunc(ctx, cancel) // a second signal ends the process at once
	l, err := unixsocket.Listen(o.socketPath(p), socketOptions)
	if err != nil {
		return fmt.Errorf("-kong-prefix %s: %w", o.prefix, err)
	}
	if p.Start != nil {
		p.Start(o.prefix)
	}
	// Libraries write what they received to the standard logger, header
	// values among it.
	log.SetOutput(io.Discard)
	go stopWhenReplaced(ctx, cancel, l, orphaned(), socketCheck, logger)
	logger.Info("serving", "plugin", p.Name, "version", p.Version, "socket", l.Path())
	context.AfterFunc(ctx, func() { logger.Info("stopping: open requests are finished") })
	err = s.serve(ctx, l)
	logger.Info("stopped")
	return err
}

// stopWhenReplaced ends a server that Kong has lost: kill -9 of Kong's worker
// leaves its plugin server behind, and the next worker starts another. A worker
// that lives, as the old one does after a reload while it finishes its requests,
// ends its server itself. If the server is gone by then, Kong 3.9 fails on it:
// an error in its log, and the plugin servers that it lists afterwards get no
// SIGTERM before they are killed. Where no other server has taken over the path of the
// removed socket, only another server helps, which Kong starts when this one has ended.
func stopWhenReplaced(ctx context.Context, stop func(), s *unixsocket.Listener, orphaned func() bool, every time.Duration, logger *slog.Logger) {
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-time.After(every):
		}
		if ctx.Err() == nil && (s.Removed() || s.Replaced() && orphaned()) {
			logger.Info("the socket is gone or another server's; stopping", "socket", s.Path())
			stop()
		}
	}
}

// orphaned reports whether the process that started this one has ended.
func orphaned() func() bool {
	starter := os.Getppid()
	return func() bool { return os.Getppid() != starter || starter == 1 }
}
