package forwardauth

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"gatehouse/dev/ports"
)

// overTLS has Traefik ask at a TLS listener, with the client's own method.
func overTLS(p proxy, address, pem string) proxy {
	configure := p.configure
	p.configure = func(s site) ([]string, error) {
		args, err := configure(s)
		dynamic := filepath.Join(s.dir, "dynamic.yml")
		return args, errors.Join(err, edit(dynamic, "address: http://"+s.ask, fmt.Sprintf("preserveRequestMethod: true\n                tls: {ca: %q}\n                address: https://%s", pem, address)))
	}
	return p
}

// withGRPC starts the bench's service once more, with a TLS listener and an
// endpoint for Envoy beside that of the proxy.
func (b *bench) withGRPC(t *testing.T, address, pem string) {
	t.Helper()
	settings := filepath.Join(b.dir, "forwardauth.yaml")
	binary, err := binaryFor()
	err = errors.Join(err,
		edit(settings, "endpoints:\n", "endpoints:\n    - {dialect: envoy-grpc, gate: main}\n"),
		edit(settings, "listen:\n", fmt.Sprintf("listen:\n    - {address: %q, tls: {cert_file: %q, key_file: %[2]q}}\n", address, pem)))
	if err != nil {
		t.Fatal(err)
	}
	b.service.stop()
	service, err := startProcess("gatehouse-forwardauth", b.dir, address, binary, "-verbose", "-config", settings)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(service.stop)
}

// TestClientThatSpeaksGRPCThroughATraefikThatDoesSoToo: over TLS Traefik asks by
// HTTP/2, and told so with the client's method. With the client's Content-Type
// that is a call of gRPC, to which a server of gRPC says 200 whatever it is about.
func TestClientThatSpeaksGRPCThroughATraefikThatDoesSoToo(t *testing.T) {
	traefik := named(t, "traefik")
	addresses, err := ports.Addresses(1)
	if err != nil {
		t.Fatal(err)
	}
	pem := filepath.Join(t.TempDir(), "both.pem")
	certificate(t, pem)
	b := newBench(t, overTLS(traefik, addresses[0], pem), benchTable)
	b.withGRPC(t, addresses[0], pem)
	for what, c := range map[string]struct {
		target string
		lines  []string
		status int
	}{
		"no credential": {"/private", nil, 401},
		"no rule":       {"/else", nil, 403},
		"a good token":  {"/private", []string{b.bearer(nil)}, 200},
	} {
		for _, kind := range []string{"application/grpc", "application/json"} {
			response, got := b.send(t, "POST", c.target, append(c.lines, "Content-Type: "+kind, "Content-Length: 0", "X-Auth-User: root")...)
			if response.Status != c.status || (got != nil) != (c.status == 200) {
				t.Errorf("%s, %s: status %d, arrived %v", what, kind, response.Status, got)
			}
			if got != nil {
				wantIdentity(t, strings.Join([]string{what, kind}, ", "), got, map[string]string{"X-Auth-User": "user-1", "X-User-Id": "user-1"})
			}
		}
	}
}
