package offline

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"

	"gatehouse/core"
	"gatehouse/core/extract"
)

// identity is what the authenticator says of the caller.
type identity struct {
	kind      core.Kind
	principal *core.Principal
	// refusal is why the credential does not hold; nil where it does.
	refusal   error
	anonymous bool
	// dpop says that the credential comes with a proof, chain is the certificate of the
	// connection.
	dpop  bool
	chain []*x509.Certificate
	// assumed are the claims that were added.
	assumed []string
}

type identityKey struct{}

// in hands the identity to the authenticator of the gate.
func (who *identity) in(ctx context.Context) context.Context {
	return context.WithValue(ctx, identityKey{}, who)
}

// given is the authenticator of a gate whose caller is given.
type given struct{}

var _ core.Authenticator = given{}

// Authenticate returns the caller that the context holds.
func (given) Authenticate(ctx context.Context, _ *core.Call, _ core.Credential) (core.Authentication, error) {
	who, ok := ctx.Value(identityKey{}).(*identity)
	switch {
	case !ok:
		return core.Authentication{}, errors.New("no caller is given")
	case who.anonymous:
		return core.Authentication{}, fmt.Errorf("%w: the request has a credential, and the caller has none that is valid", core.ErrInvalid)
	}
	return core.Authentication{Principal: who.principal}, who.refusal
}

// placeholder stands where the credential of the caller is in a request.
const placeholder = "the-credential"

// withCredential returns the request with the credential that its caller would
// send, unless it has one.
func (g *Gate) withCredential(r *core.Request, who *identity) *core.Request {
	with := *r
	with.Header = slices.Clone(r.Header)
	if len(who.chain) > 0 {
		with.AskTLS = func() (*core.ClientTLS, error) { return &core.ClientTLS{Chain: who.chain}, nil }
	}
	_, found := r.Lookup("Authorization")
	if _, err := g.extractor.Extract(r); found > 0 || !errors.Is(err, core.ErrMissing) || who.anonymous {
		return &with
	}
	if who.dpop {
		place := extract.DPoPTokenPlace
		with.Header = append(with.Header, core.Header{Name: place.Header, Value: place.Scheme + " " + placeholder}, core.Header{Name: place.Proof, Value: "the-proof"})
		return &with
	}
	place := g.placeOf(who.kind)
	switch {
	case place.Name == core.ClientCertificate && len(who.chain) == 0:
		shown := &core.ClientTLS{Chain: []*x509.Certificate{{Raw: []byte(placeholder)}}}
		with.AskTLS = func() (*core.ClientTLS, error) { return shown, nil }
	case place.Cookie != "":
		with.Header = append(with.Header, core.Header{Name: "Cookie", Value: place.Cookie + "=" + placeholder})
	case place.Header != "":
		with.Header = append(with.Header, core.Header{Name: place.Header, Value: strings.TrimSpace(place.Scheme + " " + placeholder)})
	}
	return &with
}

// placeOf is where a credential of a kind is; nowhere for one that gates look for in places
// that only its section names.
func (g *Gate) placeOf(kind core.Kind) extract.Place {
	place, found := g.config.PlaceOf(kind)
	if info, _ := kind.Info(); !found && slices.Contains(info.Places, core.BearerToken) {
		place = extract.BearerTokenPlace
	}
	return place
}
