package offline

import (
	"bytes"
	"context"
	"encoding/pem"

	"gatehouse/core"
	"gatehouse/core/authn/certificate"
	"gatehouse/core/authn/spiffe"
)

// byCertificate is the kind of a caller whose credential is the client certificate; empty
// for one with another credential, or where no section takes certificates.
func (g *Gate) byCertificate(c *Caller) core.Kind {
	others := c.Claims != nil || c.Subject+c.ClientID+c.Issuer+c.AAL != "" || len(c.Scopes)+len(c.Roles)+len(c.Permissions) > 0 || c.DPoP
	if len(c.Chain) == 0 || others {
		return ""
	}
	switch workload := spiffe.IsSVID(c.Chain[0]); {
	case workload && g.config.SPIFFE != nil && g.config.SPIFFE.X509SVID && (c.Kind == "" || c.Kind == core.KindSPIFFE):
		return core.KindSPIFFE
	case !workload && g.config.MTLS != nil && (c.Kind == "" || c.Kind == core.KindMTLS):
		return core.KindMTLS
	}
	return ""
}

// certified says whom a certificate names. That of a plain one is verified by the files of
// the section; the bundles that vouch for a workload are not asked for.
func (g *Gate) certified(c *Caller, kind core.Kind) (*core.Principal, error) {
	if kind == core.KindSPIFFE {
		return g.config.SPIFFE.OfCertificate(c.Chain[0], g.now())
	}
	var text bytes.Buffer
	for _, one := range c.Chain {
		if err := pem.Encode(&text, &pem.Block{Type: "CERTIFICATE", Bytes: one.Raw}); err != nil {
			return nil, err
		}
	}
	return g.builder.Principal(g.config, kind, map[string]any{certificate.Claim: text.String()}, "")
}

// beside has the gate's own rules say who the caller is where a certificate stands beside
// another credential, or is missing beside it.
func (g *Gate) beside(c *Caller, other *core.Principal) (*core.Principal, error) {
	r := &core.Request{AskTLS: c.clientTLS()}
	judged := &both{gate: g, caller: c, other: other}
	a, err := g.config.ClientCertificate.Around(judged).Authenticate(context.Background(), &core.Call{Request: r}, core.Credential{Place: core.BearerToken})
	return a.Principal, err
}

// both judges a request with a certificate and another credential.
type both struct {
	gate   *Gate
	caller *Caller
	other  *core.Principal
}

var _ core.Judge = (*both)(nil)

func (b *both) JudgesOthers() {}

// Refresh is Authenticate.
func (b *both) Refresh(ctx context.Context, call *core.Call, c core.Credential) (core.Authentication, error) {
	return b.Authenticate(ctx, call, c)
}

// Authenticate returns whom the certificate names, or the other credential.
func (b *both) Authenticate(_ context.Context, _ *core.Call, c core.Credential) (core.Authentication, error) {
	if c.Place != core.ClientCertificate {
		return core.Authentication{Principal: b.other}, nil
	}
	alone := &Caller{Chain: b.caller.Chain, AuthAge: -1}
	kind := b.gate.byCertificate(alone)
	if kind == "" {
		return core.Authentication{}, core.ErrInvalid
	}
	p, err := b.gate.certified(alone, kind)
	return core.Authentication{Principal: p}, err
}
