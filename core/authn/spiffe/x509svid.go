package spiffe

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"

	"gatehouse/core"
	"gatehouse/core/authn/certificate"
)

func invalidX509(err error) error { return fmt.Errorf("%w: X509-SVID %w", core.ErrInvalid, err) }

// certificate verifies an X509-SVID, which the handshake has proven the client to hold the
// key of. The first certificate is that of the client.
func (a *Authenticator) certificate(ctx context.Context, chain []*x509.Certificate) (*core.Principal, error) {
	p, domain, err := OfCertificate(chain[0])
	if err != nil {
		return nil, err
	}
	d, err := a.domainOf(domain)
	if err != nil {
		return nil, invalidX509(err)
	}
	if p.Expiry, err = a.verify(ctx, d, chain); err != nil {
		return nil, err
	}
	p.FreshUntil = d.x509.until()
	return p, nil
}

// OfCertificate is the caller whom a certificate names, and its trust domain, of which it
// is not asked whether it vouches for the certificate.
func OfCertificate(leaf *x509.Certificate) (*core.Principal, spiffeid.TrustDomain, error) {
	id, err := idOf(leaf)
	if err == nil {
		err = checkUsage(leaf)
	}
	if err != nil {
		return nil, spiffeid.TrustDomain{}, invalidX509(err)
	}
	domain := id.TrustDomain()
	return certificate.PrincipalOf(core.KindSPIFFE, id.String(), domain.IDString(), leaf), domain, nil
}

// checkUsage refuses a key that is not for clients of TLS. What is left out allows all.
func checkUsage(leaf *x509.Certificate) error {
	if leaf.KeyUsage != 0 && leaf.KeyUsage&x509.KeyUsageDigitalSignature == 0 {
		return errors.New("has a key that is not for signatures (keyUsage)")
	}
	if len(leaf.ExtKeyUsage)+len(leaf.UnknownExtKeyUsage) == 0 {
		return nil
	}
	for _, usage := range leaf.ExtKeyUsage {
		if usage == x509.ExtKeyUsageClientAuth || usage == x509.ExtKeyUsageAny {
			return nil
		}
	}
	return errors.New("has a key that is not for clients of TLS (extKeyUsage lacks clientAuth)")
}

// verify checks a chain with the bundle of its trust domain, and with a newer one where
// the one at hand does not know who has signed it.
func (a *Authenticator) verify(ctx context.Context, d *domain, chain []*x509.Certificate) (expiry time.Time, err error) {
	bundle, err := d.x509.get(ctx)
	if err != nil {
		return expiry, err
	}
	all := a.intermediates(chain)
	_, chains, err := x509svid.Verify(all, bundle, x509svid.WithTime(a.options.Now()))
	if unknown := (x509.UnknownAuthorityError{}); errors.As(err, &unknown) && d.kick != nil {
		d.kick(ctx)
		newer, stale := d.x509.get(ctx)
		if stale != nil {
			return expiry, stale
		}
		if newer != bundle {
			_, chains, err = x509svid.Verify(all, newer, x509svid.WithTime(a.options.Now()))
		}
	}
	if err != nil {
		return expiry, invalidX509(fmt.Errorf("does not hold with the bundle of trust domain %s: %w", d.name, err))
	}
	return lastUntil(chains), nil
}

// lastUntil is until when a chain holds: that of all which lasts longest, whose first
// certificate to end is its end.
func lastUntil(chains [][]*x509.Certificate) (last time.Time) {
	for _, chain := range chains {
		first := slices.MinFunc(chain, func(a, b *x509.Certificate) int { return a.NotAfter.Compare(b.NotAfter) })
		if first.NotAfter.After(last) {
			last = first.NotAfter
		}
	}
	return last
}
