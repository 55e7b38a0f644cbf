package token

import (
	"maps"
	"slices"

	"gatehouse/core"
	"gatehouse/core/authn"
	"gatehouse/core/authn/claims"
	"gatehouse/core/authn/jwt"
	"gatehouse/core/config/section"
	"gatehouse/core/extract"
	"gatehouse/core/gatewaytoken"
	"gatehouse/core/setting"
	"gatehouse/core/upstreamtoken/mint"
	"gatehouse/core/upstreamtoken/signing"
)

// GatewayToken is the access token that the gate issues for itself.
type GatewayToken struct {
	Issuer           string            `config:"issuer" required:"true" starts_with:"http" doc:"Value of iss of the tokens: a URL of the gateway, such as https://api.example.com/gatehouse, at which the gate serves metadata. It can be that of upstream_token."`
	Audience         []string          `config:"audience" required:"true" len_min:"1" doc:"Value of aud of the tokens, such as the URL of the gateway. A gate accepts tokens that name one of these; none of them can be an audience of upstream_token with the same issuer."`
	Keys             []setting.Secret  `config:"keys" required:"true" secret:"true" len_min:"1" doc:"Private keys of the gate, as those of upstream_token, and with the same issuer the same ones. The one that began last signs; tokens of all of them count until it ends. Each takes a literal value, $env://NAME or $file:///path. A changed file takes effect within seconds."`
	TTL              setting.Seconds   `config:"ttl" default:"3600" between:"60,86400" doc:"How long a token lives, in seconds; never longer than the session that it is of."`
	PermissionsClaim string            `config:"permissions_claim" default:"permissions" doc:"Claim with the permissions of the caller, as their own credential states them. Roles are in roles."`
	Claims           map[string]string `config:"claims" doc:"Further claims of the token, and the claim of the caller's credential that each contains. Of several claims, separated by commas, the first that is present counts. Example: {email: email}."`
	CopyClaims       bool              `config:"copy_claims" default:"false" doc:"Whether all other claims of the caller's credential are in the token, too, under their own names. Conditions of a permission table that look at claims need them."`
	JWKSPath         string            `config:"jwks_path" len_min:"0" default:"/.well-known/jwks.json" doc:"Where the gate serves the public keys, for services that verify such a token themselves; see upstream_token.jwks_path. Empty: only the admin listener serves them."`
	CacheTTL         setting.Seconds   `config:"cache_ttl" default:"60" between:"0,3600" doc:"How long a verified token is cached, in seconds, never beyond its expiry. 0 verifies it on every request."`
	Exchange         *TokenExchange    `config:"exchange" doc:"Endpoint at which apps get such a token for one of an identity provider (RFC 8693). Leave out for none."`
	NegativeCacheTTL setting.Seconds   `config:"negative_cache_ttl" default:"5" between:"0,300" doc:"How long the refusal of a token is cached, in seconds."`
}

var _ section.Section = (*GatewayToken)(nil)

// Kind is that of JWTs: to tables, logs and upstreams it is one.
func (*GatewayToken) Kind() core.Kind         { return core.KindJWT }
func (*GatewayToken) Places() []extract.Place { return nil }
func (*GatewayToken) JudgesBearer() bool      { return true }

const atGateway = "gateway_token"

// Check reports what no single tag can say.
func (g *GatewayToken) Check(v section.Validator) {
	if err := g.place().Check(); err != nil && g.Issuer != "" && !v.Mentions(atGateway+".issuer") {
		v.Add(atGateway+".issuer", "%v", err)
	}
	if err := g.place().CheckPath(); err != nil && g.JWKSPath != "" {
		v.Add(atGateway+".jwks_path", "%v", err)
	}
	if err := gatewaytoken.CheckClaim(g.PermissionsClaim); err != nil && g.PermissionsClaim != "" {
		v.Add(atGateway+".permissions_claim", "%v", err)
	}
	if g.sets(g.PermissionsClaim) {
		v.Add(atGateway+".permissions_claim", "is a claim that the gate sets itself")
	}
	for _, name := range slices.Sorted(maps.Keys(g.Claims)) {
		checkClaim(v, setting.Join(atGateway+".claims", setting.ShownKey(name)), g.Claims[name], g.sets(name) || name == g.PermissionsClaim)
	}
	if g.Exchange != nil {
		g.Exchange.check(v, g)
	}
}

// sets reports whether the gate sets a claim whatever the settings say.
func (*GatewayToken) sets(claim string) bool { return mint.IsOwn(claim) || claim == "roles" }

// Beside is what the section stands beside.
type Beside struct {
	Upstream *UpstreamToken
	JWT      *section.JWT
	// Introspects says that opaque tokens are introspected.
	Introspects bool
	// Retention is how long revocations are kept; 0: there are none.
	Retention setting.Seconds
}

// CheckBeside reports what the section cannot stand beside: what would not be told from
// its tokens.
func (g *GatewayToken) CheckBeside(v section.Validator, b Beside) {
	if g == nil {
		return
	}
	if b.JWT != nil {
		for i, name := range b.JWT.Names() {
			if name == g.Issuer {
				v.Add(atGateway+".issuer", "is an issuer of jwt, too (issuer %d): the gate verifies its own tokens without it; a token for a service that comes back (upstream_token) has another issuer", i+1)
			}
		}
	}
	if b.Retention > 0 && g.TTL > b.Retention {
		v.Add(atGateway+".ttl", "is longer than revocation.retention: a token would outlive the record that its caller was revoked")
	}
	if x := g.Exchange; x != nil {
		if len(x.IntrospectionClients) > 0 && !b.Introspects {
			v.Add(atExchange+".introspection_clients", "needs the section introspection")
		}
		if b.Retention > 0 && x.RenewableFor > b.Retention {
			v.Add(atExchange+".renewable_for", "is longer than revocation.retention: a token would outlive the record that its caller was revoked")
		}
	}
	if b.Upstream != nil && b.Upstream.Exchange == nil {
		g.checkUpstream(v, b.Upstream)
	}
}

func (g *GatewayToken) checkUpstream(v section.Validator, u *UpstreamToken) {
	if u.Issuer != g.Issuer {
		if u.JWKSPath == g.JWKSPath && g.JWKSPath != "" {
			v.Add(atGateway+".jwks_path", "is that of upstream_token, which has another issuer: set one of them to another path, or to the empty text")
		}
		return
	}
	if u.JWKSPath != g.JWKSPath {
		v.Add(atGateway+".jwks_path", "must be that of upstream_token, which has the same issuer")
	}
	if !slices.Equal(u.Keys, g.Keys) {
		v.Add(atGateway+".keys", "must be those of upstream_token, which has the same issuer; or give one of them another issuer")
	}
	for i, audience := range g.Audience {
		if u.isFor(audience) {
			v.Add(section.Item(atGateway+".audience", i), "is an audience of upstream_token, which has the same issuer: a token that a service got would pass for one of the gate")
		}
	}
}

// isFor reports whether some token is for an audience.
func (t *UpstreamToken) isFor(audience string) bool {
	return slices.Contains(t.Audience, audience) || slices.ContainsFunc(t.Routes, func(r Route) bool { return slices.Contains(r.Audience, audience) })
}

// Build finds or makes the tokens, and what verifies them.
func (g *GatewayToken) Build(b *section.Builder, c section.Caching) (*section.Part, error) {
	texts, err := resolve(atGateway+".keys", g.Keys)
	if err != nil {
		return nil, err
	}
	var tokens *gatewaytoken.Tokens
	return b.Own(section.Own{
		Kind: core.KindJWT, Title: "tokens of this gate", Local: true, TTL: g.CacheTTL, NegativeTTL: g.NegativeCacheTTL, Order: section.OwnJWTsNext, Others: gatewaytoken.Others,
		Candidate: func(c core.Credential) bool { return authn.IsBearer(c) && jwt.Candidate(c) },
		Judges: func(c core.Credential) (any, bool) {
			if !authn.IsBearer(c) {
				return nil, false
			}
			return tokens.Judges(c)
		},
		Make: func() (core.TokenAuthenticator, any, error) {
			keys, err := signing.Parse(texts...)
			if err == nil {
				o := g.options(b)
				o.Keys = keys
				tokens, err = gatewaytoken.New(o)
			}
			if err != nil {
				return nil, nil, section.At(atGateway+".keys", err)
			}
			return tokens, tokens, nil
		},
	}, c, atGateway, g, texts)
}

func (g *GatewayToken) options(b *section.Builder) gatewaytoken.Options {
	return gatewaytoken.Options{
		Place: g.place(), Audience: g.Audience, Lifetime: g.TTL.Duration(), PermissionsClaim: g.PermissionsClaim,
		Claims: claimPaths(g.Claims), CopyClaims: g.CopyClaims, Now: b.Now(),
	}
}

// Refused returns what the parts refuse beside what Check states.
func (g *GatewayToken) Refused() error { return nil }

// Principal reads whom the payload of a token speaks of.
func (g *GatewayToken) Principal(b *section.Builder, document map[string]any, typ string) (*core.Principal, error) {
	return g.options(b).Principal(claims.Set(document), typ)
}

// Issues reports whether the payload of a JWT names the issuer.
func (g *GatewayToken) Issues(document map[string]any) bool {
	return g != nil && document["iss"] == g.Issuer
}

// AsIssuer is what an issuer of jwt would be like whose tokens read alike.
func (g *GatewayToken) AsIssuer() section.Issuer {
	return section.Issuer{
		Issuer: g.Issuer, Audience: g.Audience, AudienceClaim: "aud", TokenTypes: []string{mint.Type}, Profile: "rfc9068", Algorithms: signing.Algorithms(),
		RolesClaim: "roles", ScopesClaim: "scope", PermissionsClaim: g.PermissionsClaim,
	}
}

func (g *GatewayToken) place() mint.Place {
	p := mint.Place{Issuer: g.Issuer, JWKSPath: g.JWKSPath}
	if g.Exchange != nil {
		p.TokenPath = g.Exchange.Path
	}
	return p
}

// TokensOf are those that a part issues; nil: it is of another section.
func TokensOf(p *section.Part) *gatewaytoken.Tokens {
	if p == nil {
		return nil
	}
	tokens, _ := p.Made.(*gatewaytoken.Tokens)
	return tokens
}
