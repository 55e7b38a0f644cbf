package token

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"strings"
	"time"

	"gatehouse/core"
	"gatehouse/core/authn/idp"
	"gatehouse/core/config/section"
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
	endpoints []core.Endpoint
}

// Endpoints are what the gate serves itself.
func (b Built) Endpoints() []core.Endpoint { return b.endpoints }

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
	built := t.without(nil)
	make := b.minter
	if t.Exchange != nil {
		make = b.exchanger
	}
	maker, endpoints, key, err := make(t, upstreamtoken.Limits{Entries: limits.MaxEntries, Bytes: limits.MaxBytes})
	built.source.Maker, built.endpoints = maker, endpoints
	return built, key, err
}

// Offline is what a gate has for tools that make no token.
func (t *UpstreamToken) Offline() Built {
	if t == nil {
		return Built{}
	}
	built := t.without(offline{})
	if t.Exchange == nil {
		built.endpoints = t.place().Endpoints(nil)
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

func (b *Builder) minter(t *UpstreamToken, limits upstreamtoken.Limits) (upstreamtoken.Maker, []core.Endpoint, shared.Key, error) {
	texts := make([]string, len(t.Keys))
	for i, reference := range t.Keys {
		text, err := setting.Resolve(string(reference))
		if err != nil {
			return nil, nil, shared.Key{}, section.At(section.Item("upstream_token.keys", i), err)
		}
		texts[i] = text
	}
	key := shared.KeyOf("mint", t, shared.Digest(texts...), limits)
	m, err := b.minters.Get(key, func() (*mint.Minter, error) {
		keys, err := signing.Parse(texts...)
		if err != nil {
			return nil, err
		}
		claims := map[string][]core.ClaimPath{}
		for name, list := range t.Claims {
			claims[name] = section.MustClaimPaths(list)
		}
		return mint.New(mint.Options{
			Place: t.place(), Keys: keys, Lifetime: t.TTL.Duration(), ClientID: t.ClientID, Claims: claims, CopyClaims: t.CopyClaims,
			PermissionsClaim: t.PermissionsClaim, Limits: limits, Now: b.options.Now,
		})
	})
	if err != nil {
		return nil, nil, key, section.At("upstream_token.keys", err)
	}
	return m, t.place().Endpoints(m), key, nil
}

func (b *Builder) exchanger(t *UpstreamToken, limits upstreamtoken.Limits) (upstreamtoken.Maker, []core.Endpoint, shared.Key, error) {
	const at = "upstream_token.exchange"
	s := t.Exchange
	secret, err := setting.Resolve(string(s.ClientSecret))
	if err != nil {
		return nil, nil, shared.Key{}, section.At(at+".client_secret", err)
	}
	trust, err := section.Authorities(at+".http.ca_file", s.Outbound.CAFile)
	if err != nil {
		return nil, nil, shared.Key{}, err
	}
	key := shared.KeyOf("exchange", t, secret, trust, limits)
	x, err := b.exchangers.Get(key, func() (*exchange.Exchanger, error) {
		client, err := b.client(s.Outbound)
		if err != nil {
			return nil, section.At(at+".http.ca_file", err)
		}
		if again, err := section.Authorities(at+".http.ca_file", s.Outbound.CAFile); err != nil || again != trust {
			return nil, cmp.Or(err, errors.New("the file changed while it was read"))
		}
		return exchange.New(exchange.Options{
			Endpoint: s.Endpoint, Client: client, Timeout: s.Outbound.Timeout.Duration(), Auth: exchange.Auth(s.AuthMethod), ClientID: s.ClientID, ClientSecret: secret,
			Scope: s.Scope, Resource: s.Target == "resource", SubjectType: types[s.SubjectType], RequestedType: types[s.RequestedType],
			MaxAge: s.CacheTTL.Duration(), RefusalAge: s.NegativeTTL.Duration(), Limits: limits, Now: b.options.Now,
		})
	})
	if err != nil {
		var complete *setting.Error
		if errors.As(err, &complete) {
			return nil, nil, key, err
		}
		return nil, nil, key, section.At(at, err)
	}
	return x, nil, key, nil
}

func (b *Builder) client(o section.Outbound) (*idp.Client, error) {
	return idp.New(idp.Options{
		Observe:            func(took time.Duration, err error) { b.options.Calls("upstream_token", took, err) },
		Timeout:            o.Timeout.Duration(),
		MaxConcurrent:      o.MaxConcurrent,
		CAFile:             o.CAFile,
		InsecureSkipVerify: !o.SSLVerify,
		Log:                b.options.Log.With("provider", "upstream_token"),
		Now:                b.options.Now,
	})
}

// Published is what an issuer publishes.
type Published struct{ JWKS, Metadata []byte }

// Published is what all minters in use publish, by issuer. Those of one issuer, such as
// the ones of several routes, are put together.
func (b *Builder) Published() map[string]Published {
	places, keys := map[string]mint.Place{}, map[string]*signing.Set{}
	for m := range b.minters.All() {
		place := m.Place()
		if keys[place.Issuer] == nil {
			places[place.Issuer], keys[place.Issuer] = place, &signing.Set{}
		}
		keys[place.Issuer] = signing.Merge(keys[place.Issuer], m.Keys())
	}
	published := map[string]Published{}
	for issuer, place := range places {
		published[issuer] = Published{keys[issuer].JWKS(b.options.Now()), place.Metadata(keys[issuer])}
	}
	return published
}
