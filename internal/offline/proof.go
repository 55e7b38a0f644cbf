package offline

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"

	"gatehouse/core"
	"gatehouse/core/authn/claims"
	"gatehouse/core/authn/mtls"
)

// bound adds what binds the credential of a caller to a key, where no claims are given: the
// one of which the caller brings the proof.
func (d *document) bound(c *Caller, kind core.Kind) {
	switch {
	case c.Claims != nil || kind != core.KindJWT && kind != core.KindIntrospection:
	case c.DPoP:
		d.add("cnf", map[string]any{"jkt": claims.Thumbprint([]byte("any key"))})
	case len(c.Chain) > 0:
		d.add("cnf", map[string]any{"x5t#S256": claims.Thumbprint(c.Chain[0].Raw)})
	}
}

// prove says how the caller proves to hold the key that the credential of a principal is
// bound to, as the gate would find it.
func (g *Gate) prove(c *Caller, p *core.Principal) (*core.Principal, error) {
	if c.DPoP {
		return g.proveByDPoP(p)
	}
	proven, err := mtls.Check(&core.Request{AskTLS: c.clientTLS()}, p)
	switch {
	case err != nil:
		return nil, err
	case proven:
		return p.Proven(core.ProofMTLS), nil
	case p.Claims["cnf"] != nil && p.Kind != core.KindOIDC:
		return nil, fmt.Errorf("%w: the token is bound to a key of its holder (cnf), and comes without the proof of it", core.ErrInvalid)
	}
	return p, nil
}

func (g *Gate) proveByDPoP(p *core.Principal) (*core.Principal, error) {
	info, _ := p.Kind.Info()
	switch {
	case !slices.Contains(info.Proofs, core.ProofDPoP):
		return nil, fmt.Errorf("%w: no credential of kind %s comes by DPoP", core.ErrInvalid, p.Kind)
	case !g.Checks(core.ProofDPoP):
		return nil, fmt.Errorf("%w: no token comes by DPoP, because the configuration has no section dpop", core.ErrInvalid)
	}
	thumbprint, err := claims.Set(p.Claims).BoundTo()
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w: the token %w", core.ErrInvalid, err)
	case thumbprint == "":
		return nil, fmt.Errorf("%w: the token comes by DPoP and is bound to no key (cnf.jkt)", core.ErrInvalid)
	}
	return p.Proven(core.ProofDPoP), nil
}

// clientTLS tells the certificates of the caller, who may have shown none.
func (c *Caller) clientTLS() func() (*core.ClientTLS, error) {
	return func() (*core.ClientTLS, error) { return &core.ClientTLS{Chain: c.Chain}, nil }
}

// DecodeCertificates reads a client certificate in PEM, and those behind it. A key beside
// them is not looked at.
func DecodeCertificates(text []byte) ([]*x509.Certificate, error) {
	var chain []*x509.Certificate
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("the certificate cannot be read: %w", err)
		}
		chain = append(chain, c)
	}
	if len(chain) == 0 {
		return nil, errors.New("the file holds no certificate; give the client certificate in PEM, first its own, then those that signed it")
	}
	return chain, nil
}

// Checks reports whether the gate checks proofs of possession of a kind.
func (g *Gate) Checks(proof core.Proof) bool { return proof != core.ProofDPoP || g.config.DPoP != nil }
