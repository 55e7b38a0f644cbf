package check

import (
	"crypto/tls"
	"slices"
	"strings"

	"gatehouse/core/config"
	"gatehouse/internal/check/document"
	forwardauth "gatehouse/plugins/forwardauth/settings"
)

// forwardAuth checks the settings of the forward-auth service and its gates.
func (c *checker) forwardAuth(root document.Node, text *document.Text) {
	service := &forwardauth.Settings{}
	problems := config.Decode([]byte(text.Content), service)
	s := settings{root: root, place: root.Place()}
	for _, p := range append(problems, unsaid(problems, service.Problems())...) {
		c.setting(s, p)
	}
	for i, listen := range root.Get("listen").Items() {
		if i < len(service.Listen) && service.Listen[i].TLS != nil {
			c.certificate(listen.Get("tls"), service.Listen[i].TLS)
		}
	}
	for _, proxy := range root.Get("trusted_proxies").Items() {
		if network := proxy.Text(); strings.HasSuffix(network, "/0") {
			c.add("trusts-every-address", proxy.Place(), "%s is every address: whoever reaches the service says where a request comes from; name the proxies", network)
		}
	}
	for _, gate := range root.Get("gates").Pairs() {
		paths := c.namedGate(gate)
		direct := slices.ContainsFunc(service.Endpoints, func(e forwardauth.Endpoint) bool {
			return e.Dialect == forwardauth.Direct && e.Gate == gate.Key.Value
		})
		if len(paths) > 0 && !direct {
			c.add("missing-endpoint-route", gate.Key.Place(), "resource_metadata: the gate answers %s itself, but no endpoint takes such requests; add {dialect: %s, gate: %s} to endpoints and have the proxy pass them on there",
				strings.Join(paths, ", "), forwardauth.Direct, gate.Key.Value)
		}
	}
}

// unsaid are the second problems, without those of settings that the first are
// about already.
func unsaid(first, second []config.Problem) []config.Problem {
	said := map[string]bool{}
	for _, p := range first {
		said[p.Path] = true
	}
	var left []config.Problem
	for _, p := range second {
		if !said[p.Path] {
			left = append(left, p)
		}
	}
	return left
}

// namedGate checks a gate and returns the paths that it answers itself.
func (c *checker) namedGate(gate document.Pair) []string {
	if !gate.Value.IsMap() {
		c.add("config", gate.Key.Place(), "gates.%s: must be a map of settings", gate.Key.Value)
		return nil
	}
	raw, err := gate.Value.JSON()
	if err != nil {
		c.add("config", gate.Key.Place(), "gates.%s: %v", gate.Key.Value, err)
		return nil
	}
	return c.gate(settings{root: gate.Value, raw: raw, place: gate.Key.Place()})
}

// certificate checks the files of a listener, if all of them are here.
func (c *checker) certificate(n document.Node, at *forwardauth.TLS) {
	cert, key := c.open(n.Get("cert_file").Place(), at.CertFile), c.open(n.Get("key_file").Place(), at.KeyFile)
	if cert != nil && key != nil {
		if _, err := tls.X509KeyPair([]byte(cert.Content), []byte(key.Content)); err != nil {
			c.add("unreadable-file", n.Place(), "cert_file and key_file: %v", err)
		}
	}
	c.authorities(n.Get("client_ca_file").Place(), at.ClientCAFile)
}
