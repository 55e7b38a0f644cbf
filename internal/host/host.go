// Package host is what the processes that host the engine have in common: one
// builder of gates, the log, the metrics and the admin listener.
package host

import (
	"context"
	"errors"
	"flag"
	"log/slog"
	"syscall"
	"time"

	"gatehouse/core/config"
	"gatehouse/core/observe"
	"gatehouse/core/permission/live"
	"gatehouse/internal/logqueue"
	"gatehouse/internal/version"
)

// Host is a process that decides requests.
type Host struct {
	Gates   *config.Builder
	Metrics *observe.Metrics
	log     *slog.Logger
	// retry is how long to wait before an admin address that is taken is tried
	// again.
	retry time.Duration
}

// New makes a host that logs to log.
func New(log *slog.Logger) *Host {
	metrics := observe.NewMetrics(version.Version)
	h := &Host{
		Metrics: metrics,
		Gates: config.NewBuilder(config.BuilderOptions{
			Recorder: observe.Recorders{metrics, observe.NewLog(log)},
			Log:      log,
			Version:  version.Version,
			Loads:    metrics.ConfigurationLoaded,
			Calls:    metrics.Call,
			Reloads: func(r live.Reload) {
				metrics.TableLoaded(tableName(r.Names), r.Err)
			},
			HeaderAbsent: metrics.HeaderAbsent,
			Evaluations:  metrics.Evaluated,
			Differences: func(d live.Difference) {
				metrics.ShadowDiffers(string(d.Enforced), string(d.Shadow))
			},
		}),
		log:   log,
		retry: time.Second,
	}
	metrics.MustRegister(caches{h.Gates})
	metrics.MustRegister(sharedCache{h.Gates})
	metrics.MustRegister(messages{h.Gates})
	metrics.MustRegister(failedAttempts{h.Gates})
	metrics.MustRegister(revoked{h.Gates})
	metrics.MustRegister(feeds{h.Gates})
	metrics.MustRegister(subjectRoles{h.Gates})
	metrics.MustRegister(tables{h.Gates})
	metrics.MustRegister(configurations{h.Gates})
	metrics.MustRegister(auditRecords{h.Gates})
	return h
}

// CountDropped has the metrics tell which lines of a log were dropped.
func (h *Host) CountDropped(log *logqueue.Queue) { h.Metrics.MustRegister(droppedLines{log}) }

// Flush has audit records and log lines written that wait, within a limit.
func (h *Host) Flush(log *logqueue.Queue, limit time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	h.Gates.FlushAudit(ctx)
	log.Flush(limit)
}

// ServeAdmin serves health, readiness and metrics in the background, if an
// address is given. A process that cannot do so still decides requests, and
// says in its log what is wrong. An address that is taken is tried until it is
// free: while a gateway reloads, the process before still holds it.
func (h *Host) ServeAdmin(ctx context.Context, address string) {
	if address == "" {
		return
	}
	go func() {
		err := h.serveAdmin(ctx, address)
		if errors.Is(err, syscall.EADDRINUSE) {
			h.log.Warn("no admin listener yet, the address is taken; trying until it is free", "error", err)
		}
		for errors.Is(err, syscall.EADDRINUSE) {
			select {
			case <-ctx.Done():
				return
			case <-time.After(h.retry):
				err = h.serveAdmin(ctx, address)
			}
		}
		if err != nil {
			h.log.Error("no admin listener", "error", err)
		}
	}()
}

func (h *Host) serveAdmin(ctx context.Context, address string) error {
	l, err := listenAdmin(address)
	if err != nil {
		return err
	}
	return serveAdmin(ctx, l, adminHandler(h.Metrics.Handler(), h.Gates), revocationsHandler(h.Gates))
}

// AdminFlag adds the flag that says where ServeAdmin listens.
func AdminFlag(flags *flag.FlagSet) *string {
	return flags.String("admin", "", "`address` on loopback such as 127.0.0.1:9464, or unix: and a path, that serves /healthz, /readyz and /metrics; a socket also takes revocations")
}
