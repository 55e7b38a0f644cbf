package core

import "slices"

// Kind says how a principal proved who they are: a row of the table of kinds.
type Kind string

// The kinds of credentials.
const (
	KindSession       Kind = "session"
	KindJWT           Kind = "jwt"
	KindIntrospection Kind = "introspection"
	KindAPIToken      Kind = "api_token"
	KindMTLS          Kind = "mtls"
	KindSPIFFE        Kind = "spiffe"
	KindOIDC          Kind = "oidc"
)

// KindInfo is a row of the table of credential kinds, out of which tables, the configuration,
// tools and documents take what they call a kind. A new kind is a row here, a section of
// core/config that builds it, and a package below core/authn that verifies it.
type KindInfo struct {
	// Kind is its name in permission tables (credentials), in the claim "kind", in logs and
	// metrics, on the command line, and of its section in the configuration (in login for oidc).
	Kind Kind
	// Title is what documents and explanations call it.
	Title string
	// Proof is what convinces the gate.
	Proof string
	// Places are where such a credential may sit.
	Places []PlaceName
	// Scopes tells whether such a credential can state scopes (RFC 6749 section 3.3).
	Scopes bool
	// Proofs are those of possession that such a credential can come with.
	Proofs []Proof
	// Delegated tells whether such a credential can say who acts for its subject.
	Delegated bool
}

var kinds = []KindInfo{
	{Kind: KindSession, Title: "Ory Kratos session", Proof: "Kratos, asked for the session", Places: []PlaceName{SessionCookie, SessionToken, BearerToken, TokenCookie, TokenHeader, TokenParameter}},
	{Kind: KindJWT, Title: "JWT access token", Proof: "the issuer's signature, checked with its key set", Places: []PlaceName{BearerToken, TokenCookie, TokenHeader, TokenParameter}, Scopes: true, Proofs: Proofs(), Delegated: true},
	{Kind: KindIntrospection, Title: "opaque access token", Proof: "the authorization server, asked by introspection (RFC 7662)", Places: []PlaceName{BearerToken, TokenCookie, TokenHeader, TokenParameter}, Scopes: true, Proofs: Proofs(), Delegated: true},
	{Kind: KindAPIToken, Title: "API token", Proof: "its digest in a file or in PostgreSQL", Places: []PlaceName{BearerToken, TokenHeader}, Scopes: true},
	{Kind: KindMTLS, Title: "client certificate", Proof: "the TLS handshake, and the signature of an authority that is trusted", Places: []PlaceName{ClientCertificate}, Proofs: []Proof{ProofMTLS}},
	{Kind: KindSPIFFE, Title: "SPIFFE ID of a workload", Proof: "the trust bundle of its trust domain", Places: []PlaceName{ClientCertificate, BearerToken, TokenCookie, TokenHeader, TokenParameter}, Proofs: []Proof{ProofMTLS}},
	{Kind: KindOIDC, Title: "session of a sign-in at the gate", Proof: "the seal of its cookie, or Redis", Places: []PlaceName{SignInCookie}, Scopes: true, Delegated: true},
}

// Kinds returns the table of credential kinds. The caller must not change it.
func Kinds() []KindInfo { return kinds }

// KindNames are the names of all kinds, in the order of the table.
func KindNames() []string {
	names := make([]string, len(kinds))
	for i, k := range kinds {
		names[i] = string(k.Kind)
	}
	return names
}

// Info finds the row of a kind.
func (k Kind) Info() (info KindInfo, known bool) {
	i := slices.IndexFunc(kinds, func(row KindInfo) bool { return row.Kind == k })
	if i < 0 {
		return KindInfo{}, false
	}
	return kinds[i], true
}
