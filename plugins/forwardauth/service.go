package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"google.golang.org/grpc"

	"gatehouse/core"
	"gatehouse/core/config"
	"gatehouse/core/setting"
	"gatehouse/internal/unixsocket"
	"gatehouse/plugins/forwardauth/settings"
)

// service is the whole service.
type service struct {
	settings  *settings.Settings
	endpoints []*endpoint
	own       []*endpoint // of gates for what they serve themselves
	gates     map[string]*gate
	grpc      *grpc.Server // nil where no endpoint speaks it
	recorder  core.Recorder
	log       *slog.Logger

	renewing sync.Mutex
}

// newService reads the settings and builds the gates.
func newService(path string, builder *config.Builder) (*service, error) {
	s := &service{recorder: builder.Recorder(), log: builder.Log()}
	loaded, gates, err := load(path, builder, s.renewed)
	if err != nil {
		return nil, err
	}
	s.renewing.Lock()
	defer s.renewing.Unlock()
	s.settings, s.gates = loaded, gates
	if problems := s.problems(s.inUse()); len(problems) > 0 {
		return nil, &setting.Error{Source: path, Problems: problems}
	}
	s.addEndpoints()
	return s, nil
}

// renewed refuses a gate that does not go with the settings and the other gates. The
// gates that newService makes are looked at together.
func (s *service) renewed(name string, now *config.Current) error {
	s.renewing.Lock()
	defer s.renewing.Unlock()
	if s.gates == nil {
		return nil
	}
	gates := s.inUse()
	gates[name] = now
	return setting.ErrorOf("", s.problems(gates))
}

func (s *service) inUse() map[string]*config.Current {
	gates := map[string]*config.Current{}
	for name, g := range s.gates {
		gates[name] = g.now()
	}
	return gates
}

// problems are what only the gates show to be wrong.
func (s *service) problems(gates map[string]*config.Current) (problems []setting.Problem) {
	for i, at := range s.settings.Endpoints {
		if at.Dialect == settings.EnvoyGRPC || at.Dialect == settings.Direct {
			continue
		}
		if err := dialectNamed(at.Dialect).checkCarried(at.Gate, gates[at.Gate].ResponseHeaders()); err != nil {
			problems = append(problems, setting.Problem{Path: fmt.Sprintf("endpoints[%d]", i), Text: err.Error()})
		}
	}
	problems = append(problems, s.settings.DemandProblems(func(name string) core.Demands { return gates[name].Demands() })...)
	problems = append(problems, s.settings.BodyProblems(func(name string) bool { return gates[name].TakesBodies() })...)
	return append(problems, s.settings.OwnProblems(func(name string) ([]string, bool) { return gates[name].Endpoints(), true })...)
}

func (s *service) addEndpoints() {
	for _, at := range s.settings.Endpoints {
		e := &endpoint{at, dialectNamed(at.Dialect), s.gates[at.Gate], at.LoadBalancers()}
		switch at.Dialect {
		case settings.EnvoyGRPC:
			s.grpc = newGRPC(&authorization{gate: e.gate, gates: s.gates, at: at, balancers: e.balancers, log: s.log})
		case settings.Direct:
			s.own = append(s.own, &endpoint{Endpoint: at, dialect: &direct, gate: e.gate})
		default:
			s.endpoints = append(s.endpoints, e)
		}
	}
}

func dialectNamed(name string) *dialect {
	for i := range dialects {
		if dialects[i].name == name {
			return &dialects[i]
		}
	}
	return nil // settings.EnvoyGRPC and settings.Direct; the settings' one_of admits no other name
}

// endpoint finds the endpoint of a raw request target; nil: none.
func (s *service) endpoint(target string) *endpoint {
	for _, e := range s.endpoints {
		if e.Takes(target) {
			return e
		}
	}
	return nil
}

// Limits of sizes and times. A head holds that of the original request and a little
// more; gateways allow less. What takes longest is an identity provider, whose own
// time limits are at most 30 seconds.
const (
	maxHead      = 128 << 10
	headTimeout  = 10 * time.Second
	readTimeout  = 20 * time.Second
	writeTimeout = 90 * time.Second
	idleTimeout  = 3 * time.Minute // longer than proxies keep connections, or they lose requests
	maxStreams   = 1000
)

// listener is a socket with the server on it.
type listener struct {
	net.Listener
	server *http.Server
	// certificates are nil without TLS.
	certificates *certificates
}

// listen opens every socket, or none.
func (s *service) listen() (all []listener, err error) {
	for i, at := range s.settings.Listen {
		l, openErr := s.open(at)
		if openErr != nil {
			err = errors.Join(err, fmt.Errorf("listen[%d] %s: %w", i, at.Address, openErr))
			continue
		}
		all = append(all, l)
	}
	if err != nil {
		for _, l := range all {
			l.Close()
		}
	}
	return all, err
}

func (s *service) open(at settings.Listen) (listener, error) {
	secure, err := s.certificates(at.TLS)
	if err != nil {
		return listener{}, err
	}
	l, err := openSocket(at)
	if err != nil {
		return listener{}, err
	}
	trusted := peers{s.settings.Networks(), at.Trusted}
	server := &http.Server{
		Handler:           handler{s, trusted},
		ConnContext:       trusted.dismiss,
		ReadHeaderTimeout: headTimeout, ReadTimeout: readTimeout, WriteTimeout: writeTimeout, IdleTimeout: idleTimeout,
		MaxHeaderBytes: maxHead,
		// OPTIONS * is refused like any other request without an endpoint.
		DisableGeneralOptionsHandler: true,
		HTTP2:                        &http.HTTP2Config{MaxConcurrentStreams: maxStreams},
		Protocols:                    new(http.Protocols),
		ErrorLog:                     log.New(logWriter{s.log}, "", 0),
	}
	server.Protocols.SetHTTP1(true)
	server.Protocols.SetHTTP2(true)
	server.Protocols.SetUnencryptedHTTP2(secure == nil)
	if secure != nil {
		server.TLSConfig = secure.server()
	}
	return listener{l, server, secure}, nil
}

func (s *service) certificates(at *settings.TLS) (*certificates, error) {
	if at == nil {
		return nil, nil
	}
	c, err := newCertificates(*at, s.log)
	if err != nil {
		return nil, fmt.Errorf("tls: %w", err)
	}
	return c, nil
}

// openSocket refuses the path of a unix socket that another process serves.
func openSocket(l settings.Listen) (net.Listener, error) {
	path, isUnix := l.UnixPath()
	if !isUnix {
		return net.Listen("tcp", l.Address)
	}
	mode, err := l.FileMode()
	if err != nil {
		return nil, err
	}
	return unixsocket.Listen(path, unixsocket.Options{Mode: mode})
}

// serve serves every listener until ctx ends or one of them fails. Open requests
// are then finished, within drain_timeout.
func (s *service) serve(ctx context.Context, all []listener) error {
	failed := make(chan error, len(all))
	for _, l := range all {
		s.log.Info("listening", "address", l.Addr().String(), "tls", l.certificates != nil)
		go func() { failed <- l.serve() }()
		if l.certificates != nil {
			go l.certificates.follow(ctx)
		}
	}
	var err error
	select {
	case err = <-failed:
	case <-ctx.Done():
		s.log.Info("told to stop: open requests are finished", "drain_timeout", float64(s.settings.DrainTimeout))
	}
	err = errors.Join(err, s.drain(all))
	s.log.Info("stopped")
	return err
}

func (l listener) serve() error {
	if l.certificates != nil {
		return l.server.ServeTLS(l.Listener, "", "")
	}
	return l.server.Serve(l.Listener)
}

func (s *service) drain(all []listener) error {
	ctx, cancel := context.WithTimeout(context.Background(), s.settings.DrainTimeout.Duration())
	defer cancel()
	results := make(chan error, len(all))
	for _, l := range all {
		go func() { results <- l.drain(ctx) }()
	}
	var err error
	for range all {
		err = errors.Join(err, <-results)
	}
	return err
}

func (l listener) drain(ctx context.Context) error {
	if err := l.server.Shutdown(ctx); err != nil {
		l.server.Close()
		return fmt.Errorf("questions were still under way at %s after drain_timeout: %w", l.Addr(), err)
	}
	return nil
}

// logWriter logs what net/http reports: clients that break off.
type logWriter struct{ log *slog.Logger }

func (w logWriter) Write(line []byte) (int, error) {
	w.log.Debug("server", "message", string(bytes.TrimSpace(line)))
	return len(line), nil
}
