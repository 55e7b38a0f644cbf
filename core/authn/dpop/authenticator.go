package dpop

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"gatehouse/core"
	"gatehouse/core/authn/claims"
	"gatehouse/core/authn/jws"
	"gatehouse/core/keyedhash"
	"gatehouse/core/secondrun"
)

// Uses remembers which proofs have been used.
type Uses interface {
	// Use notes that the holder of a key, by its thumbprint, uses a proof, by its id,
	// until it ends. It reports whether this is the first use, or one more of the same
	// request, by the name that the gateway gave it: a gateway may ask twice. An empty
	// name is like no other. An error means that nobody knows.
	Use(ctx context.Context, thumbprint, id, request string, until time.Time) (first bool, err error)
}

// Options of an Authenticator.
type Options struct {
	// Algorithms that proofs may be signed with.
	Algorithms []string
	// MaxAge is how old a proof may be; Leeway is how far the clock of a client may be
	// ahead of ours.
	MaxAge, Leeway time.Duration
	// Scheme is that by which clients call, where the host does not know it.
	Scheme string
	// BaseURLs are those by which clients call, as BaseURL has them, where something in front
	// of the host changes more than the scheme. Empty: scheme and host are those of the request.
	BaseURLs []string
	// Uses remembers which proofs have been used.
	Uses Uses
	// Nonces must be in proofs; nil: none.
	Nonces *Nonces
	// RenewNonces has the client get a new nonce with the response of a passed request
	// before its own ends.
	RenewNonces bool
	// Now is the clock.
	Now func() time.Time
}

func (o Options) validate() error {
	switch {
	case len(o.Algorithms) == 0:
		return errors.New("no algorithm for proofs")
	case o.MaxAge < time.Second || o.Leeway < 0:
		return errors.New("want a time in which proofs count")
	case defaultPorts[o.Scheme] == "":
		return fmt.Errorf("the scheme %.20q is neither http nor https", o.Scheme)
	case o.Uses == nil || o.Now == nil:
		return errors.New("want a memory of used proofs and a clock")
	}
	for _, text := range o.BaseURLs {
		if base, err := BaseURL(text); err != nil || base != text {
			return fmt.Errorf("the base URL %.100q is not in its normal form", text)
		}
	}
	for _, name := range o.Algorithms {
		if !jws.IsAlgorithm(jws.CanonicalAlgorithm(name)) {
			return fmt.Errorf("algorithm %.20q is not one of %s", name, strings.Join(jws.AlgorithmNames(), ", "))
		}
	}
	return nil
}

// Authenticator checks the proof of every call whose token is bound to a key, behind
// every cache of the token.
type Authenticator struct {
	core.Judge
	options Options
	signers signers
}

var (
	_ core.Judge        = (*Authenticator)(nil)
	_ core.HeaderSetter = (*Authenticator)(nil)
)

// New puts the check of proofs around another authenticator.
func New(next core.Judge, o Options) (*Authenticator, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	return &Authenticator{Judge: next, options: o}, nil
}

// NonceHeader holds the nonce that the gate gives out (RFC 9449 section 8).
const NonceHeader = "DPoP-Nonce"

// ResponseHeaders are those of the other authenticator, and that of a nonce.
func (a *Authenticator) ResponseHeaders() []string {
	names := core.ResponseHeadersOf(a.Judge)
	if a.options.Nonces != nil && a.options.RenewNonces {
		names = append(names, NonceHeader)
	}
	return names
}

// Authenticate is that of the other authenticator, and the check of the proof.
func (a *Authenticator) Authenticate(ctx context.Context, call *core.Call, c core.Credential) (core.Authentication, error) {
	r, err := a.Judge.Authenticate(ctx, call, c)
	if err != nil {
		return r, err
	}
	proof, err := a.check(call, c, r.Principal)
	if err == nil && proof != nil {
		err = a.use(ctx, call, proof)
	}
	if err == nil && proof != nil {
		r.ResponseHeader = append(r.ResponseHeader, a.renewal(call, proof)...)
	}
	return held(r, proof, err)
}

// Refresh is that of the other authenticator, and the check of the proof. The gate asks
// for it only after Authenticate, which has noted that the proof is used.
func (a *Authenticator) Refresh(ctx context.Context, call *core.Call, c core.Credential) (core.Authentication, error) {
	r, err := a.Judge.Refresh(ctx, call, c)
	if err != nil {
		return r, err
	}
	proof, err := a.check(call, c, r.Principal)
	return held(r, proof, err)
}

func held(r core.Authentication, proof *Proof, err error) (core.Authentication, error) {
	switch {
	case err != nil:
		r.Principal = nil
	case proof != nil:
		r.Principal = r.Principal.Proven(core.ProofDPoP)
	}
	return r, err
}

// check finds the proof of a call whose token is bound, and checks all of it but whether
// it has been used. It is nil where the token is a bearer token, and came as one.
func (a *Authenticator) check(call *core.Call, c core.Credential, p *core.Principal) (*Proof, error) {
	if p == nil {
		return nil, errors.New("the authenticator returned neither a principal nor an error")
	}
	if c.Place != core.DPoPToken {
		return nil, nil // whoever judged the token has refused a bound one
	}
	thumbprint, err := claims.Set(p.Claims).BoundTo()
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w: the token %w", core.ErrInvalid, err)
	case thumbprint == "":
		return nil, errNotBound
	}
	proof, by, err := a.proof(call.Request)
	if err == nil {
		err = a.matches(proof, call.Request, c.Value)
	}
	switch {
	case err != nil:
		return nil, a.refused(CodeInvalidProof, err)
	case proof.Thumbprint != thumbprint:
		return nil, errOtherKey
	}
	a.signers.put(by)
	if a.options.Nonces != nil {
		if holds, _ := a.options.Nonces.check(proof.Nonce); !holds {
			return nil, a.refused(CodeUseNonce, errNonce(proof.Nonce))
		}
	}
	return proof, nil
}

// proof reads the one proof of a request.
func (a *Authenticator) proof(r *core.Request) (*Proof, *signer, error) {
	text, lines := r.Lookup(Header)
	switch {
	case lines == 0:
		return nil, nil, errors.New("is absent: want one header DPoP")
	case lines > 1:
		return nil, nil, fmt.Errorf("is there %d times: want one header DPoP", lines)
	}
	return parse(strings.Trim(text, " \t"), a.signer)
}

func (a *Authenticator) signer(header string) (*signer, error) {
	if known := a.signers.get(header); known != nil {
		return known, nil
	}
	return signerOf(header, a.options.Algorithms)
}

// matches checks that a proof was made for a request and for its token, just now (RFC 9449
// section 4.3, checks 8 to 12).
func (a *Authenticator) matches(proof *Proof, r *core.Request, token string) error {
	now := a.options.Now()
	switch {
	case proof.Method != r.Method:
		return fmt.Errorf("is for the method %.20q (htm), not %.20q", proof.Method, r.Method)
	case proof.IssuedAt.Before(now.Add(-a.options.MaxAge)):
		return fmt.Errorf("was made at %s (iat), more than %s ago", proof.IssuedAt.UTC().Format(time.RFC3339), a.options.MaxAge)
	case proof.IssuedAt.After(now.Add(a.options.Leeway)):
		return fmt.Errorf("was made at %s (iat), more than %s in the future", proof.IssuedAt.UTC().Format(time.RFC3339), a.options.Leeway)
	case proof.TokenHash == "":
		return errors.New("lacks ath, the hash of the access token")
	case proof.TokenHash != hashOf(token):
		return errors.New("is for another access token (ath)")
	}
	return a.matchesURI(proof, r)
}

func (a *Authenticator) matchesURI(proof *Proof, r *core.Request) error {
	made, err := normalURI(proof.URI)
	if err != nil {
		return fmt.Errorf("has a URI (htu) that %w", err)
	}
	asked, err := a.asked(r)
	if err != nil {
		return fmt.Errorf("cannot be for this request, whose URI %w", err)
	}
	if !slices.Contains(asked, made) {
		return fmt.Errorf("is for %.200q (htu), not %.200q", made, asked)
	}
	return nil
}

// asked are the URIs that a request may have been sent to.
func (a *Authenticator) asked(r *core.Request) ([]string, error) {
	path, _, _ := strings.Cut(r.Target, "?")
	if len(a.options.BaseURLs) == 0 {
		uri, err := normal(cmp.Or(r.Scheme, a.options.Scheme), r.Host, path)
		return []string{uri}, err
	}
	path, err := normalPath(path)
	uris := make([]string, len(a.options.BaseURLs))
	for i, base := range a.options.BaseURLs {
		uris[i] = base + path
	}
	return uris, err
}

func hashOf(token string) string {
	sum := sha256.Sum256([]byte(token))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// runs names runs of requests. No secret is in the names: all nodes must know a request
// by the same one, whatever process of them is asked.
var runs = keyedhash.New([]byte("gatehouse runs of requests with proofs"))

// use notes that a proof is used, for as long as it could be used once more.
func (a *Authenticator) use(ctx context.Context, call *core.Call, proof *Proof) error {
	request := ""
	if run, known := secondrun.Name(runs, call.Request); known {
		request = string(run[:])
	}
	first, err := a.options.Uses.Use(ctx, proof.Thumbprint, proof.ID, request, proof.IssuedAt.Add(a.options.MaxAge))
	switch {
	case err != nil:
		return fmt.Errorf("cannot tell whether the DPoP proof has been used before: %w", err)
	case !first:
		return a.refused(CodeInvalidProof, errors.New("has been used before (jti)"))
	}
	return nil
}

// renewal is a new nonce for a client whose own ends soon.
func (a *Authenticator) renewal(call *core.Call, proof *Proof) []core.Header {
	if a.options.Nonces == nil || !a.options.RenewNonces || call.AddsNoResponseHeader {
		return nil
	}
	if _, due := a.options.Nonces.check(proof.Nonce); !due {
		return nil
	}
	return []core.Header{{Name: NonceHeader, Value: a.options.Nonces.New()}}
}
