package section

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"gatehouse/core"
	"gatehouse/core/authn"
	"gatehouse/core/authn/claims"
	"gatehouse/core/authn/idp"
	"gatehouse/core/authn/jwt"
	"gatehouse/core/extract"
	"gatehouse/core/setting"
)

// JWT verifies JWT access tokens.
type JWT struct {
	Issuers          []Issuer        `config:"issuers" required:"true" len_min:"1" doc:"The issuers whose tokens are accepted."`
	Leeway           setting.Seconds `config:"leeway" default:"10" between:"0,300" doc:"Tolerated clock difference for nbf and iat, in seconds; exp is exact."`
	JWKSCacheTTL     setting.Seconds `config:"jwks_cache_ttl" default:"600" between:"10,86400" doc:"How long a fetched key set is used before it is fetched again, in seconds."`
	JWKSMinRefresh   setting.Seconds `config:"jwks_min_refresh" default:"10" between:"1,3600" doc:"Minimum time between two fetches of a key set on average, in seconds, however many tokens name unknown keys. Up to three may follow each other one second apart, so that a rotation is noticed."`
	JWKSMaxStale     setting.Seconds `config:"jwks_max_stale" default:"0" between:"0,604800" doc:"How long a key set may be used beyond jwks_cache_ttl while its issuer cannot be reached, in seconds."`
	CacheTTL         setting.Seconds `config:"cache_ttl" default:"60" between:"0,3600" doc:"How long a verified token is cached, in seconds, never beyond its expiry. 0 verifies it on every request."`
	NegativeCacheTTL setting.Seconds `config:"negative_cache_ttl" default:"5" between:"0,300" doc:"How long the refusal of a token is cached, in seconds."`
	Outbound         Outbound        `config:"http" doc:"How the issuers are called."`
}

// Issuer is one trusted authorization server.
type Issuer struct {
	Issuer              string   `config:"issuer" required:"true" doc:"The exact value of the iss claim (RFC 7519 section 4.1.1), with or without a trailing slash as the issuer writes it. {tenant} stands for each of tenants, as in https://login.microsoftonline.com/{tenant}/v2.0."`
	Tenants             []string `config:"tenants" doc:"Names of the tenants whose tokens are accepted, where issuer holds {tenant}. The tenant of a token is its claim tenant, whatever the token itself says."`
	JWKSURI             string   `config:"jwks_uri" starts_with:"http" doc:"URL of the issuer's key set, in which {tenant} can stand, too. Without it and without jwks_file it is discovered from the issuer (OpenID Connect Discovery 1.0 section 4)."`
	JWKSFile            string   `config:"jwks_file" file:"true" doc:"Path of a file with the key set (RFC 7517), for issuers that publish none."`
	Audience            []string `config:"audience" doc:"Accepted audiences; a token must name at least one of them (RFC 9068 section 4). Required unless insecure_any_audience is set."`
	AudienceClaim       string   `config:"audience_claim" default:"aud" doc:"Claims that may hold the audience, separated by commas; the first that is present counts. For issuers that put no aud into access tokens and name the client instead, such as client_id or azp; audience then lists the clients."`
	InsecureAnyAudience bool     `config:"insecure_any_audience" default:"false" doc:"Accepts tokens for any audience, or none. A token for another service of the same issuer is then accepted, too."`
	Algorithms          []string `config:"algorithms" len_min:"1" default:"RS256,PS256,ES256,EdDSA" one_of:"RS256,RS384,RS512,PS256,PS384,PS512,ES256,ES384,ES512,EdDSA,Ed25519" doc:"Accepted signature algorithms (RFC 7518); EdDSA and Ed25519 (RFC 9864) are two names of one. Symmetric algorithms are not supported."`
	TokenTypes          []string `config:"token_types" len_min:"1" default:"at+jwt,application/at+jwt,JWT" doc:"Accepted values of the typ header; none stands for tokens without it. RFC 9068 issuers use at+jwt; Hydra writes JWT."`
	Profile             string   `config:"profile" default:"evidence" one_of:"evidence,rfc9068" doc:"What an access token is: evidence refuses what shows that it is an ID token or another kind of token; rfc9068 accepts only tokens with typ at+jwt and all of iss, sub, aud, client_id, iat, exp and jti (RFC 9068)."`
	DPoPRequired        bool     `config:"dpop_bound_access_tokens_required" default:"false" doc:"Refuses tokens that are not bound to a key of the client by DPoP (RFC 9449). Needs the section dpop."`
	InsecureIDTokens    bool     `config:"insecure_id_tokens" default:"false" doc:"Accepts ID tokens, too. Whoever received one from a user, such as any web page that the user signed in to, can then call in the user's name."`
	ScopesClaim         string   `config:"scopes_claim" len_min:"0" default:"scope,scp" doc:"Claims that may hold the scopes, separated by commas; the first that is present counts. Empty for none."`
	RolesClaim          string   `config:"roles_claim" len_min:"0" default:"roles,ext.roles" doc:"Claims that may hold the roles, separated by commas; the first that is present counts. Empty for none."`
	PermissionsClaim    string   `config:"permissions_claim" len_min:"0" default:"permissions,ext.permissions" doc:"Claims that may hold permissions, separated by commas; the first that is present counts. Empty for none."`
}

var _ Section = (*JWT)(nil)

func (*JWT) Kind() core.Kind         { return core.KindJWT }
func (*JWT) Places() []extract.Place { return nil }
func (*JWT) JudgesBearer() bool      { return true }

func (j *JWT) Check(v Validator) { v.issuers(j.Issuers) }

func (v Validator) issuers(issuers []Issuer) {
	seen := map[string]int{}
	for i, issuer := range issuers {
		path := Item("jwt.issuers", i)
		if first, twice := seen[issuer.Issuer]; twice && issuer.Issuer != "" {
			v.Add(path+".issuer", "is already configured at jwt.issuers[%d]", first)
		}
		seen[issuer.Issuer] = i
		v.issuer(path, issuer)
	}
}

func (v Validator) issuer(path string, issuer Issuer) {
	if issuer.JWKSURI != "" && issuer.JWKSFile != "" {
		v.Add(path+".jwks_file", "cannot be set beside jwks_uri")
	}
	if issuer.JWKSURI == "" && issuer.JWKSFile == "" && issuer.Issuer != "" {
		v.URL(path+".issuer", strings.ReplaceAll(issuer.Issuer, tenantMark, "tenant"))
	}
	v.tenants(path, issuer)
	if slices.Contains(issuer.TokenTypes, "") {
		v.Add(path+".token_types", "write %s for tokens without a typ header, not an empty text", noType)
	}
	if issuer.Profile == profileRFC9068 && !slices.Contains(issuer.types(), "at+jwt") && !slices.Contains(issuer.types(), "application/at+jwt") {
		v.Add(path+".token_types", "lacks at+jwt, the only type that profile %s accepts", profileRFC9068)
	}
	if issuer.Profile == profileRFC9068 && issuer.InsecureIDTokens {
		v.Add(path+".insecure_id_tokens", "contradicts profile %s; remove one of them", profileRFC9068)
	}
	v.audience(path, issuer.Audience, issuer.InsecureAnyAudience)
	v.audienceClaim(path, issuer.AudienceClaim)
	v.Claims(path+".scopes_claim", issuer.ScopesClaim)
	v.Claims(path+".roles_claim", issuer.RolesClaim)
	v.Claims(path+".permissions_claim", issuer.PermissionsClaim)
}

func (j *JWT) Build(b *Builder, c Caching) (*Part, error) {
	files, err := j.files()
	if err != nil {
		return nil, err
	}
	k := c.key(j.Kind(), j, files)
	return b.part(k, c, func() (*Part, error) {
		client, err := b.client(j.Kind(), j.Outbound, files[0], nil)
		if err != nil {
			return nil, err
		}
		next, err := jwt.New(jwt.Options{Issuers: j.trusted(), Client: client, Leeway: exactly(j.Leeway), Log: b.options.Log, Now: b.options.Now})
		if err != nil {
			return nil, err
		}
		if again, err := j.files(); err != nil || !slices.Equal(again, files) {
			return nil, cmp.Or(err, errMoved)
		}
		memo, err := b.memo(next, k, c, j.CacheTTL, j.NegativeCacheTTL, j.Outbound, j.providerOf())
		if err != nil {
			return nil, err
		}
		next.Waiting() // has the keys fetched before the first token comes
		return &Part{Memo: memo, Client: client, Kind: j.Kind(), Order: jwtsNext, Local: true, Waiting: next.Waiting, Route: j.route(next)}, nil
	})
}

// providerOf names the issuer of a token, where there are several.
func (j *JWT) providerOf() func(core.Credential) string {
	if len(j.Issuers) == 1 && len(j.Issuers[0].Tenants) == 0 {
		return nil
	}
	return jwt.IssuerOf
}

// Names are those of the issuers.
func (j *JWT) Names() []string {
	all := *j
	all.Expand()
	names := make([]string, len(all.Issuers))
	for n, i := range all.Issuers {
		names[n] = i.Issuer
	}
	return names
}

// maxNamed is how many issuers an error names.
const maxNamed = 5

func (j *JWT) issuerNames() string {
	var names []string
	for n, i := range j.Issuers {
		if n == maxNamed {
			names = append(names, fmt.Sprintf("%d further issuers", len(j.Issuers)-n))
			break
		}
		names = append(names, i.Issuer)
	}
	return strings.Join(names, " and ")
}

func (j *JWT) route(v *jwt.Verifier) authn.Route {
	return authn.Route{
		Title:     "JWTs of " + j.issuerNames(),
		Candidate: func(c core.Credential) bool { return authn.IsBearer(c) && jwt.Candidate(c) },
		Judges: func(c core.Credential) (any, bool) {
			if !authn.IsBearer(c) {
				return nil, false
			}
			return v.Judges(c)
		},
	}
}

func (j *JWT) trusted() []jwt.Issuer {
	issuers := make([]jwt.Issuer, len(j.Issuers))
	for n, i := range j.Issuers {
		issuers[n] = jwt.Issuer{
			Issuer:               i.Issuer,
			Tenant:               i.tenant(),
			JWKSURL:              i.JWKSURI,
			JWKSFile:             i.JWKSFile,
			Audiences:            i.Audience,
			AudienceClaims:       MustClaimPaths(i.AudienceClaim),
			InsecureSkipAudience: i.InsecureAnyAudience,
			Algorithms:           i.Algorithms,
			Types:                i.types(),
			Strict:               i.Profile == profileRFC9068,
			InsecureIDTokens:     i.InsecureIDTokens,
			ProofRequired:        i.DPoPRequired,
			Claims:               i.claims(),
			RefreshAfter:         j.JWKSCacheTTL.Duration(),
			MaxAge:               (j.JWKSCacheTTL + j.JWKSMaxStale).Duration(),
			MinInterval:          j.JWKSMinRefresh.Duration(),
		}
	}
	return issuers
}

func (i Issuer) claims() claims.Paths {
	paths := grants(i, i.RolesClaim, i.PermissionsClaim)
	paths.Scopes = MustClaimPaths(i.ScopesClaim)
	return paths
}

const profileRFC9068 = "rfc9068"

// noType is how token_types names tokens without typ.
const noType = "none"

func (i Issuer) types() []string {
	types := slices.Clone(i.TokenTypes)
	for n := range types {
		if strings.EqualFold(types[n], noType) {
			types[n] = ""
		}
	}
	return types
}

// files is the text of every file that the verifier reads, that of the trusted
// authorities first. An error is at the path of the setting.
func (j *JWT) files() ([]string, error) {
	trust, err := j.Outbound.trust(j.Kind())
	if err != nil {
		return nil, err
	}
	texts := []string{trust}
	for n, i := range j.trusted() {
		if i.JWKSFile == "" {
			continue
		}
		text, err := setting.ReadBounded(i.JWKSFile, setting.MaxDocument)
		if err == nil {
			_, err = jwt.New(jwt.Options{Issuers: []jwt.Issuer{i}})
		}
		if err != nil {
			return nil, At(Item("jwt.issuers", n)+".jwks_file", err)
		}
		texts = append(texts, i.JWKSFile, string(text))
	}
	return texts, nil
}

// Refused makes the verifier without its key files.
func (j *JWT) Refused() error {
	unused, err := idp.New(idp.Options{})
	if err != nil {
		return err
	}
	issuers := j.trusted()
	for i := range issuers {
		if issuers[i].JWKSFile != "" {
			issuers[i].JWKSFile, issuers[i].JWKSURL = "", "https://unused.invalid/"
		}
	}
	_, err = jwt.New(jwt.Options{Issuers: issuers, Client: unused, Leeway: exactly(j.Leeway)})
	return err
}

func (j *JWT) Principal(b *Builder, document map[string]any, typ string) (*core.Principal, error) {
	set := claims.Set(document)
	name, err := set.Text("iss")
	if err != nil {
		return nil, fmt.Errorf("%w: JWT %w", core.ErrInvalid, err)
	}
	n := slices.IndexFunc(j.Issuers, func(i Issuer) bool { return i.Issuer == name })
	if n < 0 {
		return nil, fmt.Errorf("%w: JWT is from another issuer: iss is %.200q; accepted are %s", core.ErrInvalid, name, j.issuerNames())
	}
	issuer := j.trusted()[n]
	p, err := issuer.Principal(set, typ, b.options.Now(), exactly(j.Leeway))
	if err != nil {
		return nil, fmt.Errorf("%w: JWT %w", core.ErrInvalid, err)
	}
	return p, nil
}
