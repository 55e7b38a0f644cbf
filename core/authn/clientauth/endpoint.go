package clientauth

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"gatehouse/core/authn/claims"
	"gatehouse/core/authn/discovery"
	"gatehouse/core/authn/idp"
)

// EndpointOptions are those of an Endpoint.
type EndpointOptions struct {
	// Name of the endpoint in the metadata of its server: TokenEndpoint or
	// IntrospectionEndpoint. URL is where it is.
	Name, URL string
	// Issuer is the server; empty: it is not known, and has no metadata.
	Issuer string
	// Authentication is how the gate authenticates itself.
	Authentication Options
	// Client calls the server, Log gets a line where its metadata does not go with the
	// configuration.
	Client *idp.Client
	Log    *slog.Logger
}

// Endpoint is one at which the gate authenticates itself, beside the sign-in, which has the
// metadata of its provider anyway. It is safe for concurrent use.
type Endpoint struct {
	options EndpointOptions
	client  *Client
	names   map[string]string
	kept    *idp.Kept[claims.Set] // nil: nobody needs the metadata
}

// How long metadata are kept, and how often they are fetched at most.
const (
	refreshAfter = 15 * time.Minute
	maxAge       = 24 * time.Hour
	minInterval  = 10 * time.Second
)

// NewEndpoint makes an endpoint. Nothing is called yet.
func NewEndpoint(o EndpointOptions) (*Endpoint, error) {
	client, err := New(o.Authentication)
	if err != nil {
		return nil, err
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	e := &Endpoint{options: o, client: client, names: map[string]string{Issuer: o.Issuer, o.Name: o.URL}}
	if _, err := client.Audience(e.names); err != nil && Asserts(client.Method()) {
		return nil, err
	}
	if _, err := idp.ParseURL(o.Issuer); err == nil && (UsesTLS(client.Method()) || Asserts(client.Method())) {
		e.kept = &idp.Kept[claims.Set]{
			Fetch: e.fetch, RefreshAfter: refreshAfter, MaxAge: maxAge, MinInterval: minInterval,
			Log: o.Log, Failure: "cannot fetch the metadata of an authorization server", Issuer: o.Issuer, Now: client.options.Now,
		}
	}
	return e, nil
}

// Method is how the gate authenticates itself.
func (e *Endpoint) Method() string { return e.client.Method() }

// Ready has the metadata fetched, without waiting for it, where they are needed.
func (e *Endpoint) Ready() {
	if e.kept != nil {
		e.kept.Ready()
	}
}

func (e *Endpoint) fetch(ctx context.Context) (claims.Set, error) {
	document, err := discovery.Fetch(ctx, e.options.Client, e.options.Issuer)
	if err != nil {
		return nil, err
	}
	e.client.Warn(e.options.Log, e.options.Name, document)
	return document, nil
}

// address is where the endpoint takes clients with a certificate, if the server has another
// one for them (RFC 8705 section 5), or as it is configured.
func (e *Endpoint) address(ctx context.Context) string {
	if e.kept == nil || !UsesTLS(e.client.Method()) {
		return e.options.URL
	}
	document, err := e.kept.Get(ctx)
	if configured, _ := document.Text(e.options.Name); err != nil || configured != e.options.URL {
		return e.options.URL
	}
	alias, err := discovery.Address(e.client.Endpoints(document), e.options.Name, e.options.Issuer)
	if err != nil || !strings.HasPrefix(alias, "https:") { // without TLS there is no certificate
		return e.options.URL
	}
	return alias
}

// Request is a form for the endpoint, with what authenticates the gate.
func (e *Endpoint) Request(ctx context.Context, form url.Values, accept string) (*http.Request, error) {
	audience := ""
	if Asserts(e.client.Method()) {
		audience, _ = e.client.Audience(e.names) // which NewEndpoint has checked
	}
	header := http.Header{"Content-Type": {"application/x-www-form-urlencoded"}, "Accept": {accept}}
	if err := e.client.Authenticate(header, form, audience); err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, e.address(ctx), strings.NewReader(form.Encode()))
	if err != nil {
		return nil, errors.New("the URL of the endpoint cannot be asked")
	}
	req.Header = header
	return req, nil
}

// Endpoints are the metadata of a server as they are for this client: with a certificate
// the addresses are those of mtls_endpoint_aliases (RFC 8705 section 5).
func (c *Client) Endpoints(document claims.Set) claims.Set {
	alias, ok := document["mtls_endpoint_aliases"].(map[string]any)
	if !ok || !UsesTLS(c.Method()) {
		return document
	}
	own := maps.Clone(document)
	for name, address := range alias {
		if strings.HasSuffix(name, "_endpoint") { // nothing else has a meaning there
			own[name] = address
		}
	}
	return own
}

// Warn logs where an endpoint of a server does not take clients that authenticate so, by
// its metadata.
func (c *Client) Warn(log *slog.Logger, endpoint string, document claims.Set) {
	issuer, _ := document.Text("issuer")
	for _, said := range []struct{ member, value string }{
		{endpoint + "_auth_methods_supported", c.Method()},
		{endpoint + "_auth_signing_alg_values_supported", c.Algorithm()},
	} {
		list, _ := document[said.member].([]any)
		if said.value == "" || len(list) == 0 || slices.Contains(list, any(said.value)) {
			continue
		}
		log.Warn("the authorization server says that it does not take clients which authenticate so; choose one of its ways, or have it changed there",
			"issuer", issuer, "configured", said.value, "metadata", said.member, "accepted", shown(list))
	}
}

// shown are the members of a list for a log line.
func shown(list []any) string {
	const most = 20
	text := strings.TrimSuffix(fmt.Sprintf("%.40q", list[:min(len(list), most)]), "]")
	if len(list) > most {
		text += " ..."
	}
	return strings.TrimPrefix(text, "[")
}
