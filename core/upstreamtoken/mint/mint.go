// Package mint signs a token for each service that a call goes to: a JWT in the form of
// RFC 9068, which says who calls and what they may do.
package mint

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"gatehouse/core"
	"gatehouse/core/keyedhash"
	"gatehouse/core/upstreamtoken"
	"gatehouse/core/upstreamtoken/signing"
)

// Type is the typ of the tokens (RFC 9068 section 2.1).
const Type = "at+jwt"

// Options of a Minter.
type Options struct {
	// Place has the issuer, which is the iss of every token.
	Place Place
	Keys  *signing.Set
	// Lifetime of a token; it never lives longer than the caller's own credential, nor
	// than the key that has signed it.
	Lifetime time.Duration
	// ClientID is that of callers whose credential names no client. RFC 9068 wants one.
	ClientID string
	// Claims are further ones, and where in the caller's credential they are. The first
	// path that is present counts.
	Claims map[string][]core.ClaimPath
	// CopyClaims has every claim of the credential in the token that is not set
	// otherwise.
	CopyClaims bool
	// PermissionsClaim has what the caller may do by the permission table; empty: none.
	PermissionsClaim string
	// Stated has a token say in PermissionsClaim and in roles what the caller's credential
	// states, so that the token stands for it wherever a table decides.
	Stated bool
	// BoundTo is the thumbprint of the certificate that tokens are bound to (cnf.x5t#S256,
	// RFC 8705 section 3.1), in base64url; empty: they are bound to none.
	BoundTo string
	// Limits bound the cache.
	Limits upstreamtoken.Limits
	// Now is the clock.
	Now func() time.Time
}

// Minter mints tokens. It is safe for concurrent use.
type Minter struct {
	options Options
	chosen  []chosen
	cache   *upstreamtoken.Cache
	names   *keyedhash.Hash
	buffers sync.Pool
}

type chosen struct {
	name  string
	paths []core.ClaimPath
}

var _ upstreamtoken.Maker = (*Minter)(nil)

// timeout bounds one signature.
const timeout = 5 * time.Second

// New makes a minter, whose keys must be able to sign now.
func New(o Options) (*Minter, error) {
	if o.Place.Issuer == "" || o.ClientID == "" || o.Lifetime < time.Second {
		return nil, errors.New("want an issuer, a client id and a lifetime of at least a second")
	}
	if _, err := o.Keys.Signer(o.Now()); err != nil {
		return nil, err
	}
	m := &Minter{options: o, cache: upstreamtoken.NewCache(o.Limits, timeout, o.Now), names: keyedhash.New(nil)}
	for _, name := range slices.Sorted(maps.Keys(o.Claims)) {
		if m.sets(name) {
			return nil, fmt.Errorf("the claim %.80q is set by the gate", name)
		}
		m.chosen = append(m.chosen, chosen{name, o.Claims[name]})
	}
	m.buffers.New = func() any { return new([]byte) }
	return m, nil
}

// Place is where the keys are published.
func (m *Minter) Place() Place { return m.options.Place }

// Keys are those by which the tokens are signed.
func (m *Minter) Keys() *signing.Set { return m.options.Keys }

// Token returns the token of a caller for an audience. What it says is written anew for
// every call, and names the token in the cache: a caller who may do something else by a
// new permission table gets another token.
func (m *Minter) Token(ctx context.Context, of upstreamtoken.Wanted) (string, error) {
	buffer := m.buffers.Get().(*[]byte)
	defer m.buffers.Put(buffer)
	w := payload{text: (*buffer)[:0]}
	m.describe(&w, of)
	if w.err != nil {
		return "", fmt.Errorf("%w: the token for the service: %w", core.ErrForbidden, w.err)
	}
	*buffer = w.text
	text, end := string(w.text), of.Principal.Expiry // outlives the buffer
	key := upstreamtoken.Key(m.names.Sum(text))
	if t, known := m.cache.Get(key, end); known {
		return t.Value, nil
	}
	t, err := m.cache.Make(ctx, key, end, func(context.Context) (upstreamtoken.Token, error) {
		t, err := m.sign(text, end)
		if err == nil {
			err = upstreamtoken.TooLong(t.Value)
		}
		return t, err
	})
	return t.Value, err
}

// Issue signs a token of a caller that ends at a moment at the latest. It is not kept, and
// may be longer than a header takes.
func (m *Minter) Issue(p *core.Principal, audience []string, end time.Time) (upstreamtoken.Token, error) {
	w := payload{}
	m.describe(&w, upstreamtoken.Wanted{Principal: p, Audience: audience})
	if w.err != nil {
		return upstreamtoken.Token{}, fmt.Errorf("%w: the token: %w", core.ErrForbidden, w.err)
	}
	return m.sign(string(w.text), end)
}

// sign completes what is said of a caller by the times and an id.
func (m *Minter) sign(text string, end time.Time) (upstreamtoken.Token, error) {
	now := m.options.Now()
	key, err := m.options.Keys.Signer(now)
	if err != nil {
		return upstreamtoken.Token{}, err
	}
	expiry := now.Add(m.options.Lifetime)
	if !key.Ends.IsZero() && key.Ends.Before(expiry) {
		expiry = key.Ends
	}
	life := expiry.Sub(now)
	if end.Before(expiry) {
		expiry = end
	}
	if expiry = expiry.Truncate(time.Second); !expiry.After(now) { // whole seconds, which every reader knows
		return upstreamtoken.Token{}, fmt.Errorf("%w: the credential ends within this second", core.ErrInvalid)
	}
	w := payload{text: []byte(text)}
	w.set("iat", now.Unix())
	w.set("exp", expiry.Unix())
	w.set("jti", strings.ToLower(rand.Text()))
	if w.err != nil {
		return upstreamtoken.Token{}, w.err
	}
	value, err := key.Sign(Type, append(w.text, '}'))
	return upstreamtoken.Token{Value: value, Expiry: expiry, Life: life}, err
}
