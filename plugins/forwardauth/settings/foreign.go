package settings

import (
	"reflect"

	"gatehouse/core/config"
	"gatehouse/core/setting"
)

// ForeignNames are those of oauth2-proxy and other services of this kind, and the
// settings of gates, which are easily written one level too high.
func (Settings) ForeignNames() []setting.Foreign {
	names := []setting.Foreign{
		{Names: "http_address, https_address, port, bind, listen_address, addr, server", Paths: "listen[].address", Note: "It is host:port, or unix: and a path."},
		{Names: "tls_cert_file, cert, certificate, ssl_certificate", Paths: "listen[].tls.cert_file"},
		{Names: "tls_key_file, private_key, ssl_certificate_key", Paths: "listen[].tls.key_file"},
		{Names: "client_ca, tls_client_ca_file, ssl_client_certificate", Paths: "listen[].tls.client_ca_file"},
		{Names: "reverse_proxy, trusted_ips, trusted_ip, trusted_proxy, real_client_ip_header, trust_forward_header, proxies, set_real_ip_from, trusted_hops", Paths: "trusted_proxies",
			Note: "It lists the addresses of the proxies; what other peers send is refused."},
		{Names: "proxy_prefix, api_route, auth_path, routes, paths, route", Paths: "endpoints[].path"},
		{Names: "type, proxy, format", Paths: "endpoints[].dialect", Note: "It names the proxy that asks."},
		{Names: "shutdown_timeout, graceful_timeout, grace_period", Paths: "drain_timeout", Note: "It is in seconds."},
		{Names: "upstream, upstreams, backend, target", Note: "The proxy calls the upstream; this service only decides."},
		{Names: "admin, metrics_address, ping_path, ready_path, logging, log_level, verbose", Note: "It is a flag of the program: see gatehouse-forwardauth -help."},
	}
	gate := reflect.TypeFor[config.Config]()
	for i := range gate.NumField() {
		if key := setting.Key(gate.Field(i)); key != "path" {
			names = append(names, setting.Foreign{Names: key, Paths: "gates", Note: "It is a setting of a gate: gates.NAME." + key + "."})
		}
	}
	return names
}
