// Package records sends audit records to a collector as log records of OpenTelemetry.
package records

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/log"
	sdk "go.opentelemetry.io/otel/sdk/log"
	"go.opentelemetry.io/otel/sdk/resource"

	"gatehouse/core/audit"
)

// eventName is what each log record is called.
const eventName = "gatehouse.decision"

// Sink sends records as they come: the body is the record, and what collectors filter by
// are attributes beside it, by the semantic conventions where there is one.
type Sink struct {
	exporter sdk.Exporter
	provider *sdk.LoggerProvider
	logger   log.Logger
	batch    []sdk.Record
}

var _ audit.Sink = (*Sink)(nil)

// New makes a sink of an exporter, which it shuts down in the end.
func New(exporter sdk.Exporter, of *resource.Resource) *Sink {
	s := &Sink{exporter: exporter}
	s.provider = sdk.NewLoggerProvider(sdk.WithResource(of), sdk.WithProcessor(collector{s}))
	s.logger = s.provider.Logger("gatehouse/audit")
	return s
}

// collector keeps what the SDK has made of a record.
type collector struct{ sink *Sink }

// OnEmit keeps the record.
func (c collector) OnEmit(_ context.Context, r *sdk.Record) error {
	c.sink.batch = append(c.sink.batch, r.Clone())
	return nil
}

// Enabled says that every record is wanted.
func (collector) Enabled(context.Context, sdk.EnabledParameters) bool { return true }

// Shutdown does nothing: the sink shuts the exporter down.
func (collector) Shutdown(context.Context) error { return nil }

// ForceFlush does nothing: the sink exports itself.
func (collector) ForceFlush(context.Context) error { return nil }

// Write sends all records in one request.
func (s *Sink) Write(ctx context.Context, records [][]byte) (written int, err error) {
	s.batch = s.batch[:0]
	for _, line := range records {
		var r audit.Record
		if err := json.Unmarshal(line, &r); err != nil {
			return 0, fmt.Errorf("a record cannot be read: %w", err)
		}
		s.logger.Emit(ctx, describe(&r, line))
	}
	if err := s.exporter.Export(ctx, s.batch); err != nil {
		return 0, err
	}
	return len(records), nil
}

// nameAttributes are how the semantic conventions for MCP call what a call names.
var nameAttributes = map[string]string{"tools/call": "gen_ai.tool.name", "prompts/get": "gen_ai.prompt.name", "resources/read": "mcp.resource.uri"}

func describe(r *audit.Record, line []byte) (out log.Record) {
	out.SetEventName(eventName)
	out.SetTimestamp(r.Time)
	out.SetObservedTimestamp(time.Now())
	out.SetSeverity(log.SeverityInfo)
	if r.Decision == "deny" {
		out.SetSeverity(log.SeverityWarn)
	}
	out.SetBody(attribute.StringValue(string(line[:len(line)-1])))
	add := func(name, value string) {
		if name != "" && value != "" {
			out.AddAttributes(attribute.String(name, value))
		}
	}
	add("gatehouse.request_id", r.RequestID)
	add("gatehouse.decision", r.Decision)
	add("gatehouse.reason", r.Reason)
	add("gatehouse.rule", r.Rule)
	add("gatehouse.gateway", r.Gateway)
	add("gatehouse.route", r.Route)
	add("http.request.method", r.Method)
	add("url.path", r.Path)
	if r.MCP != nil {
		add("mcp.method.name", r.MCP.Method)
		add(nameAttributes[r.MCP.Method], r.MCP.Name)
	}
	add("server.address", r.Host)
	add("client.address", r.ClientIP)
	if r.Status != 0 {
		out.AddAttributes(attribute.Int("http.response.status_code", r.Status))
	}
	if r.Caller != nil {
		add("enduser.id", r.Caller.Subject)
		add("gatehouse.client_id", r.Caller.ClientID)
	}
	return out
}

// Close shuts the exporter down.
func (s *Sink) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	return s.exporter.Shutdown(ctx)
}
