package check

import (
	"crypto/tls"
	"slices"
	"strings"

	"gatehouse/core/setting"
	"gatehouse/internal/check/document"
	"gatehouse/internal/check/gate"
	forwardauth "gatehouse/plugins/forwardauth/settings"
)

// forwardAuth checks the settings of the forward-auth service and its gates.
func (c *checker) forwardAuth(root document.Node, text *document.Text) {
	service := &forwardauth.Settings{}
	problems := setting.Decode([]byte(text.Content), service)
	s := gate.Settings{Root: root, Place: root.Place()}
	for _, p := range append(problems, unsaid(problems, service.Problems())...) {
		c.Setting(s, p)
	}
	for i, listen := range root.Get("listen").Items() {
		if i < len(service.Listen) && service.Listen[i].TLS != nil {
			c.certificate(listen.Get("tls"), service.Listen[i].TLS)
		}
	}
	for _, proxy := range root.Get("trusted_proxies").Items() {
		if network := proxy.Text(); strings.HasSuffix(network, "/0") {
			c.Add("trusts-every-address", proxy.Place(), "%s is every address: any client that reaches the service can forge where a request comes from; list the proxies", network)
		}
	}
	served := map[string][]string{}
	for _, named := range root.Get("gates").Pairs() {
		paths := c.namedGate(named, service)
		served[named.Key.Value] = paths
		direct := slices.ContainsFunc(service.Endpoints, func(e forwardauth.Endpoint) bool {
			return e.Dialect == forwardauth.Direct && e.Gate == named.Key.Value
		})
		if len(paths) > 0 && !direct {
			c.Add("missing-endpoint-route", named.Key.Place(), "the gate itself serves %s, but no endpoint takes such requests; add {dialect: %s, gate: %s} to endpoints and have the proxy pass them on there",
				strings.Join(paths, ", "), forwardauth.Direct, named.Key.Value)
		}
	}
	for _, p := range service.OwnProblems(func(gate string) ([]string, bool) { return served[gate], served[gate] != nil }) {
		c.Setting(s, p)
	}
}

// unsaid are the second problems, without those of settings that the first are
// about already.
func unsaid(first, second []setting.Problem) []setting.Problem {
	said := map[string]bool{}
	for _, p := range first {
		said[p.Path] = true
	}
	var left []setting.Problem
	for _, p := range second {
		if !said[p.Path] {
			left = append(left, p)
		}
	}
	return left
}

// namedGate checks a gate and returns the paths that it serves itself.
func (c *checker) namedGate(named document.Pair, of *forwardauth.Settings) []string {
	if !named.Value.IsMap() {
		c.Add("config", named.Key.Place(), "gates.%s: must be a map of settings", named.Key.Value)
		return nil
	}
	raw, err := named.Value.JSON()
	if err != nil {
		c.Add("config", named.Key.Place(), "gates.%s: %v", named.Key.Value, err)
		return nil
	}
	var hosts []gate.Host
	for _, e := range of.Endpoints {
		host := gate.Host{Name: e.Proxy(), Can: e.Can()}
		if e.Gate == named.Key.Value && !slices.Contains(hosts, host) {
			hosts = append(hosts, host)
		}
	}
	cfg, own := c.Check(gate.Settings{Root: named.Value, Raw: raw, Path: "gates." + named.Key.Value, Place: named.Key.Place(), Hosts: hosts})
	if cfg == nil { // what it serves is not known
		return nil
	}
	paths := make([]string, 0, len(own))
	for _, p := range own {
		paths = append(paths, p.Path)
	}
	return paths
}

// certificate checks the files of a listener, if all of them are here.
func (c *checker) certificate(n document.Node, at *forwardauth.TLS) {
	cert, key := c.Open(n.Get("cert_file").Place(), at.CertFile), c.Open(n.Get("key_file").Place(), at.KeyFile)
	if cert != nil && key != nil {
		if _, err := tls.X509KeyPair([]byte(cert.Content), []byte(key.Content)); err != nil {
			c.Add("unreadable-file", n.Place(), "cert_file and key_file: %v", err)
		}
	}
	c.Authorities(n.Get("client_ca_file").Place(), at.ClientCAFile)
}
