package section

import (
	"strings"
	"time"

	"gatehouse/core"
	"gatehouse/core/authn"
	"gatehouse/core/authn/idp"
	"gatehouse/core/authn/introspection"
	"gatehouse/core/authn/jwt"
	"gatehouse/core/extract"
	"gatehouse/core/setting"
)

// Introspection asks the authorization server about a token.
type Introspection struct {
	Endpoint            string          `config:"introspection_endpoint" required:"true" starts_with:"http" doc:"URL of the introspection endpoint (RFC 7662 section 2)."`
	AuthMethod          string          `config:"introspection_endpoint_auth_method" default:"none" one_of:"none,client_secret_basic,client_secret_post,bearer,header" doc:"How the gateway authenticates at the endpoint: as a client with client_id and client_secret (RFC 6749 section 2.3.1), or with client_secret as a bearer token or in the header introspection_endpoint_auth_header."`
	AuthHeader          string          `config:"introspection_endpoint_auth_header" doc:"Name of the header that holds client_secret, for the method header, such as X-Api-Key."`
	ClientID            string          `config:"client_id" doc:"Client identifier of the gateway at the introspection endpoint."`
	ClientSecret        setting.Secret  `config:"client_secret" secret:"true" doc:"Client secret of the gateway, or the key that the provider has given out. Takes a literal value, $env://NAME or $file:///path."`
	JWT                 string          `config:"jwt_tokens" default:"unknown_issuer" one_of:"never,unknown_issuer,always" doc:"Which JWT-shaped tokens are introspected: never; those of issuers that are not configured under jwt; or always, so that a revoked JWT is refused at once."`
	Issuer              string          `config:"issuer" doc:"Value that iss must have in the response; not checked if unset."`
	Audience            []string        `config:"audience" doc:"Accepted audiences; the response must name at least one of them. Required unless insecure_any_audience is set."`
	AudienceClaim       string          `config:"audience_claim" default:"aud" doc:"Claims of the response that may hold the audience, separated by commas; the first that is present counts. For servers that report no aud and name the client instead: client_id; audience then lists the clients."`
	InsecureAnyAudience bool            `config:"insecure_any_audience" default:"false" doc:"Accepts tokens for any audience, or none. A token for another service of the same issuer is then accepted, too."`
	InsecureNoExpiry    bool            `config:"insecure_no_expiry" default:"false" doc:"Accepts responses without exp; such a token is introspected again after cache_ttl."`
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

func (i *Introspection) Check(v Validator) {
	named := i.AuthMethod == string(introspection.AuthBasic) || i.AuthMethod == string(introspection.AuthPost)
	if named && i.ClientID == "" {
		v.Add("introspection.client_id", "is needed for %s", i.AuthMethod)
	}
	if i.AuthMethod != "none" && i.ClientSecret == "" {
		v.Add("introspection.client_secret", "is needed for %s", i.AuthMethod)
	}
	if i.AuthMethod == "none" && i.ClientSecret != "" {
		v.Add("introspection.introspection_endpoint_auth_method", "is none although client_secret is set; choose client_secret_basic, client_secret_post, bearer or header")
	}
	switch isHeader := i.AuthMethod == string(introspection.AuthHeader); {
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

func (i *Introspection) Build(b *Builder, c Caching) (*Part, error) {
	secret, err := setting.Resolve(string(i.ClientSecret))
	if err != nil {
		return nil, At("introspection.client_secret", err)
	}
	trust, err := i.Outbound.trust(i.Kind())
	if err != nil {
		return nil, err
	}
	k := c.key(i.Kind(), i, secret, trust)
	return b.part(k, c, func() (*Part, error) {
		client, err := b.client(i.Kind(), i.Outbound, trust)
		if err != nil {
			return nil, err
		}
		next, err := introspection.New(i.options(client, secret, b.options.Now))
		if err != nil {
			return nil, err
		}
		memo, err := b.memo(next, k, c, i.CacheTTL, i.NegativeCacheTTL, i.Outbound, nil)
		if err != nil {
			return nil, err
		}
		return &Part{Memo: memo, Client: client, Kind: i.Kind(), Order: i.order(), Route: authn.Route{Title: "opaque tokens", Judges: i.judges}}, nil
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

func (i *Introspection) options(client *idp.Client, secret string, now func() time.Time) introspection.Options {
	return introspection.Options{
		URL:                         i.Endpoint,
		Client:                      client,
		Auth:                        introspection.Auth(i.AuthMethod),
		ClientID:                    i.ClientID,
		ClientSecret:                secret,
		AuthHeaderName:              i.AuthHeader,
		Issuer:                      i.Issuer,
		Audiences:                   i.Audience,
		AudienceClaims:              MustClaimPaths(i.AudienceClaim),
		InsecureAcceptMissingExpiry: i.InsecureNoExpiry,
		InsecureIDTokens:            i.InsecureIDTokens,
		Leeway:                      exactly(i.Leeway),
		Claims:                      grants(*i, i.RolesClaim, i.PermissionsClaim),
		Now:                         now,
	}
}

// uncalled makes an authenticator that calls nothing, without the secret.
func (i *Introspection) uncalled(now func() time.Time) (*introspection.Authenticator, error) {
	unused, err := idp.New(idp.Options{})
	if err != nil {
		return nil, err
	}
	secret := ""
	if i.AuthMethod != string(introspection.AuthNone) {
		secret = "unused"
	}
	return introspection.New(i.options(unused, secret, now))
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
