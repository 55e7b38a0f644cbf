package spiffe

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"gatehouse/core"
	"gatehouse/core/authn/claims"
	"gatehouse/core/authn/jwt"
)

func invalidJWT(err error) error { return fmt.Errorf("%w: JWT-SVID %w", core.ErrInvalid, err) }

// token verifies a JWT-SVID.
func (a *Authenticator) token(ctx context.Context, c core.Credential, t jwt.Unverified) (*core.Principal, error) {
	if err := t.Err(); err != nil {
		return nil, invalidJWT(err)
	}
	if c.Place == core.DPoPToken {
		return nil, invalidJWT(errors.New("comes by DPoP, and is bound to no key"))
	}
	d, err := a.checkHeader(t)
	if err != nil {
		return nil, invalidJWT(err)
	}
	p, err := a.options.Principal(t.Claims())
	if err != nil {
		return nil, invalidJWT(err)
	}
	if err := a.checkSignature(ctx, d, t); err != nil {
		return nil, err
	}
	p.FreshUntil = d.jwt.until()
	return p, nil
}

// checkHeader checks all but the signature that says who vouches for a token.
func (a *Authenticator) checkHeader(t jwt.Unverified) (*domain, error) {
	if !slices.Contains(a.options.Algorithms, t.Alg()) {
		return nil, fmt.Errorf("has alg %.20q; accepted are %s (algorithms)", t.Alg(), strings.Join(a.options.Algorithms, ", "))
	}
	if typ := t.Typ(); typ != "" && typ != "JWT" && typ != "JOSE" {
		return nil, fmt.Errorf("has typ %.40q; a JWT-SVID has JWT, JOSE or none (JWT-SVID section 2.3)", typ)
	}
	id, err := subjectOf(t.Claims())
	if err != nil {
		return nil, err
	}
	return a.domainOf(id.TrustDomain())
}

func subjectOf(set claims.Set) (spiffeid.ID, error) {
	sub, err := set.Text("sub")
	if err != nil {
		return spiffeid.ID{}, err
	}
	return parseID(sub)
}

// Principal reads whom the claims of a JWT-SVID speak of, whose signature is taken to hold. The error does not yet wrap core.ErrInvalid.
func (o *Options) Principal(set claims.Set) (*core.Principal, error) {
	id, err := subjectOf(set)
	if err != nil {
		return nil, err
	}
	now := o.Now()
	expiry, err := set.Expiry(now)
	if err != nil {
		return nil, err
	}
	if err := set.Begun(now, o.Leeway); err != nil {
		return nil, err
	}
	if o.JWT {
		if err := set.MeantFor(audienceClaim, o.Audiences); err != nil {
			return nil, err
		}
	}
	if set["cnf"] != nil {
		return nil, errors.New("is bound to a key of its holder (cnf), which is not supported of a JWT-SVID")
	}
	if set["act"] != nil {
		return nil, errors.New("is delegated (act), which is not supported of a JWT-SVID")
	}
	p := &core.Principal{
		Kind: core.KindSPIFFE, Subject: id.String(), Issuer: id.TrustDomain().IDString(), Expiry: expiry, Claims: set,
	}
	p.ID, _ = set.Text("jti")
	p.IssuedAt, _, _ = set.Time("iat")
	return p, nil
}

var audienceClaim = claims.MustPaths("aud")

func (a *Authenticator) checkSignature(ctx context.Context, d *domain, t jwt.Unverified) error {
	keys, err := d.jwt.get(ctx)
	if err != nil {
		return err
	}
	if t.SignedBy(keys.candidates(t.KeyID())...) {
		return nil
	}
	if d.kick != nil && keys.byID[t.KeyID()] == nil {
		d.kick(ctx)
		newer, err := d.jwt.get(ctx)
		if err != nil {
			return err
		}
		if newer != keys && t.SignedBy(newer.candidates(t.KeyID())...) {
			return nil
		}
	}
	return invalidJWT(fmt.Errorf("is signed by no key of the bundle of trust domain %s (kid %.80q)", d.name, t.KeyID()))
}
