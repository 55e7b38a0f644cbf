package token

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"gatehouse/core"
	"gatehouse/core/authn"
	"gatehouse/core/authn/idp"
	"gatehouse/core/authn/jwt"
	"gatehouse/core/config/enrichment"
	"gatehouse/core/config/section"
	"gatehouse/core/gatewaytoken/exchange"
	"gatehouse/core/setting"
	"gatehouse/core/shared"
	"gatehouse/core/signin/enrich"
	"gatehouse/core/upstreamtoken/mint"
)

// TokenExchange is the endpoint at which apps get a token of the gate.
type TokenExchange struct {
	Path                 string             `config:"path" required:"true" doc:"URL path of the endpoint, such as /oauth2/token. The gateway must route it through the gate."`
	Issuers              []SubjectIssuer    `config:"issuers" doc:"Identity providers whose ID tokens, or access tokens that are JWTs, can be exchanged."`
	IntrospectionClients []string           `config:"introspection_clients" doc:"Client identifiers of the apps whose opaque access tokens can be exchanged: the section introspection asks the server about each, which has to name one of these. Unset for none."`
	MaxTokenAge          setting.Seconds    `config:"max_token_age" default:"0" between:"0,86400" doc:"Age in seconds, counted from iat, from which a token of a provider is not exchanged any more. 0: it can be exchanged until it ends, again and again."`
	RenewableFor         setting.Seconds    `config:"renewable_for" default:"0" between:"0,31536000" doc:"How long after the token of the provider was issued a token of the gate can be exchanged for a new one, in seconds, while it holds. 0: an app presents a fresh token of the provider. With revocation it can be as long as revocation.retention."`
	Enrich               *enrichment.Enrich `config:"enrich" doc:"A service of your own that says for every token of a provider who the user is to it, with roles, permissions and claims, as login.oidc.enrich. The name of the provider is its issuer. While it does not respond there are no tokens."`
	Leeway               setting.Seconds    `config:"leeway" default:"10" between:"0,300" doc:"Tolerated clock difference for nbf and iat, in seconds; exp is exact."`
	Outbound             section.Outbound   `config:"http" doc:"How the issuers are called, for their keys."`
}

// SubjectIssuer is an identity provider whose tokens can be exchanged.
type SubjectIssuer struct {
	Issuer           string   `config:"issuer" required:"true" doc:"The exact value of the iss claim."`
	JWKSURI          string   `config:"jwks_uri" starts_with:"http" doc:"URL of the issuer's key set. Without it and without jwks_file it is discovered from the issuer (OpenID Connect Discovery 1.0 section 4)."`
	JWKSFile         string   `config:"jwks_file" file:"true" doc:"Path of a file with the key set (RFC 7517), for issuers that publish none."`
	Clients          []string `config:"clients" required:"true" len_min:"1" doc:"Client identifiers of the apps whose tokens count. Each member of aud of an ID token, and azp where it is there, has to be one; of an access token client_id or azp. A provider issues tokens to other apps, too, each of which could act for its users otherwise."`
	TokenTypes       []string `config:"subject_token_types" len_min:"1" default:"id_token" one_of:"id_token,jwt" doc:"Which of its tokens can be exchanged: id_token, or jwt for access tokens that are JWTs."`
	Audience         []string `config:"audience" doc:"Accepted audiences of access tokens; one has to be in aud. Unset: any, or none. Of an ID token the audience is the app, see clients."`
	Algorithms       []string `config:"algorithms" len_min:"1" default:"RS256,PS256,ES256,EdDSA" one_of:"RS256,RS384,RS512,PS256,PS384,PS512,ES256,ES384,ES512,EdDSA,Ed25519" doc:"Accepted signature algorithms, as in jwt.issuers."`
	ScopesClaim      string   `config:"scopes_claim" len_min:"0" default:"scope,scp" doc:"Claims of an access token that may hold the scopes, separated by commas; the first that is present counts. Empty for none."`
	RolesClaim       string   `config:"roles_claim" len_min:"0" default:"roles,ext.roles" doc:"The same for roles, in ID tokens too."`
	PermissionsClaim string   `config:"permissions_claim" len_min:"0" default:"permissions,ext.permissions" doc:"The same for permissions."`
}

const atExchange = atGateway + ".exchange"

func (x *TokenExchange) check(v section.Validator, g *GatewayToken) {
	if err := (mint.Place{JWKSPath: x.Path}).CheckPath(); err != nil && x.Path != "" {
		v.Add(atExchange+".path", "must be a path such as /oauth2/token, without escapes, dot segments, double slashes and a slash at its end")
	}
	if x.Path == g.JWKSPath && x.Path != "" {
		v.Add(atExchange+".path", "is jwks_path; an endpoint has a path of its own")
	}
	if len(x.Issuers)+len(x.IntrospectionClients) == 0 && !v.Mentions(atExchange) {
		v.Add(atExchange+".issuers", "is needed, or introspection_clients: without them no token can be exchanged")
	}
	if x.RenewableFor > 0 && x.RenewableFor < g.TTL {
		v.Add(atExchange+".renewable_for", "is less than gateway_token.ttl: no token could be exchanged for a new one at its end")
	}
	x.Enrich.Check(v, atExchange+".enrich")
	seen := map[string]int{}
	for n, i := range x.Issuers {
		at := section.Item(atExchange+".issuers", n)
		if first, twice := seen[i.Issuer]; twice && i.Issuer != "" {
			v.Add(at+".issuer", "is already configured at %s", section.Item(atExchange+".issuers", first))
		}
		seen[i.Issuer] = n
		i.check(v, at, g.Issuer)
	}
}

func (i SubjectIssuer) check(v section.Validator, at, own string) {
	switch {
	case i.Issuer == own && own != "":
		v.Add(at+".issuer", "is the gate itself; renewable_for says whether its tokens can be exchanged")
	case i.JWKSURI != "" && i.JWKSFile != "":
		v.Add(at+".jwks_file", "cannot be set beside jwks_uri")
	case strings.ContainsAny(i.Issuer, "*{}"):
		v.Add(at+".issuer", "holds a character of a pattern: iss is compared as it is")
	case i.JWKSURI == "" && i.JWKSFile == "" && i.Issuer != "":
		v.URL(at+".issuer", i.Issuer)
	}
	if len(i.Audience) > 0 && !slices.Contains(i.TokenTypes, "jwt") {
		v.Add(at+".audience", "is for access tokens; add jwt to subject_token_types")
	}
	v.Claims(at+".scopes_claim", i.ScopesClaim)
	v.Claims(at+".roles_claim", i.RolesClaim)
	v.Claims(at+".permissions_claim", i.PermissionsClaim)
}

func (i SubjectIssuer) accepted() exchange.Issuer {
	paths := section.Grants(i, i.RolesClaim, i.PermissionsClaim)
	paths.Scopes = section.MustClaimPaths(i.ScopesClaim)
	return exchange.Issuer{
		Issuer:  jwt.Issuer{Issuer: i.Issuer, JWKSURL: i.JWKSURI, JWKSFile: i.JWKSFile, Audiences: i.Audience, Algorithms: i.Algorithms, Claims: paths},
		Clients: i.Clients, IDTokens: slices.Contains(i.TokenTypes, "id_token"), AccessTokens: slices.Contains(i.TokenTypes, "jwt"),
	}
}

// Around is what the endpoint is built with.
type Around struct {
	Sections *section.Builder
	Caching  section.Caching
	// Own is the part of the gate's own tokens, Introspection that of opaque ones; nil:
	// there is none.
	Own, Introspection *section.Part
	// Limit limits failed attempts.
	Limit func(router *authn.Router, digest string) core.Authenticator
}

// Endpoint makes the endpoint of a section with an exchange; the key identifies what it uses
// beside the section.
func (g *GatewayToken) Endpoint(a Around) ([]core.Endpoint, shared.Key, error) {
	var none shared.Key
	x, tokens := g.Exchange, TokensOf(a.Own)
	if tokens == nil {
		return nil, none, errors.New(atExchange + ": there are no tokens of the gate")
	}
	parts, err := x.subjects(a)
	if err != nil {
		return nil, none, err
	}
	routes := []authn.Route{{Title: "tokens of this gate", By: a.Own, Judges: func(c core.Credential) (any, bool) {
		if c.Place != exchange.Place("jwt") && c.Place != exchange.Place("access_token") {
			return nil, false
		}
		return tokens.Judges(c)
	}}}
	digests, keys := []string{}, []shared.Key{a.Own.Key}
	for _, p := range parts {
		route := p.Route
		route.By = p
		routes, digests, keys = append(routes, route), append(digests, string(p.Digest[:])), append(keys, p.Key)
	}
	if a.Introspection != nil && len(x.IntrospectionClients) > 0 {
		routes = append(routes, authn.Route{
			Title: "opaque tokens", By: exchange.Introspected{TokenAuthenticator: a.Introspection, Clients: x.IntrospectionClients},
			Judges: func(c core.Credential) (any, bool) {
				return nil, c.Place == exchange.Place("access_token") && !jwt.IsJWT(c)
			},
		})
	}
	complete, found, err := x.enrich(a)
	if err != nil {
		return nil, none, err
	}
	router, err := authn.New(routes...)
	if err != nil {
		return nil, none, err
	}
	return []core.Endpoint{exchange.Endpoint(exchange.Options{
		Path: x.Path, Tokens: tokens, Audience: g.Audience, Subjects: a.Limit(router, strings.Join(digests, "")), Own: a.Own, Enrich: complete,
		MaxAge: x.MaxTokenAge.Duration(), Renewable: x.RenewableFor.Duration(), Log: a.Sections.Log(), Now: a.Sections.Now(),
	})}, shared.KeyOf(keys, found), nil
}

// enrich has a service of the team's own complete callers; the key identifies it.
func (x *TokenExchange) enrich(a Around) (func(context.Context, *core.Principal) error, enrichment.Found, error) {
	const at = atExchange + ".enrich"
	found, err := x.Enrich.Find(at)
	if err != nil || x.Enrich == nil {
		return nil, found, err
	}
	service, err := x.Enrich.Build(at, found, enrichment.Options{Log: a.Sections.Log(), Observe: a.Sections.Observe("gateway_token"), Now: a.Sections.Now()})
	return func(ctx context.Context, p *core.Principal) error {
		r, err := service.Enrich(ctx, enrich.Person{Provider: p.Issuer, Issuer: p.Issuer, Subject: p.Subject, Claims: p.Claims})
		if err == nil {
			r.Apply(p)
		}
		return err
	}, found, err
}

// subjects find or make what judges tokens of issuers, one part for each kind of token.
func (x *TokenExchange) subjects(a Around) ([]*section.Part, error) {
	trust, err := section.Authorities(atExchange+".http.ca_file", x.Outbound.CAFile)
	if err != nil {
		return nil, err
	}
	files := []string{trust}
	for n, i := range x.Issuers {
		text, err := section.Authorities(section.Item(atExchange+".issuers", n)+".jwks_file", i.JWKSFile)
		if err != nil {
			return nil, err
		}
		files = append(files, text)
	}
	var parts []*section.Part
	for _, kind := range exchange.SubjectTypes()[:2] {
		if !slices.ContainsFunc(x.Issuers, func(i SubjectIssuer) bool { return slices.Contains(i.TokenTypes, kind) }) {
			continue
		}
		p, err := x.part(a, kind, files)
		if err != nil {
			return nil, err
		}
		parts = append(parts, p)
	}
	return parts, nil
}

func (x *TokenExchange) part(a Around, kind string, files []string) (*section.Part, error) {
	var verifier *exchange.Verifier
	places := []core.PlaceName{exchange.Place(kind)}
	if kind == "jwt" {
		places = append(places, exchange.Place("access_token"))
	}
	return a.Sections.Own(section.Own{
		Kind: core.KindJWT, Title: kind + " of an issuer that is configured", Local: true, TTL: subjectsKept, NegativeTTL: refusalsKept,
		Judges: func(c core.Credential) (any, bool) {
			if !slices.Contains(places, c.Place) {
				return nil, false
			}
			return verifier.Judges(c)
		},
		Make: func() (core.TokenAuthenticator, any, error) {
			client, err := idp.New(idp.Options{
				Observe: a.Sections.Observe("gateway_token"), Timeout: x.Outbound.Timeout.Duration(), MaxConcurrent: x.Outbound.MaxConcurrent,
				CAFile: x.Outbound.CAFile, InsecureSkipVerify: !x.Outbound.SSLVerify, Log: a.Sections.Log().With("provider", "gateway_token"), Now: a.Sections.Now(),
			})
			if err != nil {
				return nil, nil, section.At(atExchange+".http.ca_file", err)
			}
			issuers := make([]exchange.Issuer, len(x.Issuers))
			for n, i := range x.Issuers {
				issuers[n] = i.accepted()
			}
			verifier, err = exchange.NewVerifier(kind == "id_token", issuers, jwt.Options{
				Client: client, Leeway: max(x.Leeway.Duration(), time.Nanosecond), Log: a.Sections.Log(), Now: a.Sections.Now(),
			})
			if err != nil {
				return nil, nil, section.At(atExchange+".issuers", err)
			}
			verifier.Waiting() // has the keys fetched before the first token comes
			return verifier, verifier, nil
		},
	}, a.Caching, atExchange, kind, x, files)
}

const (
	// subjectsKept and refusalsKept are how long it is remembered that a token holds, or
	// does not, in seconds.
	subjectsKept setting.Seconds = 60
	refusalsKept setting.Seconds = 5
)

// Offline is the endpoint for tools that exchange nothing.
func (x *TokenExchange) offline() []core.Endpoint {
	if x == nil {
		return nil
	}
	return []core.Endpoint{{Path: x.Path, Methods: exchange.Methods(), MaxBody: exchange.MaxBody, Handler: nothing{}}}
}

type nothing struct{}

func (nothing) Respond(context.Context, *core.Call, []byte) (core.Response, error) {
	return core.Response{}, errors.New("this tool exchanges no token")
}
