// Package otlp has the settings of a collector that takes telemetry by the OpenTelemetry
// protocol.
package otlp

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"maps"
	"net"
	"net/url"
	"slices"
	"strings"

	"gatehouse/core/config/section"
	"gatehouse/core/httpsyntax"
	"gatehouse/core/otlp"
	"gatehouse/core/setting"
)

// Collector is where telemetry goes. Its names are those of Kong's and APISIX's
// opentelemetry and of the SDKs.
type Collector struct {
	Endpoint     string            `config:"endpoint" required:"true" starts_with:"http" doc:"URL of the collector, such as http://127.0.0.1:4318 (HTTP) or https://collector.example.com:4317 (gRPC). With HTTP a path that is given takes the place of the usual one, such as /v1/logs."`
	Protocol     string            `config:"protocol" default:"http/protobuf" one_of:"http/protobuf,grpc" doc:"OTLP over HTTP or over gRPC."`
	Token        setting.Secret    `config:"token" secret:"true" doc:"Secret for the collector, sent as a bearer token, or alone in another auth_header. Takes a literal value, $env://NAME or $file:///path."`
	AuthHeader   string            `config:"auth_header" default:"Authorization" doc:"Header that holds the token. Any other than Authorization holds nothing but the token, such as X-Api-Key."`
	Attributes   map[string]string `config:"resource_attributes" doc:"Attributes of the resource beside service.name (gatehouse), service.version and host.name, which they may replace."`
	Timeout      setting.Seconds   `config:"timeout" default:"10" between:"0.1,60" doc:"Time limit of one request with all that is tried again, in seconds."`
	SSLVerify    bool              `config:"ssl_verify" default:"true" doc:"Whether the collector's certificate is verified. Switch off in development only."`
	CAFile       string            `config:"ca_file" file:"true" doc:"Path of a PEM file with the certificate authorities to trust instead of the system's."`
	InsecureHTTP bool              `config:"insecure_http" default:"false" doc:"Allows http to other machines. Whoever is on the way reads who calls what."`
}

// Check reports what no single tag can say, of a section at a path.
func (c *Collector) Check(v section.Validator, path string) {
	if c.Endpoint == "" || v.Mentions(path+".endpoint") {
		return
	}
	u, err := url.Parse(c.Endpoint)
	switch {
	case err != nil || u.Host == "" || u.Hostname() == "":
		v.Add(path+".endpoint", "is no URL with a host")
	case u.RawQuery != "" || u.Fragment != "":
		v.Add(path+".endpoint", "has a query or a fragment; a secret belongs into token")
	case strings.EqualFold(u.Scheme, "http") && !c.InsecureHTTP && !loopback(u.Hostname()):
		v.Add(path+".endpoint", "begins with http: whoever is on the way reads who calls what; use https, or set insecure_http in a network that you trust")
	}
	if !httpsyntax.IsToken(c.AuthHeader) {
		v.Add(path+".auth_header", "is not the name of a header")
	}
	for _, name := range slices.Sorted(maps.Keys(c.Attributes)) {
		if strings.TrimSpace(name) == "" {
			v.Add(path+".resource_attributes", "has an attribute without a name")
		}
	}
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// Resolved is what files and references of the settings hold now; it belongs into the key of
// what is made of them.
type Resolved struct{ Token, Authorities string }

// Resolve reads them.
func (c *Collector) Resolve(path string) (r Resolved, err error) {
	if r.Token, err = setting.Resolve(string(c.Token)); err != nil {
		return r, section.At(path+".token", err)
	}
	r.Authorities, err = section.Authorities(path+".ca_file", c.CAFile)
	return r, err
}

// Connect is the collector. Nothing is called.
func (c *Collector) Connect(path string, r Resolved) (e otlp.Endpoint, err error) {
	e = otlp.Endpoint{Protocol: c.Protocol, Timeout: c.Timeout.Duration(), TLS: &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: !c.SSLVerify}}
	if e.URL, err = url.Parse(c.Endpoint); err != nil {
		return e, section.At(path+".endpoint", err)
	}
	e.URL.Scheme = strings.ToLower(e.URL.Scheme)
	if r.Authorities != "" {
		e.TLS.RootCAs = x509.NewCertPool()
		if !e.TLS.RootCAs.AppendCertsFromPEM([]byte(r.Authorities)) {
			return e, section.At(path+".ca_file", errors.New("holds no certificate as PEM"))
		}
	}
	switch {
	case r.Token == "":
	case strings.EqualFold(c.AuthHeader, "Authorization"):
		e.Headers = map[string]string{c.AuthHeader: "Bearer " + r.Token}
	default:
		e.Headers = map[string]string{c.AuthHeader: r.Token}
	}
	return e, nil
}
