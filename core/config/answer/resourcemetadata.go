package answer

import (
	"fmt"
	"slices"

	"gatehouse/core"
	"gatehouse/core/config/section"
	"gatehouse/core/metadata"
)

// ResourceMetadata describes a protected resource to clients.
type ResourceMetadata struct {
	Resource             string   `config:"resource" required:"true" starts_with:"http" doc:"Identifier of the resource: the URL by which clients call it, such as https://api.example.com/mcp, without a query."`
	AuthorizationServers []string `config:"authorization_servers" doc:"Issuers at which clients get tokens for the resource. Without it: the issuers of jwt, and introspection.issuer."`
	ScopesSupported      []string `config:"scopes_supported" doc:"Scopes that clients may ask for."`
	ResourceName         string   `config:"resource_name" doc:"Name of the resource, for people."`
	Documentation        string   `config:"resource_documentation" starts_with:"http" doc:"URL of a page for the developers of clients."`
	AudienceRequired     bool     `config:"audience_required" default:"false" doc:"Whether calls to the resource and below it need an access token whose audience has exactly this identifier, for which clients ask by a resource indicator (RFC 8707); any other credential, a session among them, gets 401. The issuers of jwt and introspection must accept it, too, in audience. false: any credential counts that they accept."`
	DPoPBound            bool     `config:"dpop_bound_access_tokens_required" default:"false" doc:"Whether the metadata say that the resource takes only access tokens that are bound by DPoP (RFC 9449). The gate itself takes them with the section dpop, and refuses others by dpop_bound_access_tokens_required of jwt.issuers and introspection."`
	CertificateBound     bool     `config:"tls_client_certificate_bound_access_tokens" default:"false" doc:"Whether the metadata say that access tokens for the resource are bound to client certificates (RFC 8705). The gate accepts a bound token from the client with that certificate alone, where the host tells it. Kong asks clients for certificates where this is true, the Lua file is in use and the plugin is global."`
}

// Resources are the protected resources of a gate.
type Resources []ResourceMetadata

var _ Endpoints = Resources(nil)

// CheckEndpoints refuses what could not be served, each at its own path.
func (rs Resources) CheckEndpoints(v section.Validator) {
	seen := map[string]int{}
	for i, r := range rs {
		if r.Resource == "" {
			continue // is required
		}
		at := section.Item("resource_metadata", i) + ".resource"
		_, path, _, err := metadata.Locate(r.Resource)
		if err != nil {
			v.Add(at, "%v", err)
			continue
		}
		if first, twice := seen[path]; twice {
			v.Add(at, "has the path of resource_metadata[%d].resource; one gate serves one resource for a path", first)
		}
		seen[path] = i
	}
}

// CertificateBound is the setting that promises tokens bound to a client's certificate;
// empty: none does.
func (rs Resources) CertificateBound() string {
	for i, r := range rs {
		if r.CertificateBound {
			return section.Item("resource_metadata", i) + ".tls_client_certificate_bound_access_tokens"
		}
	}
	return ""
}

// AnyAudience are the same for tools whose callers have tokens for every resource.
func (rs Resources) AnyAudience() Resources {
	all := slices.Clone(rs)
	for i := range all {
		all[i].AudienceRequired = false
	}
	return all
}

// Endpoints serve the metadata, which challenges name.
func (rs Resources) Endpoints(issuers, proofAlgorithms []string) (endpoints []core.Endpoint, resources metadata.Places, err error) {
	for i, r := range rs {
		endpoint, resource, err := r.metadata(issuers, proofAlgorithms).Endpoint()
		if err != nil {
			return nil, nil, fmt.Errorf("resource_metadata[%d]: %w", i, err)
		}
		resource.RequiresAudience = r.AudienceRequired
		endpoints, resources = append(endpoints, endpoint), append(resources, resource)
	}
	return endpoints, resources, nil
}

func (r ResourceMetadata) metadata(issuers, proofAlgorithms []string) metadata.Resource {
	servers := r.AuthorizationServers
	if len(servers) == 0 {
		servers = issuers
	}
	return metadata.Resource{
		Resource:             r.Resource,
		AuthorizationServers: servers,
		ScopesSupported:      r.ScopesSupported,
		BearerMethods:        []string{"header"}, // RFC 6750 section 2.1; no other is accepted
		ProofAlgorithms:      proofAlgorithms,
		Name:                 r.ResourceName,
		Documentation:        r.Documentation,
		DPoPBound:            r.DPoPBound,
		CertificateBound:     r.CertificateBound,
	}
}
