package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"gatehouse/core"
	"gatehouse/core/clientcert"
	"gatehouse/core/config"
	"gatehouse/core/httpsyntax"
	"gatehouse/plugins/kong/pluginserver"
)

// handler decides each request with the gate of its time. Each exchange with Kong costs
// both sides tens of microseconds, so a request is read with two, sent together, and
// decided with one. Its id is a further one, made when a credential is refused.
type handler struct {
	gate  config.InUse
	gates *config.Builder
	// route is what Kong has attached the configuration to, as far as it says so.
	route string
}

var _ pluginserver.Handler = handler{}

// Access lets a request go on only if its gate allows it and Kong has taken
// over the headers that go with it.
func (h handler) Access(ctx context.Context, k pluginserver.Kong) {
	r, unread := readRequest(k)
	r.Gateway, r.Route = gatewayName, h.route
	d := h.gates.Decide(ctx, h.gate, r, unread)
	if d.Outcome == core.Allow {
		err := passOn(k, d)
		if err == nil {
			return
		}
		d = h.gates.Decide(ctx, h.gate, r, err)
	}
	pluginserver.Exit(k, d)
}

// gatewayName is what records call Kong.
const gatewayName = "kong"

// passOn gives Kong what goes with an admitted request. Groups are a further
// exchange, where they are configured, and so are a query without its credential and
// each header of the response.
func passOn(k pluginserver.Kong, d core.Decision) error {
	if d.Groups != nil {
		// Where Kong's acl plugin looks for those of a caller that is no consumer of Kong.
		if err := pluginserver.SetShared(k, "authenticated_groups", d.Groups); err != nil {
			return fmt.Errorf("Kong did not take the groups: %w", err)
		}
	}
	for _, h := range d.ResponseHeader {
		if err := pluginserver.AddResponseHeader(k, h); err != nil {
			return fmt.Errorf("Kong did not take the response header %s: %w", h.Name, err)
		}
	}
	if d.Target != "" {
		_, query, _ := strings.Cut(d.Target, "?")
		if err := pluginserver.SetRawQuery(k, query); err != nil {
			return fmt.Errorf("Kong did not take the query without the credential: %w", err)
		}
	}
	if err := setHeaders(k, d); err != nil {
		return fmt.Errorf("Kong did not take the upstream headers: %w", err)
	}
	return nil
}

// maxHeaders is the most that Kong hands over; nginx responds with 400 above it. A
// full map may hide more, so it is refused.
const maxHeaders = 1000

// readRequest requests from Kong what the gate needs. An error of Kong must not read as
// "absent". The request is never nil.
func readRequest(k pluginserver.Kong) (*core.Request, error) {
	r := &core.Request{
		AskID: func() string { return pluginserver.RequestID(k) }, RunsTwice: true, // where a connection ends in the middle of an event
		AskPeer: func() netip.Addr { return address(pluginserver.Text(k, "kong.client.get_ip")) },
		// That of the connection, unless it is one of trusted_ips.
		AskClient: func() netip.Addr { return address(pluginserver.Text(k, "kong.client.get_forwarded_ip")) },
		AskTLS:    func() (*core.ClientTLS, error) { return clientTLS(k) },
		AskBody:   func(limit int) ([]byte, error) { return readBody(k, limit) },
	}
	var err error
	if r.Method, r.Target, err = pluginserver.RequestLine(k); err != nil {
		return r, err
	}
	if r.Header, err = pluginserver.Headers(k, maxHeaders); err != nil {
		return r, fmt.Errorf("%w: Kong cannot hand over the headers: %w", core.ErrBadRequest, err)
	}
	r.HeaderCut = len(r.Header) >= maxHeaders
	r.Host, _ = r.Lookup("Host")
	r.Target = httpsyntax.OriginForm(r.Target, r.Host) // which is what Kong serves
	return r, nil
}

// address is what a further exchange returned. One that Kong does not know stays
// unknown: a rule that depends on it denies.
func address(text string, err error) netip.Addr {
	if err != nil {
		return netip.Addr{}
	}
	addr, _ := netip.ParseAddr(text) // zero if it is none
	return addr
}

// clientTLS is one further exchange for a client without a certificate, and two for
// one with a certificate. Kong shows the client's own certificate and not its chain.
func clientTLS(k pluginserver.Kong) (*core.ClientTLS, error) {
	certificate, err := pluginserver.Var(k, "ssl_client_raw_cert")
	if err != nil {
		return nil, fmt.Errorf("Kong cannot hand over the client's certificate: %w", err)
	}
	if certificate == "" {
		return &core.ClientTLS{}, nil
	}
	verify, err := pluginserver.Var(k, "ssl_client_verify")
	if err != nil {
		return nil, fmt.Errorf("Kong cannot hand over whether it verified the client's certificate: %w", err)
	}
	return clientcert.FromNGINX(certificate, verify)
}

// setHeaders removes and sets in one exchange: an empty list removes.
func setHeaders(k pluginserver.Kong, d core.Decision) error {
	if len(d.Strip) == 0 && len(d.Set) == 0 {
		return nil
	}
	headers := make(map[string][]string, len(d.Strip)+len(d.Set))
	for _, name := range d.Strip {
		headers[name] = []string{}
	}
	for _, h := range d.Set {
		headers[h.Name] = append(headers[h.Name], h.Value)
	}
	return pluginserver.SetHeaders(k, headers)
}

// ownSettings drops what Kong adds to a configuration: what the plugin is
// attached to and Kong's own bookkeeping. Everything else must be a setting.
func ownSettings(raw json.RawMessage) ([]byte, error) {
	var settings map[string]any
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	if err := decoder.Decode(&settings); err != nil {
		return nil, errors.New("Kong's configuration is not a JSON object")
	}
	for key := range settings {
		switch key {
		case "route_id", "service_id", "consumer_id", "consumer_group_id", "plugin_instance_name":
			delete(settings, key)
		default:
			if strings.HasPrefix(key, "__") {
				delete(settings, key)
			}
		}
	}
	dropReferences(settings)
	return json.Marshal(settings)
}

// routeOf is the route that Kong has attached a configuration to; empty for one of a service
// or of all.
func routeOf(raw []byte) string {
	var attached struct {
		Route string `json:"route_id"`
	}
	_ = json.Unmarshal(raw, &attached) // what is not there, or of another type, stays empty
	return attached.Route
}

// dropReferences removes the notes that Kong leaves in every table of which
// values it took from a vault.
func dropReferences(value any) {
	switch value := value.(type) {
	case map[string]any:
		delete(value, "$refs")
		for _, inner := range value {
			dropReferences(inner)
		}
	case []any:
		for _, inner := range value {
			dropReferences(inner)
		}
	}
}
