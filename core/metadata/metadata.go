// Package metadata serves the metadata of OAuth 2.0 protected resources (RFC
// 9728), from which a client learns where to get a token.
package metadata

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"gatehouse/core"
)

// Resource is the metadata of a protected resource (RFC 9728 section 2). What is
// empty is left out, but for what a client must not assume.
type Resource struct {
	// Resource is the identifier, exactly as clients use it: the URL of the
	// resource, without a query and a fragment.
	Resource             string   `json:"resource"`
	AuthorizationServers []string `json:"authorization_servers,omitempty"`
	ScopesSupported      []string `json:"scopes_supported,omitempty"`
	BearerMethods        []string `json:"bearer_methods_supported"`
	ProofAlgorithms      []string `json:"dpop_signing_alg_values_supported,omitempty"`
	Name                 string   `json:"resource_name,omitempty"`
	Documentation        string   `json:"resource_documentation,omitempty"`
	DPoPBound            bool     `json:"dpop_bound_access_tokens_required"`
	CertificateBound     bool     `json:"tls_client_certificate_bound_access_tokens"`
}

const wellKnown = "/.well-known/oauth-protected-resource"

// Locate returns the path of a resource, where its metadata are (RFC 9728 section
// 3.1) and the URL of these.
func Locate(resource string) (path, at, metadata string, err error) {
	u, err := url.Parse(resource)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		return "", "", "", errors.New("must be a complete http or https URL")
	case u.User != nil:
		return "", "", "", errors.New("must not hold a user name or password")
	case strings.ContainsAny(resource, "?#"):
		return "", "", "", errors.New("must not have a query or a fragment (RFC 9728 section 1.2)")
	}
	path = u.EscapedPath()
	if path == "" {
		path = "/"
	}
	if canonical, err := core.Canonical(path, core.PathOptions{}); err != nil || canonical != path {
		return "", "", "", fmt.Errorf("has a path with two readings, %.200q; write it without escapes, dot segments and double slashes", path)
	}
	at = wellKnown + strings.TrimSuffix(path, "/")
	if path != "/" {
		at = wellKnown + path
	}
	return path, at, u.Scheme + "://" + u.Host + at, nil
}

// Place is where a protected resource is, and its metadata.
type Place struct {
	// Path is that of the resource's URL, such as /mcp. Calls to it and below it
	// are calls to the resource.
	Path string
	// Metadata is the URL of its metadata (RFC 9728 section 5.1).
	Metadata string
	// Resource is its identifier. RequiresAudience: no credential but a token for it counts.
	Resource         string
	RequiresAudience bool
}

// Places are the protected resources of a gate.
type Places []Place

// Of names the metadata of the resource that a call is for. Empty: it is for none.
func (ps Places) Of(path string) string {
	if p := ps.at(path); p != nil {
		return p.Metadata
	}
	return ""
}

// at is the resource with the longest path that a call is for; nil: it is for none.
func (ps Places) at(path string) (longest *Place) {
	for i := range ps {
		p := &ps[i]
		below, ok := strings.CutPrefix(path, strings.TrimSuffix(p.Path, "/"))
		if ok && (below == "" || below[0] == '/') && (longest == nil || len(p.Path) > len(longest.Path)) {
			longest = p
		}
	}
	return longest
}

// Endpoint serves the metadata, also to pages of other origins.
func (r Resource) Endpoint() (core.Endpoint, Place, error) {
	path, at, metadata, err := Locate(r.Resource)
	if err != nil {
		return core.Endpoint{}, Place{}, fmt.Errorf("resource %w", err)
	}
	document, err := json.Marshal(r)
	if err != nil { // a struct of strings and booleans always encodes
		return core.Endpoint{}, Place{}, err
	}
	endpoint := core.Endpoint{Path: at, Methods: []string{http.MethodGet, http.MethodOptions}, Handler: handler(document)}
	return endpoint, Place{Path: path, Metadata: metadata, Resource: r.Resource}, nil
}

// handler is the document that it responds with.
type handler []byte

// Respond hands out the document, which is the same for every client and so may
// be cached and be read by any page (Fetch standard, CORS protocol).
func (h handler) Respond(_ context.Context, call *core.Call, _ []byte) (core.Response, error) {
	if call.Method == http.MethodOptions {
		return core.Response{Status: http.StatusNoContent, Header: []core.Header{
			{Name: "Access-Control-Allow-Origin", Value: "*"},
			{Name: "Access-Control-Allow-Methods", Value: "GET, HEAD"},
			{Name: "Access-Control-Allow-Headers", Value: "*"},
			{Name: "Access-Control-Max-Age", Value: "86400"},
		}}, nil
	}
	return core.Response{Status: http.StatusOK, Body: h, Header: []core.Header{
		{Name: "Content-Type", Value: "application/json"},
		{Name: "Cache-Control", Value: "public, max-age=300"},
		{Name: "Access-Control-Allow-Origin", Value: "*"},
	}}, nil
}
