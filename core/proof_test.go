package core_test

import (
	"context"
	"net/http"
	"testing"
	"time"

	. "gatehouse/core"
	"gatehouse/core/extract"
)

// A cache, a wrapper or an authenticator of somebody else's may forget the check of the
// proof. The gate itself lets nobody through with a credential that is bound to a key
// unless the proof of that very key was checked.
func TestBoundTokenWhoseProofNobodyCheckedIsRefused(t *testing.T) {
	jkt, certificate := map[string]any{"jkt": "k"}, map[string]any{"x5t#S256": "c"}
	for name, c := range map[string]struct {
		kind    Kind
		cnf     any
		proof   Proof
		refused bool
	}{
		"not bound":                                  {KindJWT, nil, "", false},
		"bound to a key, not proven":                 {KindJWT, jkt, "", true},
		"bound to a key, proven":                     {KindJWT, jkt, ProofDPoP, false},
		"bound to a key, certificate proven":         {KindJWT, jkt, ProofMTLS, true},
		"bound to a certificate, not proven":         {KindIntrospection, certificate, "", true},
		"bound to a certificate, proven":             {KindIntrospection, certificate, ProofMTLS, false},
		"bound to a certificate, key proven":         {KindIntrospection, certificate, ProofDPoP, true},
		"bound to both, one proven":                  {KindJWT, map[string]any{"jkt": "k", "x5t#S256": "c"}, ProofMTLS, true},
		"bound in a way that nobody checks":          {KindJWT, map[string]any{"kid": "k"}, ProofDPoP, true},
		"bound in a way that nobody checks, as well": {KindJWT, map[string]any{"jkt": "k", "kid": "k"}, ProofDPoP, true},
		"bound to nothing that can be read":          {KindJWT, map[string]any{}, ProofMTLS, true},
		"bound by a text":                            {KindJWT, "k", ProofDPoP, true},
		"bound by false":                             {KindJWT, false, "", true},
		"member in another case":                     {KindJWT, map[string]any{"JKT": "k"}, ProofDPoP, true},
		"API token that is bound":                    {KindAPIToken, jkt, "", true},
		"session that is bound":                      {KindSession, jkt, "", true},
		"kind that is not known":                     {"other", certificate, "", true},
		"no kind at all":                             {"", certificate, "", true},
		"session of a sign-in by a bound token":      {KindOIDC, jkt, "", false},
	} {
		gate, _ := testGate(t, func(o *Options) {
			o.Login = nil
			o.Authenticator = credentials{"good": func() (*Principal, error) {
				p := &Principal{Subject: "ada", Kind: c.kind, Proof: c.proof, Expiry: noon.Add(time.Minute), Claims: map[string]any{"sub": "ada"}}
				if c.cnf != nil {
					p.Claims["cnf"] = c.cnf
				}
				return p, nil
			}}
		})
		d := gate.Check(t.Context(), get("/private", "X-Session-Token", "good"))
		if refused := d.Outcome != Allow; refused != c.refused || refused && (d.Status != http.StatusUnauthorized || d.Principal != nil) {
			t.Errorf("%s: %s, status %d, %v", name, d.Outcome, d.Status, d.Cause)
		}
	}
}

// proving is an access whose every way in needs a proof.
type proving struct {
	rule
	of []Proof
}

func (p proving) Proofs() []Proof { return p.of }
func (p proving) Allows(_ context.Context, _ *Call, caller *Principal) error {
	return &NeedsProof{Of: p.of, Has: caller.Proof}
}

type onlyAccess struct{ Access }

func (o onlyAccess) Match(context.Context, *Call) Access { return o.Access }
func (onlyAccess) Permissions(*Principal) []string       { return nil }

// The challenge names the schemes by which a credential with the proof comes, and no other
// one: a client that tries again by the scheme that it reads there must be able to pass.
func TestChallengeOfACallThatNeedsAProof(t *testing.T) {
	const (
		wrong  = `, error="invalid_token", error_description="The request needs a credential that is bound to a key of its holder, and the proof of it."`
		where  = `, scope="s1", resource_metadata="https://api.test/metadata"`
		bearer = `Bearer realm="the \"api\""`
		dpop   = `DPoP realm="the \"api\"", algs="ES256 PS256"`
	)
	mtls, key, either := []Proof{ProofMTLS}, []Proof{ProofDPoP}, Proofs()
	for name, c := range map[string]struct {
		of          []Proof
		algorithms  []string
		credential  []string
		want, cause string
	}{
		"mtls, by a bearer token":             {mtls, []string{"ES256", "PS256"}, []string{"Authorization", "Bearer good"}, bearer + wrong + where, "needs_proof"},
		"mtls, by a DPoP token":               {mtls, []string{"ES256", "PS256"}, []string{"Authorization", "DPoP good"}, bearer + wrong + where, "needs_proof"},
		"dpop, by a bearer token":             {key, []string{"ES256", "PS256"}, []string{"Authorization", "Bearer good"}, dpop + wrong + where, "needs_proof"},
		"dpop, where the gate takes no proof": {key, nil, []string{"Authorization", "Bearer good"}, bearer + wrong + where, "needs_proof"},
		"any, by a bearer token":              {either, []string{"ES256", "PS256"}, []string{"Authorization", "Bearer good"}, bearer + wrong + where + ", " + dpop, "needs_proof"},
		"any, by a DPoP token":                {either, []string{"ES256", "PS256"}, []string{"Authorization", "DPoP good"}, dpop + wrong + where + ", " + bearer, "needs_proof"},
		"any, where the gate takes no proof":  {either, nil, []string{"Authorization", "Bearer good"}, bearer + wrong + where, "needs_proof"},
		"dpop, without a credential":          {key, []string{"ES256", "PS256"}, nil, dpop + where, "no_credential"},
		"mtls, without a credential":          {mtls, []string{"ES256", "PS256"}, nil, bearer + where, "no_credential"},
		"any, without a credential":           {either, []string{"ES256", "PS256"}, nil, bearer + where + ", " + dpop, "no_credential"},
		// No sign-in at a page helps: a session has no proof.
		"dpop, by a browser without a session": {key, []string{"ES256", "PS256"}, []string{"Accept", "text/html"}, dpop + where, "no_credential"},
		"mtls, by a browser with a session":    {mtls, []string{"ES256", "PS256"}, []string{"Accept", "text/html", "Cookie", "ory_kratos_session=good"}, bearer + wrong + where, "needs_proof"},
	} {
		gate, _ := testGate(t, func(o *Options) {
			o.ProofAlgorithms = c.algorithms
			o.Metadata = func(string) string { return "https://api.test/metadata" }
			o.Policy = onlyAccess{proving{rule{scopes: []string{"s1"}}, c.of}}
			e, err := extract.New(extract.DPoPTokenPlace, extract.Place{Name: SessionCookie, Cookie: "ory_kratos_session"})
			if err != nil {
				t.Fatal(err)
			}
			o.Extractor = e
		})
		d := gate.Check(t.Context(), get("/private", c.credential...))
		var got []string
		for _, h := range d.Header {
			if h.Name == "WWW-Authenticate" || h.Name == "Location" {
				got = append(got, h.Value)
			}
		}
		if len(got) != 1 || got[0] != c.want || d.Status != http.StatusUnauthorized || d.Reason != c.cause {
			t.Errorf("%s: %d %s\ngot  %q\nwant %q", name, d.Status, d.Reason, got, c.want)
		}
	}
}

// What a cache shares is not changed by the proof of one call.
func TestProofOfOneCallIsNotThatOfAnother(t *testing.T) {
	shared := &Principal{Subject: "ada"}
	if proven := shared.Proven(ProofDPoP); proven.Proof != ProofDPoP || shared.Proof != "" || proven.Subject != "ada" {
		t.Errorf("%+v of %+v", proven, shared)
	}
}
