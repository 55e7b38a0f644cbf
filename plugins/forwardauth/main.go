// Command gatehouse-forwardauth is Gatehouse as a service of its own, for proxies
// that send an auth request before they pass a request on: Traefik, nginx,
// Caddy, HAProxy, APISIX without a runner, and Envoy with what is built on it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"gatehouse/internal/host"
	"gatehouse/internal/logqueue"
	"gatehouse/internal/spareheap"
	"gatehouse/internal/version"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// flushTime is how long the last log lines may take.
const flushTime = time.Second

const defaultSettings = "/etc/gatehouse/forwardauth.yaml"

// Exit codes: 1 for settings or sockets that do not work, 2 for a wrong
// command line.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("gatehouse-forwardauth", flag.ContinueOnError)
	flags.SetOutput(stderr)
	settings := flags.String("config", defaultSettings, "path of the service's settings")
	check := flags.Bool("check", false, "load everything, say what is wrong and stop")
	admin := host.AdminFlag(flags)
	verbose := flags.Bool("verbose", false, "log admitted requests and failed connections too")
	showVersion := flags.Bool("version", false, "print the version and stop")
	err := flags.Parse(args)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err != nil || flags.NArg() > 0 {
		fmt.Fprintln(stderr, "usage: gatehouse-forwardauth [-config FILE] [-admin ADDRESS] [-check] [-verbose] [-version]")
		return 2
	}
	if *showVersion {
		fmt.Fprintln(stdout, "gatehouse-forwardauth", version.Version)
		return 0
	}
	defer spareheap.Hold()()
	log := logqueue.New(stderr)
	h := host.New(log.Logger(level(*verbose)))
	defer h.Flush(log, flushTime)
	h.CountDropped(log)
	s, err := newService(*settings, h.Gates)
	if err != nil {
		fmt.Fprintln(log, err)
		return 1
	}
	if *check {
		fmt.Fprintln(stdout, *settings, "loads")
		return 0
	}
	log.TakeOver()
	outliveHangups(ctx, h.Gates.Log())
	h.ServeAdmin(ctx, *admin)
	return start(ctx, s, log)
}

func start(ctx context.Context, s *service, log io.Writer) int {
	listeners, err := s.listen()
	if err == nil {
		err = s.serve(ctx, listeners)
	}
	if err != nil {
		fmt.Fprintln(log, err)
		return 1
	}
	return 0
}

// outliveHangups keeps a SIGHUP, which makes other servers read their files again,
// from ending the process.
func outliveHangups(ctx context.Context, log *slog.Logger) {
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	go func() {
		defer signal.Stop(hangup)
		for {
			select {
			case <-ctx.Done():
				return
			case <-hangup:
				log.Info("SIGHUP changes nothing: certificates, permission tables and the files that gates name are followed; a change of the settings takes a restart")
			}
		}
	}()
}

func level(verbose bool) slog.Level {
	if verbose {
		return slog.LevelDebug
	}
	return slog.LevelInfo
}
