package certificate

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"gatehouse/core"
)

// Status tells whether a certificate has been revoked by who issued it.
type Status interface {
	// Check asks about every certificate of a verified chain but the last one, which is
	// trusted as it is. staple is the OCSP response that came with the first; or empty.
	// What it learned counts until the time that it returns; zero: as long as the
	// certificates. A certificate that is revoked gives an error that wraps
	// core.ErrInvalid; any other one means that nobody could tell.
	Check(ctx context.Context, chain []*x509.Certificate, staple []byte) (until time.Time, err error)
}

// Options of an Authenticator.
type Options struct {
	// Roots are the authorities that are trusted; Intermediates those between them and a
	// certificate that clients need not send.
	Roots, Intermediates []*x509.Certificate
	// Rules say which certificates count; the first one that matches.
	Rules []Rule
	// Issuer is that of the callers; empty: the subject of the authority that is trusted.
	Issuer string
	// Status tells what has been revoked; nil: nothing has.
	Status Status
	// Now is the clock. Default time.Now.
	Now func() time.Time
}

// Authenticator judges client certificates.
type Authenticator struct {
	options              Options
	roots, intermediates *x509.CertPool
}

var _ core.TokenAuthenticator = (*Authenticator)(nil)

// New makes an authenticator.
func New(o Options) (*Authenticator, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if len(o.Roots) == 0 { // of which crypto/x509 would make the system's
		return nil, errors.New("no certificate authority is trusted")
	}
	if len(o.Rules) == 0 {
		return nil, errors.New("no rule says which certificates count")
	}
	for i := range o.Rules {
		if err := o.Rules[i].Check(); err != nil {
			return nil, fmt.Errorf("rule %d %w", i, err)
		}
	}
	return &Authenticator{o, poolOf(o.Roots), poolOf(o.Intermediates)}, nil
}

func poolOf(certificates []*x509.Certificate) *x509.CertPool {
	pool := x509.NewCertPool()
	for _, c := range certificates {
		pool.AddCert(c)
	}
	return pool
}

// Judges reports whether a credential is a client certificate.
func Judges(c core.Credential) (parsed any, ok bool) { return nil, c.Place == core.ClientCertificate }

// AuthenticateToken says whose certificate it is.
func (a *Authenticator) AuthenticateToken(ctx context.Context, c core.Credential) (*core.Principal, error) {
	facts, ok := c.Parsed.(*core.ClientTLS)
	if !ok || len(facts.Chain) == 0 {
		return nil, errors.New("the client's certificate was not handed over")
	}
	return a.principal(ctx, facts)
}

// Principal is AuthenticateToken for a chain of which it is not asked whether it was revoked.
func (a *Authenticator) Principal(chain []*x509.Certificate) (*core.Principal, error) {
	without := *a
	without.options.Status = nil
	return without.principal(context.Background(), &core.ClientTLS{Chain: chain})
}

func (a *Authenticator) principal(ctx context.Context, facts *core.ClientTLS) (*core.Principal, error) {
	chains, err := a.verify(facts.Chain)
	if err != nil {
		return nil, fmt.Errorf("%w: the client's certificate: %w", core.ErrInvalid, err)
	}
	p, chain, err := a.name(chains)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", core.ErrInvalid, err)
	}
	if a.options.Status == nil {
		return p, nil
	}
	until, err := a.options.Status.Check(ctx, chain, facts.Staple)
	if err != nil {
		return nil, err
	}
	p.FreshUntil = until
	return p, nil
}

// maxChains bounds the ways from a certificate to an authority that are looked at: a client
// can send authorities that have signed each other.
const maxChains = 4

// verify finds the chains from a certificate to an authority that is trusted.
func (a *Authenticator) verify(presented []*x509.Certificate) ([][]*x509.Certificate, error) {
	leaf := presented[0]
	if err := checkLeaf(leaf); err != nil {
		return nil, err
	}
	intermediates := a.intermediates
	if len(presented) > 1 {
		intermediates = intermediates.Clone()
		for _, c := range presented[1:] {
			intermediates.AddCert(c)
		}
	}
	chains, err := leaf.Verify(x509.VerifyOptions{
		Roots: a.roots, Intermediates: intermediates, CurrentTime: a.options.Now(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	return chains[:min(len(chains), maxChains)], err
}

// checkLeaf refuses what a TLS client does not use (RFC 5280 section 4.2.1.3), and
// authorities: who runs one could act as whoever it may vouch for, but does so as itself.
func checkLeaf(c *x509.Certificate) error {
	switch {
	case c.IsCA:
		return errors.New("is that of an authority")
	case c.KeyUsage != 0 && c.KeyUsage&(x509.KeyUsageDigitalSignature|x509.KeyUsageKeyAgreement) == 0:
		return errors.New("its key is for another use than signatures")
	}
	return nil
}

// name finds the caller by the first chain for which a rule matches.
func (a *Authenticator) name(chains [][]*x509.Certificate) (*core.Principal, []*x509.Certificate, error) {
	var refused error
	for _, chain := range chains {
		p, err := a.byRules(chain)
		if err == nil {
			return p, chain, nil
		}
		refused = err
	}
	return nil, nil, refused
}

func (a *Authenticator) byRules(chain []*x509.Certificate) (*core.Principal, error) {
	leaf, root := chain[0], chain[len(chain)-1]
	for i := range a.options.Rules {
		rule := &a.options.Rules[i]
		subject, err := rule.subject(leaf, isConstrained(chain))
		switch {
		case errors.Is(err, errNoMatch):
			continue
		case err != nil:
			return nil, err
		}
		issuer := a.options.Issuer
		if issuer == "" {
			if issuer, err = distinguishedName(root.RawSubject); err != nil {
				return nil, err
			}
		}
		p := PrincipalOf(core.KindMTLS, subject, issuer, leaf)
		p.Roles, p.Expiry = rule.Roles, firstEnd(chain)
		return p, nil
	}
	return nil, errNoMatch
}

// PrincipalOf is the caller that a certificate names, without an end.
func PrincipalOf(kind core.Kind, subject, issuer string, leaf *x509.Certificate) *core.Principal {
	return &core.Principal{
		Kind: kind, Subject: subject, Issuer: issuer, ID: Fingerprint(leaf), IssuedAt: leaf.NotBefore, Proof: core.ProofMTLS,
		Claims: map[string]any{"sub": subject, "iss": issuer, Claim: Facts(leaf)},
	}
}

// firstEnd is when the first certificate of a chain ends.
func firstEnd(chain []*x509.Certificate) time.Time {
	end := chain[0].NotAfter
	for _, c := range chain[1:] {
		if c.NotAfter.Before(end) {
			end = c.NotAfter
		}
	}
	return end
}

// isConstrained reports whether an authority of a chain may vouch for some names alone (RFC
// 5280 section 4.2.1.10).
func isConstrained(chain []*x509.Certificate) bool {
	for _, c := range chain[1:] {
		for _, e := range c.Extensions {
			if e.Id.String() == "2.5.29.30" {
				return true
			}
		}
	}
	return false
}
