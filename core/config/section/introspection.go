package section

import (
	"strings"
	"time"

	"gatehouse/core"
	"gatehouse/core/authn"
	"gatehouse/core/authn/clientauth"
	"gatehouse/core/authn/idp"
	"gatehouse/core/authn/introspection"
	"gatehouse/core/authn/jwt"
	"gatehouse/core/config/client"
	"gatehouse/core/extract"
	"gatehouse/core/setting"
	"gatehouse/core/shared"
)

// Introspection asks the authorization server about a token.
type Introspection struct {
	Endpoint            string          `config:"introspection_endpoint" required:"true" starts_with:"http" doc:"URL of the introspection endpoint (RFC 7662 section 2)."`
	AuthMethod          string          `config:"introspection_endpoint_auth_method" default:"none" one_of:"none,client_secret_basic,client_secret_post,client_secret_jwt,private_key_jwt,tls_client_auth,self_signed_tls_client_auth,bearer,header" doc:"How the gateway authenticates at the endpoint: as a client with client_id and client_secret (RFC 6749 section 2.3.1), with an assertion that client_private_key signs (private_key_jwt, RFC 7523), with tls_client_cert_file (RFC 8705), or with client_secret as a bearer token or in the header introspection_endpoint_auth_header."`
	AuthHeader          string          `config:"introspection_endpoint_auth_header" doc:"Name of the header that holds client_secret, for the method header, such as X-Api-Key."`
	ClientID            string          `config:"client_id" doc:"Client identifier of the gateway at the introspection endpoint."`
	ClientSecret        setting.Secret  `config:"client_secret" secret:"true" doc:"Client secret of the gateway, or the key that the provider has given out. Takes a literal value, $env://NAME or $file:///path."`
	AllowSecretJWT      bool            `config:"allow_client_secret_jwt" default:"false" doc:"Allows the method client_secret_jwt, for which the server keeps the secret itself and not its digest."`
	PrivateKey          setting.Secret  `config:"client_private_key" secret:"true" doc:"Private key of private_key_jwt, as PEM or JWK. Takes a literal value, $env://NAME or $file:///path. A changed file takes effect within seconds."`
	KeyID               string          `config:"client_private_key_id" doc:"Value of kid of the assertions, where client_private_key is PEM and the server wants one."`
	Algorithm           string          `config:"client_alg" one_of:"RS256,RS384,RS512,PS256,PS384,PS512,ES256,ES384,ES512,EdDSA,HS256,HS384,HS512" doc:"Algorithm of the assertions. Without it: that of the JWK, or RS256, ES256, ES384, ES512 or EdDSA by the kind of key; HS256 of client_secret_jwt."`
	AssertionAudience   string          `config:"assertion_audience" default:"issuer" doc:"Audience of the assertions: issuer, introspection_endpoint, or a URL as the server wants it, such as its token endpoint."`
	CertFile            string          `config:"tls_client_cert_file" file:"true" doc:"Path of a PEM file with the certificate of tls_client_auth or self_signed_tls_client_auth (RFC 8705 section 2). A changed file takes effect within seconds."`
	KeyFile             string          `config:"tls_client_key_file" file:"true" doc:"Path of a PEM file with its key."`
	Accept              string          `config:"introspection_accept" default:"application/json" one_of:"application/json,application/token-introspection+jwt" doc:"Form of the responses: plain, or signed by the server (RFC 9701), which is verified; nothing else counts then. Signed ones need issuer and client_id, which is the audience that they name."`
	JWKSURI             string          `config:"jwks_uri" starts_with:"http" doc:"URL of the key set that verifies signed responses. Without it and without jwks_file it is discovered from issuer."`
	JWKSFile            string          `config:"jwks_file" file:"true" doc:"Path of a file with that key set (RFC 7517)."`
	Algorithms          []string        `config:"algorithms" len_min:"1" default:"RS256,PS256,ES256,EdDSA" one_of:"RS256,RS384,RS512,PS256,PS384,PS512,ES256,ES384,ES512,EdDSA,Ed25519" doc:"Accepted signature algorithms of signed responses, as in jwt.issuers."`
	JWT                 string          `config:"jwt_tokens" default:"unknown_issuer" one_of:"never,unknown_issuer,always" doc:"Which JWT-shaped tokens are introspected: never; those of issuers that are not configured under jwt; or always, so that a revoked JWT is refused at once."`
	Issuer              string          `config:"issuer" doc:"Value that iss must have in the response, and of iss of a signed one; not checked if unset. It is also the audience of assertions, and what the server's metadata are found by where client certificates, assertions or signed responses need them."`
	Audience            []string        `config:"audience" doc:"Accepted audiences; the response must name at least one of them. Required unless insecure_any_audience is set."`
	AudienceClaim       string          `config:"audience_claim" default:"aud" doc:"Claims of the response that may hold the audience, separated by commas; the first that is present counts. For servers that report no aud and name the client instead: client_id; audience then lists the clients."`
	InsecureAnyAudience bool            `config:"insecure_any_audience" default:"false" doc:"Accepts tokens for any audience, or none. A token for another service of the same issuer is then accepted, too."`
	InsecureNoExpiry    bool            `config:"insecure_no_expiry" default:"false" doc:"Accepts responses without exp; such a token is introspected again after cache_ttl."`
	DPoPRequired        bool            `config:"dpop_bound_access_tokens_required" default:"false" doc:"Refuses tokens that are not bound to a key of the client by DPoP (RFC 9449). Needs the section dpop."`
	InsecureIDTokens    bool            `config:"insecure_id_tokens" default:"false" doc:"Accepts ID tokens, too, where the server says that they are active. For servers that report at_hash of access tokens."`
	RolesClaim          string          `config:"roles_claim" len_min:"0" default:"roles,ext.roles" doc:"Claims that may hold the roles, separated by commas; the first that is present counts. Empty for none."`
	PermissionsClaim    string          `config:"permissions_claim" len_min:"0" default:"permissions,ext.permissions" doc:"Claims that may hold permissions, separated by commas; the first that is present counts. Empty for none."`
	Leeway              setting.Seconds `config:"leeway" default:"10" between:"0,300" doc:"Tolerated clock difference for nbf and iat, in seconds; exp is exact."`
	CacheTTL            setting.Seconds `config:"cache_ttl" default:"30" between:"0,3600" doc:"How long an active token is cached, in seconds. A revoked token may be accepted for that long. 0 introspects on every request."`
	NegativeCacheTTL    setting.Seconds `config:"negative_cache_ttl" default:"5" between:"0,300" doc:"How long the refusal of a token is cached, in seconds."`
	Outbound            Outbound        `config:"http" doc:"How the authorization server is called."`
}

// Values of Introspection.JWT.
const (
	introspectNever  = "never"
	introspectAlways = "always"
)

var _ Section = (*Introspection)(nil)

func (*Introspection) Kind() core.Kind         { return core.KindIntrospection }
func (*Introspection) Places() []extract.Place { return nil }
func (*Introspection) JudgesBearer() bool      { return true }

// client are the settings by which the gate authenticates itself.
func (i *Introspection) client() client.Settings {
	s := client.Settings{
		At: "introspection", MethodSetting: "introspection_endpoint_auth_method", Method: i.AuthMethod, ClientID: i.ClientID, Secret: i.ClientSecret,
		AllowSecretJWT: i.AllowSecretJWT, PrivateKey: i.PrivateKey, KeyID: i.KeyID, Algorithm: i.Algorithm, Audience: i.AssertionAudience,
		CertFile: i.CertFile, KeyFile: i.KeyFile, URL: i.Endpoint, Issuer: i.Issuer, Endpoint: clientauth.IntrospectionEndpoint,
	}
	if i.hasKey() { // which is not a client's secret
		s.Method, s.Secret = clientauth.None, ""
	}
	return s
}

// Values of Introspection.AuthMethod beside the methods of clients.
const (
	authBearer = "bearer"
	authHeader = "header"
)

// hasKey reports whether the provider has given out a key, and client_secret holds it.
func (i *Introspection) hasKey() bool {
	return i.AuthMethod == authBearer || i.AuthMethod == authHeader
}

func (i *Introspection) signed() bool { return i.Accept == signedResponses }

const signedResponses = "application/token-introspection+jwt"

func (i *Introspection) Check(v Validator) {
	if i.hasKey() && i.ClientSecret == "" {
		v.Add("introspection.client_secret", "is needed for %s", i.AuthMethod)
	}
	if i.AuthMethod == clientauth.None && i.ClientSecret != "" {
		v.Add("introspection.introspection_endpoint_auth_method", "is none although client_secret is set; choose client_secret_basic, client_secret_post, bearer or header")
	} else {
		i.client().Check(v.Checker)
	}
	i.checkSigned(v)
	switch isHeader := i.AuthMethod == authHeader; {
	case isHeader && i.AuthHeader == "":
		v.Add("introspection.introspection_endpoint_auth_header", "is needed for header: the name of the header that holds client_secret, such as X-Api-Key")
	case !isHeader && i.AuthHeader != "":
		v.Add("introspection.introspection_endpoint_auth_header", "needs introspection_endpoint_auth_method: header")
	}
	if strings.Contains(i.Issuer, "*") {
		v.Add("introspection.issuer", "holds *, which is not a wildcard: iss is compared as it is")
	}
	v.audience("introspection", i.Audience, i.InsecureAnyAudience)
	v.audienceClaim("introspection", i.AudienceClaim)
	v.Claims("introspection.roles_claim", i.RolesClaim)
	v.Claims("introspection.permissions_claim", i.PermissionsClaim)
}

// checkSigned wants to know who signs responses, and for whom.
func (i *Introspection) checkSigned(v Validator) {
	const accept = "introspection.introspection_accept"
	needs := func(setting, value, why string) {
		if i.signed() && value == "" {
			v.Add("introspection."+setting, "is needed for signed responses (introspection_accept): %s", why)
		}
	}
	needs("issuer", i.Issuer, "it is who signs them")
	needs("client_id", i.ClientID, "it is who they are for")
	switch {
	case !i.signed() && i.JWKSURI+i.JWKSFile != "":
		v.Add(accept, "is application/json, and plain responses have no signature that jwks_uri or jwks_file could verify; set application/token-introspection+jwt")
	case i.JWKSURI != "" && i.JWKSFile != "":
		v.Add("introspection.jwks_file", "cannot be set beside jwks_uri")
	case i.signed() && i.JWKSURI == "" && i.JWKSFile == "" && i.Issuer != "":
		v.URL("introspection.issuer", i.Issuer)
	}
}

// found is what the settings name and do not hold.
type found struct {
	client.Found
	trust, jwks string
}

func (i *Introspection) find() (f found, err error) {
	if f.Found, err = i.client().Find(); err != nil {
		return f, err
	}
	if i.hasKey() {
		if f.Secret, err = setting.Resolve(string(i.ClientSecret)); err != nil {
			return f, At("introspection.client_secret", err)
		}
	}
	if f.trust, err = i.Outbound.trust(i.Kind()); err != nil {
		return f, err
	}
	f.jwks, err = Authorities("introspection.jwks_file", i.JWKSFile)
	return f, err
}

func (i *Introspection) Build(b *Builder, c Caching) (*Part, error) {
	f, err := i.find()
	if err != nil {
		return nil, err
	}
	k := c.key(i.Kind(), i, f.Secret, f.trust)
	// Nodes that share what they have learned may have keys of their own.
	k.part = shared.KeyOf(k.part, f.Key, f.Certificate, f.CertificateKey, f.jwks)
	return b.part(k, c, func() (*Part, error) {
		certificate, err := i.client().Certificate(f.Found, b.options.Now(), b.options.Log)
		if err != nil {
			return nil, err
		}
		caller, err := b.client(i.Kind(), i.Outbound, f.trust, certificate)
		if err != nil {
			return nil, err
		}
		options, err := i.options(caller, f, b.options)
		if err != nil {
			return nil, err
		}
		next, err := introspection.New(options)
		if err != nil {
			return nil, err
		}
		next.Ready()
		memo, err := b.memo(next, k, c, i.CacheTTL, i.NegativeCacheTTL, i.Outbound, nil)
		if err != nil {
			return nil, err
		}
		return &Part{Memo: memo, Client: caller, Kind: i.Kind(), Order: i.order(), Route: authn.Route{Title: "opaque tokens", Judges: i.judges}}, nil
	})
}

// order puts introspection before local verification where every JWT is to be
// introspected.
func (i *Introspection) order() int {
	if i.JWT == introspectAlways {
		return introspectionNext
	}
	return introspectionLast
}

// judges accepts what no route before it has accepted, JWTs of unknown issuers
// among it unless they are never introspected.
func (i *Introspection) judges(c core.Credential) (parsed any, ok bool) {
	return nil, authn.IsBearer(c) && (i.JWT != introspectNever || !jwt.IsJWT(c))
}

func (i *Introspection) options(caller *idp.Client, f found, o Options) (introspection.Options, error) {
	options := introspection.Options{
		URL:                         i.Endpoint,
		Client:                      caller,
		Issuer:                      i.Issuer,
		Audiences:                   i.Audience,
		AudienceClaims:              MustClaimPaths(i.AudienceClaim),
		InsecureAcceptMissingExpiry: i.InsecureNoExpiry,
		InsecureIDTokens:            i.InsecureIDTokens,
		ProofRequired:               i.DPoPRequired,
		Leeway:                      exactly(i.Leeway),
		Claims:                      grants(*i, i.RolesClaim, i.PermissionsClaim),
		Log:                         o.Log,
		Now:                         o.Now,
	}
	if i.hasKey() {
		options.Key, options.KeyHeader = f.Secret, i.AuthHeader
		f.Secret = ""
	}
	var err error
	if options.Authentication, err = i.client().Authentication(f.Found, o.Now); err != nil || !i.signed() {
		return options, err
	}
	signer := jwt.Issuer{
		Issuer: i.Issuer, JWKSURL: i.JWKSURI, JWKSFile: i.JWKSFile, Audiences: []string{i.ClientID}, Algorithms: i.Algorithms, Types: []string{introspection.SignedType},
	}
	verifier, err := jwt.New(jwt.Options{Issuers: []jwt.Issuer{signer}, Client: caller, Leeway: options.Leeway, Log: o.Log, Now: o.Now})
	if err != nil {
		return options, At("introspection.introspection_accept", err)
	}
	verifier.Waiting() // has the keys fetched before the first response comes
	options.Signed = verifier
	return options, nil
}

// uncalled makes an authenticator that calls nothing, without secrets, keys and
// certificates.
func (i *Introspection) uncalled(now func() time.Time) (*introspection.Authenticator, error) {
	unused, err := idp.New(idp.Options{})
	if err != nil {
		return nil, err
	}
	plain := *i
	plain.Accept, plain.JWKSURI, plain.JWKSFile = "", "", ""
	f := found{}
	if i.hasKey() {
		f.Secret = "unused"
	} else {
		plain.AuthMethod, plain.ClientSecret = clientauth.None, ""
	}
	options, err := plain.options(unused, f, Options{Now: now})
	if err != nil {
		return nil, err
	}
	return introspection.New(options)
}

func (i *Introspection) Refused() error {
	_, err := i.uncalled(time.Now)
	return err
}

func (i *Introspection) Principal(b *Builder, document map[string]any, _ string) (*core.Principal, error) {
	a, err := i.uncalled(b.options.Now)
	if err != nil {
		return nil, err
	}
	return a.Principal(document)
}
