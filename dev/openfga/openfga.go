// Package openfga runs the real OpenFGA for tests, with its endpoints of AuthZEN and its
// store in memory, and speaks its HTTP interface.
package openfga

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"gatehouse/dev/pinned"
	"gatehouse/dev/ports"
	"gatehouse/dev/process"
)

var program = pinned.Program{
	Name: "openfga", Package: "github.com/openfga/openfga/cmd/openfga", Module: "dev/openfga/server", Cache: "openfga",
}

// Ensure returns the path of the program, building it if it is not in the cache; see
// [pinned.Ensure].
func Ensure(ctx context.Context) (string, error) {
	return pinned.Ensure(ctx, pinned.Options{}, program)
}

// Config says how to run OpenFGA.
type Config struct {
	// Binary is the program, from [Ensure].
	Binary string
	// Key is the preshared key that every call needs; empty: none is needed.
	Key string
	// PublishesMetadata says that it knows its own address, which it then publishes as
	// AuthZEN metadata.
	PublishesMetadata bool
	// WithoutAuthZEN leaves the endpoints of AuthZEN off, which are experimental.
	WithoutAuthZEN bool
}

// Server is a running OpenFGA.
type Server struct {
	*process.Process
	// URL is its address, without a trailing slash.
	URL string
	key string
}

// Start runs OpenFGA with an empty store in memory and returns once it serves.
func Start(ctx context.Context, c Config) (*Server, error) {
	http, err := ports.Hold("127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	defer http.Release()
	grpc, err := ports.Hold("127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	defer grpc.Release()
	s := &Server{URL: "http://" + http.Addr(), key: c.Key}
	s.Process, err = process.Start(ctx, process.Launch{
		Name: "openfga", Binary: c.Binary, Ready: s.URL + "/healthz",
		Args: append(c.args(s.URL), "--http-addr", http.Addr(), "--grpc-addr", grpc.Addr()),
	})
	return s, err
}

func (c Config) args(address string) []string {
	args := []string{"run", "--datastore-engine", "memory", "--playground-enabled=false", "--metrics-enabled=false", "--log-level", "warn"}
	if !c.WithoutAuthZEN {
		args = append(args, "--experimentals", "authzen")
	}
	if c.PublishesMetadata {
		args = append(args, "--authzen-base-url", address)
	}
	if c.Key != "" {
		args = append(args, "--authn-method", "preshared", "--authn-preshared-keys", c.Key)
	}
	return args
}

// Tuple says that a user has a relation to an object: document:7, viewer, group:staff#member.
// A condition is named with what it is given.
type Tuple struct {
	User      string     `json:"user"`
	Relation  string     `json:"relation"`
	Object    string     `json:"object"`
	Condition *Condition `json:"condition,omitempty"`
}

// Condition of a tuple.
type Condition struct {
	Name    string         `json:"name"`
	Context map[string]any `json:"context,omitempty"`
}

// Store is a store of a server.
type Store struct {
	server *Server
	// ID is that of the store, Model that of its newest authorization model.
	ID, Model string
}

// CreateStore makes a store with an authorization model, written as JSON.
func (s *Server) CreateStore(ctx context.Context, model []byte) (*Store, error) {
	made := struct{ ID string }{}
	if err := s.post(ctx, "/stores", map[string]string{"name": "test"}, &made); err != nil {
		return nil, err
	}
	store := &Store{server: s, ID: made.ID}
	return store, store.WriteModel(ctx, model)
}

// URL is the address of the store, which is its identifier as a decision point.
func (s *Store) URL() string { return s.server.URL + "/stores/" + s.ID }

// WriteModel makes a model the newest one.
func (s *Store) WriteModel(ctx context.Context, model []byte) error {
	made := struct {
		ID string `json:"authorization_model_id"`
	}{}
	err := s.server.post(ctx, "/stores/"+s.ID+"/authorization-models", json.RawMessage(model), &made)
	s.Model = made.ID
	return err
}

// Write adds tuples, and Delete removes them.
func (s *Store) Write(ctx context.Context, tuples ...Tuple) error {
	return s.change(ctx, "writes", tuples)
}

// Delete removes tuples.
func (s *Store) Delete(ctx context.Context, tuples ...Tuple) error {
	return s.change(ctx, "deletes", tuples)
}

func (s *Store) change(ctx context.Context, how string, tuples []Tuple) error {
	keys := map[string][]Tuple{"tuple_keys": tuples}
	return s.server.post(ctx, "/stores/"+s.ID+"/write", map[string]any{how: keys}, nil)
}

// limit is for a busy machine.
const limit = time.Minute

func (s *Server) post(ctx context.Context, path string, in, out any) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.URL+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	if s.key != "" {
		req.Header.Set("Authorization", "Bearer "+s.key)
	}
	response, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	switch {
	case err != nil:
		return err
	case response.StatusCode/100 != 2:
		return fmt.Errorf("POST %s: status %d: %s", path, response.StatusCode, text)
	case out == nil:
		return nil
	}
	return json.Unmarshal(text, out)
}
