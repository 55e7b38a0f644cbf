package jwt

import (
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"time"

	"gatehouse/core"
	"gatehouse/core/authn/claims"
	"gatehouse/core/authn/idp"
	"gatehouse/core/authn/jws"
)

// Options of a Verifier.
type Options struct {
	// Issuers whose tokens are accepted; at least one.
	Issuers []Issuer
	// Client fetches discovery documents and key sets. It may be nil when
	// every issuer has a JWKSFile or a JWKS.
	Client *idp.Client
	// Leeway is how far an issuer's clock may be ahead of ours: for nbf and
	// iat. exp gets none. Default 30 s; at most 5 min.
	Leeway time.Duration
	// Log gets a line for key fetches that fail. Default: none.
	Log *slog.Logger
	// Now is the clock. Default time.Now.
	Now func() time.Time
}

// Issuer says whom to believe, for whom, and how to check it.
type Issuer struct {
	// Issuer is the exact value of iss.
	Issuer string
	// Tenant is whose issuer this is, where a provider has one for each tenant. It
	// becomes the claim tenant; empty: none.
	Tenant string
	// JWKSURL is where the issuer's keys are. When it and JWKSFile are empty,
	// OpenID Connect Discovery or RFC 8414 finds them.
	JWKSURL string
	// JWKSFile is a file with the keys: a JWKS (RFC 7517) or public keys and
	// certificates as PEM. It is read once.
	JWKSFile string
	// JWKS is the key set itself, where it is at hand.
	JWKS []byte

	// Audiences are ours: a token must name one of them in AudienceClaims.
	Audiences []string
	// AudienceClaims may hold the audience; the first that is present counts.
	// Default: aud.
	AudienceClaims []core.ClaimPath
	// InsecureSkipAudience accepts tokens that are meant for others, which
	// anyone who ever received one can then use here.
	InsecureSkipAudience bool
	// Algorithms that are accepted, out of RS256, RS384, RS512, PS256, PS384,
	// PS512, ES256, ES384, ES512 and EdDSA, which is also called Ed25519. Default: RS256, PS256, ES256,
	// EdDSA.
	Algorithms []string
	// Types are the accepted values of the typ header, whatever their case
	// and without "application/". "" stands for a token without typ.
	// Default: JWT and at+jwt.
	Types []string
	// Strict accepts nothing but what RFC 9068 calls an access token.
	Strict bool
	// InsecureIDTokens accepts ID tokens, too. A page hands them to any party, and
	// each of those can then use them here.
	InsecureIDTokens bool
	// ProofRequired accepts only tokens that come with a proof of the key that they are
	// bound to.
	ProofRequired bool
	// Claims say where scopes, roles and permissions are.
	Claims claims.Paths

	// RefreshAfter is the age of fetched keys at which they are fetched again,
	// in the background, whatever Cache-Control says. Default 5 min.
	RefreshAfter time.Duration
	// MaxAge is the age from which fetched keys are not believed any more, so
	// how long tokens are accepted after the issuer went silent, and how long
	// at most a withdrawn key still counts. Default 15 min.
	MaxAge time.Duration
	// MinInterval is the least time between two fetches on average, whatever
	// tokens with unknown key ids arrive. A few may follow each other sooner, so
	// that one of them does not hide a rotation that comes right after it. Default
	// 10 s.
	MinInterval time.Duration
}

func (o Options) withDefaults() Options {
	if o.Leeway == 0 {
		o.Leeway = 30 * time.Second
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	o.Issuers = slices.Clone(o.Issuers)
	for i := range o.Issuers {
		o.Issuers[i] = o.Issuers[i].withDefaults()
	}
	return o
}

func (i Issuer) withDefaults() Issuer {
	if i.Algorithms == nil {
		i.Algorithms = []string{"RS256", "PS256", "ES256", "EdDSA"}
	}
	i.Algorithms = slices.Clone(i.Algorithms)
	for n := range i.Algorithms {
		i.Algorithms[n] = jws.CanonicalAlgorithm(i.Algorithms[n])
	}
	if i.Types == nil {
		i.Types = []string{"JWT", "at+jwt"}
	}
	if i.AudienceClaims == nil {
		i.AudienceClaims = claims.MustPaths("aud")
	}
	if i.RefreshAfter == 0 {
		i.RefreshAfter = 5 * time.Minute
	}
	if i.MaxAge == 0 {
		i.MaxAge = max(15*time.Minute, i.RefreshAfter)
	}
	if i.MinInterval == 0 {
		i.MinInterval = 10 * time.Second
	}
	i.Claims = i.Claims.WithDefaults()
	return i
}

const maxLeeway = 5 * time.Minute

func (o Options) validate() error {
	var problems []error
	if len(o.Issuers) == 0 {
		problems = append(problems, errors.New("no issuer"))
	}
	if o.Leeway < 0 || o.Leeway > maxLeeway {
		problems = append(problems, fmt.Errorf("leeway %s is not between 0s and %s", o.Leeway, maxLeeway))
	}
	seen := map[string]bool{}
	for _, issuer := range o.Issuers {
		err := issuer.validate(o.Client != nil)
		if err == nil && seen[issuer.Issuer] {
			err = errors.New("is listed twice")
		}
		if err != nil {
			problems = append(problems, fmt.Errorf("issuer %q: %w", redacted(issuer.Issuer), err))
		}
		seen[issuer.Issuer] = true
	}
	return errors.Join(problems...)
}

// redacted hides a password that was put where none belongs.
func redacted(text string) string {
	if u, err := url.Parse(text); err == nil && u.User != nil {
		return u.Redacted()
	}
	return text
}

func (i Issuer) validate(hasClient bool) error {
	switch {
	case i.Issuer == "":
		return errors.New("is empty")
	case i.JWKSURL != "" && i.JWKSFile != "":
		return errors.New("has both a JWKS URL and a JWKS file")
	case i.JWKS != nil && (i.JWKSURL != "" || i.JWKSFile != ""):
		return errors.New("has a JWKS at hand and another one elsewhere")
	case i.JWKSFile == "" && i.JWKS == nil && !hasClient:
		return errors.New("has keys to fetch and no HTTP client")
	case len(i.Audiences) == 0 && !i.InsecureSkipAudience:
		return errors.New("has no audience")
	case slices.Contains(i.Audiences, ""):
		return errors.New("has an empty audience")
	case len(i.Algorithms) == 0:
		return errors.New("has no algorithm")
	case len(i.Types) == 0:
		return errors.New("has no token type")
	case i.Strict && i.InsecureIDTokens:
		return errors.New("is to follow RFC 9068 and to accept ID tokens, which contradict each other")
	case i.Strict && !i.accepts(accessTokenType):
		return errors.New("is to follow RFC 9068, and at+jwt is not one of its token types")
	case i.RefreshAfter < 0 || i.MinInterval < 0:
		return errors.New("has a negative duration")
	case i.MaxAge < i.MinInterval:
		return fmt.Errorf("stops believing keys (after %s) before it may fetch new ones (after %s)", i.MaxAge, i.MinInterval)
	case i.MaxAge < i.RefreshAfter:
		return fmt.Errorf("stops believing keys (after %s) before it fetches new ones (after %s)", i.MaxAge, i.RefreshAfter)
	}
	for _, name := range i.Algorithms {
		if !jws.IsAlgorithm(name) {
			return fmt.Errorf("algorithm %q is not one of %s", name, strings.Join(jws.AlgorithmNames(), ", "))
		}
	}
	return i.validateURL()
}

func (i Issuer) validateURL() error {
	if i.JWKSFile != "" || i.JWKS != nil {
		return nil
	}
	if i.JWKSURL != "" {
		if _, err := idp.ParseURL(i.JWKSURL); err != nil {
			return fmt.Errorf("the JWKS URL %w", err)
		}
		return nil
	}
	u, err := idp.ParseURL(i.Issuer)
	if err != nil {
		return fmt.Errorf("cannot be discovered, because it %w", err)
	}
	if u.RawQuery != "" || u.ForceQuery {
		return errors.New("cannot be discovered, because it has a query")
	}
	return nil
}

// accepts reports whether typ is one of the issuer's token types, and whether
// it says that the token is an access token. A media type may omit
// "application/" (RFC 7515 section 4.1.9).
func (i *Issuer) accepts(typ string) bool {
	typ = shortType(typ)
	return slices.ContainsFunc(i.Types, func(t string) bool { return shortType(t) == typ })
}

// typeNames are the accepted types for an error, as they are configured.
func (i *Issuer) typeNames() string {
	names := make([]string, len(i.Types))
	for n, typ := range i.Types {
		if names[n] = typ; typ == "" {
			names[n] = "none"
		}
	}
	return strings.Join(names, ", ")
}

func shortType(typ string) string {
	return strings.TrimPrefix(strings.ToLower(typ), "application/")
}

// accessTokenType is the typ of RFC 9068 section 2.1.
const accessTokenType = "at+jwt"

var _ core.TokenAuthenticator = (*Verifier)(nil)
