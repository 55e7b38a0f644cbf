// Package proof has the part of a configuration by which clients prove that they hold the
// key that their access token is bound to.
package proof

import (
	"crypto/rand"
	"fmt"
	"time"

	"gatehouse/core"
	"gatehouse/core/authn/dpop"
	"gatehouse/core/authn/dpop/uses"
	"gatehouse/core/config/section"
	"gatehouse/core/extract"
	"gatehouse/core/fleet/proofs"
	"gatehouse/core/fleet/seal"
	"gatehouse/core/setting"
	"gatehouse/core/shared"
)

// DPoP has the gate check proofs of RFC 9449.
type DPoP struct {
	Algorithms     []string        `config:"algorithms" len_min:"1" default:"ES256,EdDSA,PS256,RS256" one_of:"RS256,RS384,RS512,PS256,PS384,PS512,ES256,ES384,ES512,EdDSA,Ed25519" doc:"Accepted signature algorithms of proofs (RFC 7518). Symmetric algorithms are not supported."`
	ProofLifetime  setting.Seconds `config:"proof_lifetime" default:"60" between:"1,3600" doc:"How old a proof may be by its iat, in seconds. For as long the gate remembers that it has been used."`
	Leeway         setting.Seconds `config:"leeway" default:"5" between:"0,300" doc:"How far the clock of a client may be ahead, in seconds."`
	Scheme         string          `config:"scheme" default:"https" one_of:"http,https" doc:"Scheme of the URLs by which clients call, for the comparison with htu, where no trusted proxy tells it. Host and path are those of the request."`
	BaseURLs       []string        `config:"base_urls" doc:"URLs below which clients call, such as https://api.example.com or https://example.com/api, where something in front of the gateway changes host or path, and the host does not learn it from a trusted proxy. A proof (htu) must then be for one of them with the path of the request behind it; what the request says of its host and scheme does not count."`
	UseNonce       bool            `config:"use_nonce" default:"false" doc:"Whether proofs need a nonce that the gate has given out (RFC 9449 section 9). A proof without one gets 401 with use_dpop_nonce and a nonce in the header DPoP-Nonce."`
	NonceLifetime  setting.Seconds `config:"nonce_lifetime" default:"300" between:"10,86400" doc:"How long a nonce counts, in seconds."`
	NonceSecret    setting.Secret  `config:"nonce_secret" secret:"true" doc:"Secret with which nonces are made, at least 32 bytes, the same on all nodes. Takes a literal value, $env://NAME or $file:///path. Without it: redis.secret; without that, each process makes its own, and a client that reaches another node needs another nonce."`
	NonceOnSuccess bool            `config:"nonce_on_success" default:"false" doc:"Whether a response of the upstream carries a new nonce (DPoP-Nonce) once that of the client is in the second half of its time, so that no request is refused for it. A host that cannot add a header to responses refuses the configuration; nginx, Caddy and Traefik cannot."`
	Policy         string          `config:"policy" default:"auto" one_of:"auto,local,redis" doc:"Where used proofs are remembered: local, by each process for itself, so that one proof counts once on each; redis, by all nodes together in the Redis of the section redis; or auto, which is redis where there is a section redis, else local."`
	FaultTolerant  bool            `config:"fault_tolerant" default:"false" doc:"Whether a process goes on with the proofs that it remembers itself while Redis does not respond. Otherwise requests with a proof get 503 then."`
	MaxEntries     int             `config:"max_entries" default:"200000" between:"100,10000000" doc:"How many used proofs a process remembers, at about 150 bytes each; at most half of them of one key. Too few for proof_lifetime, and requests with a proof get 503 until some have ended."`
}

const policyLocal, policyRedis = "local", "redis"

// Check reports what no single tag can say.
func (d *DPoP) Check(v section.Validator, hasRedis bool, j *section.JWT, i *section.Introspection) {
	if d == nil {
		for _, at := range boundTokensRequired(j, i) {
			v.Add(at, "needs the section dpop, which checks the proofs")
		}
		return
	}
	switch {
	case d.Policy == policyRedis && !hasRedis:
		v.Add("dpop.policy", "is redis, but there is no section redis: add it, or write local")
	case d.FaultTolerant && (!hasRedis || d.Policy == policyLocal):
		v.Add("dpop.fault_tolerant", "is about Redis, in which no used proof is remembered")
	}
	if j == nil && i == nil {
		v.Add("dpop", "is about access tokens; add a section jwt or introspection")
	}
	for i, text := range d.BaseURLs {
		if _, err := dpop.BaseURL(text); err != nil {
			v.Add(fmt.Sprintf("dpop.base_urls[%d]", i), "%.100q %v; want a URL such as https://api.example.com", text, err)
		}
	}
	if !d.UseNonce && (d.NonceSecret != "" || d.NonceOnSuccess) {
		v.Add("dpop.use_nonce", "is false, but there are settings of nonces")
	}
}

// Places are where bound tokens may sit; none without the section.
func (d *DPoP) Places() []extract.Place {
	if d == nil {
		return nil
	}
	return []extract.Place{extract.DPoPTokenPlace}
}

// ProofAlgorithms are those of the challenge; none without the section.
func (d *DPoP) ProofAlgorithms() []string {
	if d == nil {
		return nil
	}
	return d.Algorithms
}

// Builder makes checks of proofs. What is remembered of used proofs outlives a
// configuration: gates with the same settings share it.
type Builder struct {
	uses   shared.Values[kept]
	nonces shared.Values[dpop.Nonces]
}

type kept struct {
	dpop.Uses
	keep any // the connection to Redis
}

// Build puts the check of proofs around what judges tokens, which a key identifies, and
// says what identifies the result. Without settings, that is what judges tokens.
func (b *Builder) Build(d *DPoP, next core.Authenticator, key shared.Key, common func() (section.Caching, error), now func() time.Time) (core.Authenticator, shared.Key, error) {
	if d == nil {
		return next, key, nil
	}
	caching, err := common()
	if err != nil {
		return nil, key, err
	}
	judge, ok := next.(core.Judge)
	if !ok {
		return nil, key, fmt.Errorf("dpop: a %T judges no tokens", next)
	}
	o := dpop.Options{
		Algorithms: d.Algorithms, MaxAge: d.ProofLifetime.Duration(), Leeway: d.Leeway.Duration(), Scheme: d.Scheme, RenewNonces: d.NonceOnSuccess, Now: now,
	}
	for _, text := range d.BaseURLs {
		base, err := dpop.BaseURL(text)
		if err != nil {
			return nil, key, section.At("dpop.base_urls", err)
		}
		o.BaseURLs = append(o.BaseURLs, base)
	}
	used, usesKey, err := b.used(d, caching, now)
	if err != nil {
		return nil, key, err
	}
	o.Uses = used
	var noncesKey shared.Key
	if o.Nonces, noncesKey, err = b.given(d, caching.RedisSecrets, now); err != nil {
		return nil, key, err
	}
	authenticator, err := dpop.New(judge, o)
	if err != nil {
		return nil, key, fmt.Errorf("dpop: %w", err)
	}
	return authenticator, shared.KeyOf(key, d, usesKey, noncesKey), nil
}

func (b *Builder) used(d *DPoP, c section.Caching, now func() time.Time) (*kept, shared.Key, error) {
	inRedis := d.Policy != policyLocal && c.Redis != nil
	var redisKey shared.Key
	if inRedis {
		redisKey = c.SharedKey
	}
	key := shared.KeyOf("used proofs", d.MaxEntries, d.FaultTolerant, redisKey)
	used, err := b.uses.Get(key, func() (*kept, error) {
		local, err := uses.NewMemory(d.MaxEntries, now)
		if err != nil || !inRedis {
			return &kept{local, nil}, err
		}
		store, err := proofs.New(proofs.Options{Redis: c.Redis, Local: local, Prefix: c.RedisPrefix, Tolerant: d.FaultTolerant, Now: now})
		return &kept{store, c.Shared}, err
	})
	return used, key, err
}

func (b *Builder) given(d *DPoP, secrets []string, now func() time.Time) (*dpop.Nonces, shared.Key, error) {
	if !d.UseNonce {
		return nil, shared.Key{}, nil
	}
	own, err := setting.Resolve(string(d.NonceSecret))
	if err != nil {
		return nil, shared.Key{}, section.At("dpop.nonce_secret", err)
	}
	switch {
	case own != "" && len(own) < seal.MinSecret:
		return nil, shared.Key{}, section.At("dpop.nonce_secret", fmt.Errorf("has %d bytes; want at least %d, such as of openssl rand -base64 32", len(own), seal.MinSecret))
	case own != "":
		secrets = []string{own}
	}
	key := shared.KeyOf("nonces", d.NonceLifetime, secrets)
	given, err := b.nonces.Get(key, func() (*dpop.Nonces, error) {
		if len(secrets) == 0 {
			secrets = []string{rand.Text() + rand.Text()}
		}
		return dpop.NewNonces(d.NonceLifetime.Duration(), now, secrets...)
	})
	return given, key, err
}

// boundTokensRequired are the settings that refuse tokens which are not bound by DPoP.
func boundTokensRequired(j *section.JWT, i *section.Introspection) (paths []string) {
	if j != nil {
		for n, issuer := range j.Issuers {
			if issuer.DPoPRequired {
				paths = append(paths, section.Item("jwt.issuers", n)+".dpop_bound_access_tokens_required")
			}
		}
	}
	if i != nil && i.DPoPRequired {
		paths = append(paths, "introspection.dpop_bound_access_tokens_required")
	}
	return paths
}
