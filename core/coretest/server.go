package coretest

import (
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"gatehouse/core/authn/idp"
)

// Client is an HTTP client for servers on this machine, patient enough for a
// busy one. A test of a timeout needs a client of its own.
func Client(t testing.TB) *idp.Client {
	t.Helper()
	c, err := idp.New(idp.Options{Timeout: 30 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// Server is an HTTP server that can be made to misbehave.
type Server struct {
	// URL is where it listens.
	URL string

	mu       sync.Mutex
	healthy  http.Handler
	instead  http.Handler
	requests []*http.Request
	paths    map[string]int
}

// NewServer starts a server that stops with the test.
func NewServer(t testing.TB, healthy http.Handler) *Server {
	s := &Server{healthy: healthy, paths: map[string]int{}}
	server := httptest.NewServer(s)
	t.Cleanup(func() {
		server.CloseClientConnections() // a hung response would keep Close waiting
		server.Close()
	})
	s.URL = server.URL
	return s
}

// ServeHTTP notes the request, with its form, and responds it.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	r.ParseForm()
	s.mu.Lock()
	s.requests = append(s.requests, r)
	s.paths[r.URL.Path]++
	handler := s.healthy
	if s.instead != nil {
		handler = s.instead
	}
	s.mu.Unlock()
	handler.ServeHTTP(w, r)
}

// Calls is how many requests have arrived.
func (s *Server) Calls() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.requests)
}

// CallsTo is how many requests have arrived for a path.
func (s *Server) CallsTo(path string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.paths[path]
}

// LastRequest is the newest request, its body read into Form.
func (s *Server) LastRequest(t testing.TB) *http.Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.requests) == 0 {
		t.Fatal("no request has arrived")
	}
	return s.requests[len(s.requests)-1]
}

// LastRequestTo is the newest request for a path, its body read into Form.
func (s *Server) LastRequestTo(t testing.TB, path string) *http.Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range slices.Backward(s.requests) {
		if r.URL.Path == path {
			return r
		}
	}
	t.Fatal("no request has arrived for " + path)
	return nil
}

// Heal ends every misbehaviour.
func (s *Server) Heal() { s.replace(nil) }

// Instead responds every request by a handler of the test's own.
func (s *Server) Instead(h http.HandlerFunc) { s.replace(h) }

func (s *Server) replace(h http.Handler) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.instead = h
}

// Fail responds with a status and a body of type application/json.
func (s *Server) Fail(status int, body string) {
	s.Instead(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		w.Write([]byte(body))
	})
}

// Hang takes requests and answers none until its client gives up.
func (s *Server) Hang() {
	s.Instead(func(_ http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body) // only then the server notices that its client gives up
		<-r.Context().Done()
	})
}

// Drop closes each connection in place of a response.
func (s *Server) Drop() {
	s.Instead(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
}

// Redirect sends every request to another address.
func (s *Server) Redirect(to string) {
	s.Instead(func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, to, http.StatusTemporaryRedirect) })
}

// Flood responds with a body that does not end while it is read.
func (s *Server) Flood() {
	s.Instead(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		chunk := make([]byte, 64<<10)
		for i := range chunk {
			chunk[i] = ' '
		}
		for r.Context().Err() == nil {
			if _, err := w.Write(chunk); err != nil {
				return
			}
		}
	})
}
