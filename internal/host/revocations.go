package host

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"gatehouse/core/config"
	"gatehouse/core/revocation"
)

// maxRevocations bounds the body of one request, and revokeTime how long it may take
// until all events are kept.
const (
	maxRevocations = 1 << 20
	revokeTime     = 10 * time.Second
)

// revocable is what has revocations: a config.Builder.
type revocable interface {
	Revoke(ctx context.Context, events ...revocation.Event) error
	Revocations() []revocation.Event
}

// revocationsHandler serves /revocations: GET lists what is in force, POST revokes. It is
// for a socket that only this user can open. It says 200 once the events are kept.
func revocationsHandler(gates revocable) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /revocations", func(w http.ResponseWriter, _ *http.Request) {
		writeRevocations(w, http.StatusOK, revocations{Events: gates.Revocations()})
	})
	mux.HandleFunc("POST /revocations", func(w http.ResponseWriter, r *http.Request) {
		events, err := readRevocations(w, r)
		if err != nil {
			writeRevocations(w, http.StatusBadRequest, revocations{Error: err.Error()})
			return
		}
		ctx, cancel := context.WithTimeout(r.Context(), revokeTime)
		defer cancel()
		if err := gates.Revoke(ctx, events...); err != nil {
			writeRevocations(w, http.StatusServiceUnavailable, revocations{Error: err.Error()})
			return
		}
		writeRevocations(w, http.StatusOK, revocations{Kept: len(events)})
	})
	return mux
}

// onlyBySocket refuses what changes something, or names people, on an address that any
// program and any web page on this machine can reach.
func onlyBySocket(w http.ResponseWriter, _ *http.Request) {
	writeRevocations(w, http.StatusForbidden, revocations{Error: "revocations are taken and listed by a socket alone: --admin unix:/path"})
}

// revocations is the body of a request and of a response.
type revocations struct {
	Events []revocation.Event `json:"events,omitempty"`
	Kept   int                `json:"kept,omitempty"`
	Error  string             `json:"error,omitempty"`
}

func writeRevocations(w http.ResponseWriter, status int, body revocations) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(body)
}

func readRevocations(w http.ResponseWriter, r *http.Request) ([]revocation.Event, error) {
	decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxRevocations))
	decoder.DisallowUnknownFields()
	var body struct {
		Events []revocation.Event `json:"events"`
	}
	if err := decoder.Decode(&body); err != nil {
		return nil, fmt.Errorf("the body is no list of events: %w", err)
	}
	if len(body.Events) == 0 {
		return nil, errors.New("the body has no events")
	}
	return body.Events, nil
}

// revoked tells Prometheus of revocations.
type revoked struct{ gates *config.Builder }

var _ prometheus.Collector = revoked{}

var (
	revocationEvents   = prometheus.NewDesc("gatehouse_revocations", "Revocations in force that this node knows.", nil, nil)
	revocationBlind    = prometheus.NewDesc("gatehouse_revocations_blind_seconds", "For how long this node has not received new revocations; 0 while it does.", nil, nil)
	revocationMissing  = prometheus.NewDesc("gatehouse_revocations_missing", "1 while this node has no list of revocations that counts, else 0.", nil, nil)
	revocationRefusals = prometheus.NewDesc("gatehouse_revocation_refusals_total", "Credentials that were refused, by reason: revoked; too_old or undated for one that is verified locally and was issued longer ago than revocations are kept, or does not say when; no_list.", []string{"reason"}, nil)
	revocationLost     = prometheus.NewDesc("gatehouse_revocations_lost_total", "How often revocations may have been missed, so that everything cached was verified anew.", nil, nil)
)

// Describe lists the metrics.
func (revoked) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{revocationEvents, revocationBlind, revocationMissing, revocationRefusals, revocationLost} {
		to <- d
	}
}

// Collect reads the counters.
func (c revoked) Collect(to chan<- prometheus.Metric) {
	s := c.gates.RevocationStats()
	gauge := func(d *prometheus.Desc, value float64) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value)
	}
	missing := 0.0
	if s.Missing {
		missing = 1
	}
	gauge(revocationEvents, float64(s.Events))
	gauge(revocationBlind, s.Blind.Seconds())
	gauge(revocationMissing, missing)
	for reason, n := range map[string]uint64{"revoked": s.Revoked.Load(), "too_old": s.TooOld.Load(), "undated": s.Undated.Load(), "no_list": s.WithoutList.Load()} {
		to <- prometheus.MustNewConstMetric(revocationRefusals, prometheus.CounterValue, float64(n), reason)
	}
	to <- prometheus.MustNewConstMetric(revocationLost, prometheus.CounterValue, float64(s.Lost.Load()))
}
