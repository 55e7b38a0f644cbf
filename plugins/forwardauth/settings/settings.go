// Package settings is the configuration file of the forward-auth service: the
// listeners, the endpoints at which proxies ask, and the gates that decide.
package settings

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"gatehouse/core"
	"gatehouse/core/config/hosts"
	"gatehouse/core/setting"
)

// Settings are those of the service itself. The gates' configurations are the same
// on every host.
type Settings struct {
	Listen         []Listen        `config:"listen" required:"true" doc:"Where to listen."`
	TrustedProxies []string        `config:"trusted_proxies" doc:"Addresses and networks of the proxies, such as 10.0.0.0/8. Auth requests from other addresses are refused. Empty: no peer on TCP is trusted."`
	Endpoints      []Endpoint      `config:"endpoints" required:"true" doc:"The path and dialect of each proxy's auth requests, and the gate that decides."`
	Gates          map[string]any  `config:"gates" required:"true" doc:"Gates by name. Each is a configuration as on every other host: all settings, or a file."`
	DrainTimeout   setting.Seconds `config:"drain_timeout" default:"10" between:"0,300" doc:"How long auth requests in progress may take after SIGTERM, in seconds."`
}

// Listen is a socket.
type Listen struct {
	Address string `config:"address" required:"true" doc:"host:port, or unix: and the path of a socket. HTTP/1.1 and HTTP/2 are spoken on each, HTTP/2 without TLS with prior knowledge (RFC 9113 section 3.3)."`
	TLS     *TLS   `config:"tls" doc:"Certificate of the service; leave out for plain HTTP."`
	Mode    string `config:"mode" default:"0600" doc:"Mode of the unix socket, in octal digits."`
	Trusted bool   `config:"trusted" default:"false" doc:"Whether every process that can open the unix socket is a trusted proxy."`
}

// TLS is the certificate of a socket.
type TLS struct {
	CertFile     string `config:"cert_file" required:"true" doc:"Path of a PEM file with the certificate and its chain."`
	KeyFile      string `config:"key_file" required:"true" doc:"Path of a PEM file with the private key."`
	ClientCAFile string `config:"client_ca_file" doc:"Path of a PEM file with the authorities whose client certificates are accepted. If set, every client needs a certificate, and must still be in trusted_proxies."`
}

// Endpoint is where a proxy asks.
type Endpoint struct {
	Path    string `config:"path" doc:"Path of the auth requests, such as /auth/traefik. With the dialect envoy it is the path_prefix; envoy-grpc and direct have none."`
	Dialect string `config:"dialect" required:"true" one_of:"traefik,nginx,caddy,haproxy,apisix,envoy,envoy-grpc,direct" doc:"Format of the proxy's auth requests. direct is for requests that the proxy passes on without one: those for what the gate itself serves, such as resource_metadata."`
	Gate    string `config:"gate" required:"true" doc:"Name of the gate that decides."`
	Scheme  string `config:"scheme" one_of:"http,https" doc:"Scheme by which browsers reach the proxy, where something in front of it ends TLS. Left out: the one that the proxy sends."`

	ClientCertificate string   `config:"client_certificate" one_of:"presented,verified" doc:"Whether the proxy passes on the client's certificate, replacing what the client itself sends in that header: one that the client presented, or one that the proxy has verified. Left out: such a header is the client's own and is ignored."`
	RequestBody       bool     `config:"request_body" default:"false" doc:"Whether the proxy sends the body of the request with the auth request, for permission tables with mcp: Envoy with with_request_body (with envoy-grpc also pack_as_bytes: true), Traefik with forwardBody and maxBodySize. Where it does not, their calls get 400. Other proxies cannot."`
	RealIPFrom        []string `config:"real_ip_from" doc:"Addresses and networks of load balancers in front of the proxy, such as 10.0.0.0/8, for failed_attempts. The client's address is then the last one in X-Forwarded-For that is none of them. Name no network that clients come from. Left out: the last one, which the proxy added."`
}

// Dialects whose endpoints have no path, or another meaning of it.
const (
	traefik   = "traefik"
	Envoy     = "envoy" // its paths begin with that of the endpoint
	EnvoyGRPC = "envoy-grpc"
	Direct    = "direct"
)

// Values of client_certificate.
const (
	Presented = "presented"
	Verified  = "verified"
)

// GateExtension is the key of context_extensions by which Envoy's operator
// chooses a gate.
const GateExtension = "gatehouse_gate"

// Problems are those that no tag of a field can express. No file is read.
func (s *Settings) Problems() []setting.Problem {
	var found []setting.Problem
	add := func(path, format string, args ...any) {
		found = append(found, setting.Problem{Path: path, Text: fmt.Sprintf(format, args...)})
	}
	trusted := false
	for i, l := range s.Listen {
		l.check(fmt.Sprintf("listen[%d]", i), add)
		trusted = trusted || l.Trusted
	}
	checkNetworks("trusted_proxies", s.TrustedProxies, add)
	if len(s.TrustedProxies) == 0 && !trusted {
		add("trusted_proxies", "is empty and no listener is trusted: every question would be refused")
	}
	s.checkEndpoints(add)
	return found
}

type report func(path, format string, args ...any)

func checkNetworks(path string, texts []string, add report) {
	for i, text := range texts {
		if _, err := setting.ParseNetwork(text); err != nil {
			add(fmt.Sprintf("%s[%d]", path, i), "%v", err)
		}
	}
}

func (l Listen) check(path string, add report) {
	socket, isUnix := l.UnixPath()
	if _, err := l.FileMode(); err != nil {
		add(path+".mode", "%v", err)
	}
	if isUnix {
		if !filepath.IsAbs(socket) { // also that of Linux without a file, which has no mode
			add(path+".address", "must be the whole path of a socket, such as unix:/run/gatehouse/forwardauth.sock")
		}
		return
	}
	if _, port, err := net.SplitHostPort(l.Address); err != nil || !isPort(port) {
		add(path+".address", "is neither host:port nor unix:/path")
	}
	if l.Trusted {
		add(path+".trusted", "is for unix sockets; name the proxies in trusted_proxies")
	}
}

func isPort(text string) bool {
	_, err := strconv.ParseUint(text, 10, 16)
	return err == nil
}

// UnixPath is the path of a unix socket.
func (l Listen) UnixPath() (string, bool) { return strings.CutPrefix(l.Address, "unix:") }

// FileMode is that of a unix socket.
func (l Listen) FileMode() (fs.FileMode, error) {
	mode, err := strconv.ParseUint(l.Mode, 8, 32)
	if err != nil || mode > 0o777 {
		return 0, errors.New("is no mode such as 0660, in quotes")
	}
	return fs.FileMode(mode), nil
}

func (s *Settings) checkEndpoints(add report) {
	for i, e := range s.Endpoints {
		path := fmt.Sprintf("endpoints[%d]", i)
		if _, found := s.Gates[e.Gate]; !found {
			add(path+".gate", "names no gate; there are %s", strings.Join(slices.Sorted(maps.Keys(s.Gates)), ", "))
		}
		e.checkPath(path+".path", add)
		checkNetworks(path+".real_ip_from", e.RealIPFrom, add)
		for _, other := range s.Endpoints[:i] {
			switch {
			case e.Dialect == EnvoyGRPC && other.Dialect == EnvoyGRPC:
				add(path, "is the second with envoy-grpc; choose the gate by context_extensions.%s", GateExtension)
			case e.Path != "" && other.Path != "" && e.overlaps(other):
				add(path+".path", "is the same as, above or below that of another endpoint, %s", other.Path)
			}
		}
	}
}

// sendsBodies are the dialects of proxies that can send a body along. Envoy shows trailer
// fields behind it; of Traefik only bodies of a known length are taken, which have none.
var sendsBodies = []string{traefik, Envoy, EnvoyGRPC}

func (e Endpoint) checkPath(path string, add report) {
	if e.RequestBody && !slices.Contains(sendsBodies, e.Dialect) {
		add(path+".request_body", "does not go with %s, whose auth requests hold no body; it is for %s", e.Dialect, strings.Join(sendsBodies, ", "))
	}
	odd := func(r rune) bool {
		return r >= 0x80 || !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("/-_.", r))
	}
	switch {
	case e.Dialect == EnvoyGRPC && e.Path != "":
		add(path, "does not go with envoy-grpc, whose path is fixed")
	case e.Dialect == Direct && e.Path != "":
		add(path, "does not go with direct, whose paths are those that the gate itself serves")
	case e.Dialect == EnvoyGRPC, e.Dialect == Direct:
	case !strings.HasPrefix(e.Path, "/") || len(e.Path) < 2 || strings.HasSuffix(e.Path, "/") || strings.ContainsFunc(e.Path, odd):
		add(path, "must be a path such as /auth/%s, of letters, digits, '-', '_', '.' and inner slashes", e.Dialect)
	}
}

// overlaps reports whether a request could be both endpoints'.
func (e Endpoint) overlaps(other Endpoint) bool {
	a, b := e.Path+"/", other.Path+"/"
	return strings.HasPrefix(a, b) || strings.HasPrefix(b, a)
}

// OwnProblems are those of endpoints with the dialect direct, whose paths are those
// that their gates serve themselves; known is false where that is not known.
func (s *Settings) OwnProblems(of func(gate string) (paths []string, known bool)) []setting.Problem {
	var found []setting.Problem
	by := map[string]string{}
	for i, e := range s.Endpoints {
		paths, known := of(e.Gate)
		if e.Dialect != Direct || !known {
			continue
		}
		add := func(format string, args ...any) {
			found = append(found, setting.Problem{Path: fmt.Sprintf("endpoints[%d]", i), Text: fmt.Sprintf(format, args...)})
		}
		if len(paths) == 0 {
			add("gate %s serves nothing itself: the dialect direct is for resource_metadata and the like", e.Gate)
		}
		for _, path := range paths {
			if other, twice := by[path]; twice {
				add("gates %s and %s both serve %s: run a service for each", other, e.Gate, path)
			} else if slices.ContainsFunc(s.Endpoints, func(other Endpoint) bool { return other.Takes(path) }) {
				add("gate %s serves %s, where auth requests are decided: choose another path for these", e.Gate, path)
			}
			by[path] = e.Gate
		}
	}
	return found
}

// BodyProblems are those of gates that read the bodies of requests, which are in no
// auth request, and that no endpoint has with the dialect direct.
func (s *Settings) BodyProblems(takes func(gate string) bool) []setting.Problem {
	var found []setting.Problem
	for i, e := range s.Endpoints {
		direct := func(other Endpoint) bool { return other.Dialect == Direct && other.Gate == e.Gate }
		first := slices.IndexFunc(s.Endpoints, func(other Endpoint) bool { return other.Gate == e.Gate })
		if first == i && takes(e.Gate) && !slices.ContainsFunc(s.Endpoints, direct) {
			found = append(found, setting.Problem{Path: fmt.Sprintf("endpoints[%d]", i), Text: fmt.Sprintf(
				"gate %s: revocation_endpoints, api_token.admin and decision_point do not work with auth requests alone, which hold no body; add {dialect: %s, gate: %s} to endpoints and have the proxy pass these paths on there", e.Gate, Direct, e.Gate)})
		}
	}
	return found
}

// Can is what the proxy of an endpoint can do to a request that it lets pass. Traefik
// copies every line of a header from the auth response, the others one line or all
// joined. None but Envoy by gRPC takes another request target. At an endpoint for what the
// gate itself serves the client's certificate is of no use, unless it is configured.
func (e Endpoint) Can() core.Demands {
	certificate := e.ClientCertificate
	if e.Dialect == Direct {
		certificate = Presented
	}
	return core.Demands{
		Body:              e.RequestBody || e.Dialect == Direct,
		ClientCertificate: certificate,
		RepeatedHeaders:   e.Dialect == traefik || e.Dialect == EnvoyGRPC || e.Dialect == Direct,
		Target:            e.Dialect == EnvoyGRPC || e.Dialect == Direct,
	}
}

// Proxy is what messages call the proxy of an endpoint.
func (e Endpoint) Proxy() string { return "a proxy of the dialect " + e.Dialect }

// DemandProblems are those of endpoints whose gates ask for more than the proxy can
// do.
func (s *Settings) DemandProblems(of func(gate string) core.Demands) []setting.Problem {
	var found []setting.Problem
	for i, e := range s.Endpoints {
		for _, p := range hosts.Unmet(of(e.Gate), e.Can(), e.Proxy()) {
			found = append(found, setting.Problem{Path: fmt.Sprintf("endpoints[%d]", i), Text: fmt.Sprintf("gate %s: %s", e.Gate, p)})
		}
	}
	return found
}

// Takes reports whether auth requests with a raw request target are the endpoint's. A
// query is ignored: some proxies append that of the original request.
func (e Endpoint) Takes(target string) bool {
	if e.Dialect == Envoy {
		return strings.HasPrefix(target, e.Path+"/")
	}
	path, _, _ := strings.Cut(target, "?")
	return e.Path != "" && path == e.Path
}

// Networks are those of trusted_proxies, which Problems has checked.
func (s *Settings) Networks() []netip.Prefix { return setting.ParseNetworks(s.TrustedProxies) }

// LoadBalancers are the networks of real_ip_from, which Problems has checked.
func (e Endpoint) LoadBalancers() []netip.Prefix { return setting.ParseNetworks(e.RealIPFrom) }
