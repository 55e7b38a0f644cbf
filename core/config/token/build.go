package token

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"gatehouse/core"
	"gatehouse/core/authn/claims"
	"gatehouse/core/authn/idp"
	"gatehouse/core/config/section"
	"gatehouse/core/gatewaytoken"
	"gatehouse/core/identity"
	"gatehouse/core/setting"
	"gatehouse/core/shared"
	"gatehouse/core/upstreamtoken"
	"gatehouse/core/upstreamtoken/exchange"
	"gatehouse/core/upstreamtoken/mint"
	"gatehouse/core/upstreamtoken/signing"
)

// Options are what the makers of tokens are built with.
type Options struct {
	// Log gets lines about what happens outside of requests.
	Log *slog.Logger
	// Calls is called after every call to an authorization server.
	Calls func(provider string, took time.Duration, err error)
	// Now is the clock.
	Now func() time.Time
}

// Builder makes makers of tokens, each once per content.
type Builder struct {
	options    Options
	minters    shared.Values[mint.Minter]
	exchangers shared.Values[exchange.Exchanger]
}

// NewBuilder makes a builder.
func NewBuilder(o Options) *Builder { return &Builder{options: o} }

// Built is what a gate has of a section. The zero value is that of a gate without one.
type Built struct {
	header    string
	source    upstreamtoken.Header
	published *publication // nil: nothing
}

// publication is what an issuer publishes; without keys for tools that sign nothing.
type publication struct {
	place mint.Place
	keys  *signing.Set
	now   func() time.Time
}

// Endpoints serve what the issuers publish, those of the section gateway_token among
// them. Its tokens are nil for tools that issue none.
func (b Built) Endpoints(g *GatewayToken, tokens *gatewaytoken.Tokens) []core.Endpoint {
	var all []publication
	if b.published != nil {
		all = append(all, *b.published)
	}
	if g != nil {
		own := publication{place: g.place()}
		if tokens != nil {
			own.keys, own.now = tokens.Keys(), tokens.Now
		}
		if len(all) > 0 && all[0].place.Issuer == own.place.Issuer { // with the same keys
			all = nil
		}
		all = append(all, own)
	}
	var endpoints []core.Endpoint
	for _, p := range all {
		endpoints = append(endpoints, p.place.Endpoints(p.keys, p.now)...)
	}
	if g != nil && tokens == nil {
		endpoints = append(endpoints, g.Exchange.offline()...)
	}
	return endpoints
}

// Sources are the headers that are made.
func (b Built) Sources(credentials core.Extractor) map[string]identity.Source {
	if b.header == "" {
		return nil
	}
	source := b.source
	source.Credentials = credentials
	return map[string]identity.Source{b.header: source}
}

// Build finds or makes what a gate has of a section; the key identifies it.
func (b *Builder) Build(t *UpstreamToken, limits section.Cache) (Built, shared.Key, error) {
	if t == nil {
		return Built{}, shared.Key{}, nil
	}
	built, within := t.without(nil), upstreamtoken.Limits{Entries: limits.MaxEntries, Bytes: limits.MaxBytes}
	if t.Exchange != nil {
		maker, key, err := b.exchanger(t, within)
		built.source.Maker = maker
		return built, key, err
	}
	minter, key, err := b.minter(t, within)
	if err != nil {
		return built, key, err
	}
	built.source.Maker, built.published = minter, &publication{t.place(), minter.Keys(), b.options.Now}
	return built, key, nil
}

// Offline is what a gate has for tools that make no token.
func (t *UpstreamToken) Offline() Built {
	if t == nil {
		return Built{}
	}
	built := t.without(offline{})
	if t.Exchange == nil {
		built.published = &publication{place: t.place()}
	}
	return built
}

func (t *UpstreamToken) without(maker upstreamtoken.Maker) Built {
	audiences := upstreamtoken.Audiences{Default: t.Audience}
	for _, r := range t.Routes {
		audiences.Routes = append(audiences.Routes, upstreamtoken.Route(r))
	}
	return Built{header: t.Header, source: upstreamtoken.Header{Maker: maker, Audiences: audiences, Bearer: strings.EqualFold(t.Header, "Authorization")}}
}

// offline stands for a maker. Its token is none.
type offline struct{}

func (offline) Token(context.Context, upstreamtoken.Wanted) (string, error) {
	return "token-that-the-gate-makes", nil
}

func (b *Builder) minter(t *UpstreamToken, limits upstreamtoken.Limits) (*mint.Minter, shared.Key, error) {
	texts, err := resolve("upstream_token.keys", t.Keys)
	if err != nil {
		return nil, shared.Key{}, err
	}
	certificate, err := section.Authorities(certFileAt, t.CertFile)
	if err != nil {
		return nil, shared.Key{}, err
	}
	boundTo := ""
	if t.CertFile != "" {
		if boundTo, err = thumbprint(certificate); err != nil {
			return nil, shared.Key{}, section.At(certFileAt, err)
		}
	}
	key := shared.KeyOf("mint", t, shared.Digest(texts...), boundTo, limits)
	m, err := b.minters.Get(key, func() (*mint.Minter, error) {
		keys, err := signing.Parse(texts...)
		if err != nil {
			return nil, err
		}
		return mint.New(mint.Options{
			Place: t.place(), Keys: keys, Lifetime: t.TTL.Duration(), ClientID: t.ClientID, Claims: claimPaths(t.Claims), CopyClaims: t.CopyClaims,
			PermissionsClaim: t.PermissionsClaim, BoundTo: boundTo, Limits: limits, Now: b.options.Now,
		})
	})
	if err != nil {
		return nil, key, section.At("upstream_token.keys", err)
	}
	return m, key, nil
}

const certFileAt = "upstream_token.tls_client_cert_file"

// thumbprint is that of the first certificate in a PEM text (RFC 8705 section 3.1).
func thumbprint(text string) (string, error) {
	for block, rest := pem.Decode([]byte(text)); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		if _, err := x509.ParseCertificate(block.Bytes); err != nil {
			return "", fmt.Errorf("the first certificate cannot be read: %w", err)
		}
		return claims.Thumbprint(block.Bytes), nil
	}
	return "", errors.New("holds no certificate in PEM; give the client certificate by which the gateway calls the services")
}

func (b *Builder) exchanger(t *UpstreamToken, limits upstreamtoken.Limits) (upstreamtoken.Maker, shared.Key, error) {
	const at = "upstream_token.exchange"
	s := t.Exchange
	found, err := s.client().Find()
	if err != nil {
		return nil, shared.Key{}, err
	}
	trust, err := section.Authorities(at+".http.ca_file", s.Outbound.CAFile)
	if err != nil {
		return nil, shared.Key{}, err
	}
	key := shared.KeyOf("exchange", t, found, trust, limits)
	x, err := b.exchangers.Get(key, func() (*exchange.Exchanger, error) {
		certificate, err := s.client().Certificate(found, b.options.Now(), b.options.Log)
		if err != nil {
			return nil, err
		}
		authentication, err := s.client().Authentication(found, b.options.Now)
		if err != nil {
			return nil, err
		}
		client, err := b.client(s.Outbound, certificate)
		if err != nil {
			return nil, section.At(at+".http.ca_file", err)
		}
		if again, err := section.Authorities(at+".http.ca_file", s.Outbound.CAFile); err != nil || again != trust {
			return nil, cmp.Or(err, errors.New("the file changed while it was read"))
		}
		x, err := exchange.New(exchange.Options{
			Endpoint: s.Endpoint, Client: client, Timeout: s.Outbound.Timeout.Duration(), Issuer: s.Issuer, Authentication: authentication, Log: b.options.Log,
			Scope: s.Scope, Resource: s.Target == "resource", SubjectType: types[s.SubjectType], RequestedType: types[s.RequestedType],
			MaxAge: s.CacheTTL.Duration(), RefusalAge: s.NegativeTTL.Duration(), Limits: limits, Now: b.options.Now,
		})
		if err == nil {
			x.Ready()
		}
		return x, err
	})
	if err != nil {
		var complete *setting.Error
		if errors.As(err, &complete) {
			return nil, key, err
		}
		return nil, key, section.At(at, err)
	}
	return x, key, nil
}

// resolve returns the texts of keys, which the setting at a path names.
func resolve(at string, keys []setting.Secret) ([]string, error) {
	texts := make([]string, len(keys))
	for i, reference := range keys {
		text, err := setting.Resolve(string(reference))
		if err != nil {
			return nil, section.At(section.Item(at, i), err)
		}
		texts[i] = text
	}
	return texts, nil
}

func claimPaths(of map[string]string) map[string][]core.ClaimPath {
	paths := map[string][]core.ClaimPath{}
	for name, list := range of {
		paths[name] = section.MustClaimPaths(list)
	}
	return paths
}

func (b *Builder) client(o section.Outbound, own *tls.Certificate) (*idp.Client, error) {
	return idp.New(idp.Options{
		Observe:            func(took time.Duration, err error) { b.options.Calls("upstream_token", took, err) },
		Timeout:            o.Timeout.Duration(),
		MaxConcurrent:      o.MaxConcurrent,
		CAFile:             o.CAFile,
		Certificate:        own,
		InsecureSkipVerify: !o.SSLVerify,
		Log:                b.options.Log.With("provider", "upstream_token"),
		Now:                b.options.Now,
	})
}

// Published is what an issuer publishes.
type Published struct{ JWKS, Metadata []byte }

// Published is what all minters in use publish, by issuer, and further tokens. Those of one
// issuer, such as the ones of several routes, are put together.
func (b *Builder) Published(further ...*gatewaytoken.Tokens) map[string]Published {
	places, keys := map[string]mint.Place{}, map[string]*signing.Set{}
	add := func(place mint.Place, set *signing.Set) {
		if keys[place.Issuer] == nil {
			places[place.Issuer], keys[place.Issuer] = place, &signing.Set{}
		}
		if place.TokenPath != "" {
			places[place.Issuer] = place
		}
		keys[place.Issuer] = signing.Merge(keys[place.Issuer], set)
	}
	for m := range b.minters.All() {
		add(m.Place(), m.Keys())
	}
	for _, t := range further {
		add(t.Place(), t.Keys())
	}
	published := map[string]Published{}
	for issuer, place := range places {
		published[issuer] = Published{keys[issuer].JWKS(b.options.Now()), place.Metadata(keys[issuer])}
	}
	return published
}
