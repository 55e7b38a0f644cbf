// Package otlp is how telemetry goes to a collector by the OpenTelemetry protocol: where it
// is, and as what this process presents itself.
package otlp

import (
	"context"
	"crypto/tls"
	"net/url"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlplog/otlploggrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlplog/otlploghttp"
	"go.opentelemetry.io/otel/sdk/log"
	"go.opentelemetry.io/otel/sdk/resource"
	"google.golang.org/grpc/credentials"
)

// Protocols by their names in OTEL_EXPORTER_OTLP_PROTOCOL.
const (
	GRPC = "grpc"
	HTTP = "http/protobuf"
)

// Endpoint is a collector.
type Endpoint struct {
	// Protocol is GRPC or HTTP.
	Protocol string
	// URL has the scheme http or https; with HTTP a path that is not empty takes the place
	// of the usual one of each signal.
	URL *url.URL
	// Headers go with every request.
	Headers map[string]string
	// TLS is for https.
	TLS *tls.Config
	// Timeout is for one request, with all that is tried again.
	Timeout time.Duration
}

func (e Endpoint) secure() bool { return e.URL.Scheme == "https" }

// path is that of a signal.
func (e Endpoint) path(usual string) string {
	if path := e.URL.EscapedPath(); path != "" && path != "/" {
		return path
	}
	return usual
}

// Logs makes what sends log records. Nothing is called yet. No variable of the environment
// changes what is set here.
func (e Endpoint) Logs(ctx context.Context) (log.Exporter, error) {
	if e.Protocol == GRPC {
		options := []otlploggrpc.Option{
			otlploggrpc.WithEndpoint(e.URL.Host), otlploggrpc.WithHeaders(e.Headers), otlploggrpc.WithTimeout(e.Timeout), otlploggrpc.WithCompressor("gzip"),
			otlploggrpc.WithRetry(otlploggrpc.RetryConfig{Enabled: true, InitialInterval: retryFirst, MaxInterval: retryLast, MaxElapsedTime: e.Timeout}),
		}
		if e.secure() {
			return otlploggrpc.New(ctx, append(options, otlploggrpc.WithTLSCredentials(credentials.NewTLS(e.TLS)))...)
		}
		return otlploggrpc.New(ctx, append(options, otlploggrpc.WithInsecure())...)
	}
	options := []otlploghttp.Option{
		otlploghttp.WithEndpoint(e.URL.Host), otlploghttp.WithURLPath(e.path("/v1/logs")), otlploghttp.WithHeaders(e.Headers), otlploghttp.WithTimeout(e.Timeout), otlploghttp.WithCompression(otlploghttp.GzipCompression),
		otlploghttp.WithRetry(otlploghttp.RetryConfig{Enabled: true, InitialInterval: retryFirst, MaxInterval: retryLast, MaxElapsedTime: e.Timeout}),
	}
	if e.secure() {
		return otlploghttp.New(ctx, append(options, otlploghttp.WithTLSClientConfig(e.TLS))...)
	}
	return otlploghttp.New(ctx, append(options, otlploghttp.WithInsecure())...)
}

// Waits between attempts.
const (
	retryFirst = 250 * time.Millisecond
	retryLast  = 5 * time.Second
)

// Resource is what this process is called in all its telemetry (semantic conventions,
// service and host), with attributes of the operator's, which take precedence.
func Resource(version, host string, more map[string]string) *resource.Resource {
	attributes := map[string]string{"service.name": "gatehouse", "service.version": version, "host.name": host}
	for name, value := range more {
		attributes[name] = value
	}
	var list []attribute.KeyValue
	for name, value := range attributes {
		if value != "" {
			list = append(list, attribute.String(name, value))
		}
	}
	return resource.NewSchemaless(list...)
}
