package spiffe_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/grpc/codes"

	"gatehouse/core"
	"gatehouse/core/authn/spiffe"
	"gatehouse/core/authn/spiffe/spiffetest"
	"gatehouse/core/coretest"
)

const audience = "https://api.example.test"

// gate is an authenticator with what tests ask of it.
type gate struct {
	*spiffe.Authenticator
	t testing.TB
}

func open(t testing.TB, o spiffe.Options) *gate {
	t.Helper()
	o.X509, o.JWT, o.Audiences = true, true, []string{audience}
	if o.Algorithms == nil {
		o.Algorithms = spiffe.Algorithms
	}
	if o.MaxStale == 0 {
		o.MaxStale = time.Hour
	}
	if o.Timeout == 0 {
		o.Timeout, o.Refresh = 2*time.Second, time.Minute
	}
	a, err := spiffe.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return &gate{a, t}
}

// certificate is the credential of a client with a certificate.
func certificate(t testing.TB, svid tls.Certificate) core.Credential {
	t.Helper()
	facts := &core.ClientTLS{}
	var value string
	for _, der := range svid.Certificate {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		facts.Chain, value = append(facts.Chain, c), value+string(der)
	}
	return core.Credential{Place: core.ClientCertificate, Value: value, Parsed: facts}
}

func bearer(token string) core.Credential {
	return core.Credential{Place: core.BearerToken, Value: token, Explicit: true}
}

func (g *gate) ask(c core.Credential) (*core.Principal, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	parsed, ok := g.Judges(c)
	if !ok {
		return nil, errors.New("not judged")
	}
	if parsed != nil {
		c.Parsed = parsed
	}
	return g.AuthenticateToken(ctx, c)
}

func (g *gate) admits(id string, c core.Credential) {
	g.t.Helper()
	p, err := g.ask(c)
	if err != nil {
		g.t.Errorf("%s: %v", id, err)
		return
	}
	domain, _, _ := strings.Cut(strings.TrimPrefix(id, "spiffe://"), "/")
	if p.Subject != id || p.Issuer != "spiffe://"+domain || p.Kind != core.KindSPIFFE || !p.Expiry.After(time.Now()) {
		g.t.Errorf("%s: %+v", id, p)
	}
}

func (g *gate) refuses(what string, c core.Credential, why string) {
	g.t.Helper()
	p, err := g.ask(c)
	switch {
	case err == nil:
		g.t.Errorf("%s: admitted as %s", what, p.Subject)
	case !errors.Is(err, core.ErrInvalid) || !strings.Contains(err.Error(), why):
		g.t.Errorf("%s: %v; want %s", what, err, why)
	}
}

// unsure wants an error that is nobody's fault.
func (g *gate) unsure(what string, c core.Credential, why string) {
	g.t.Helper()
	_, err := g.ask(c)
	if err == nil || errors.Is(err, core.ErrInvalid) || !strings.Contains(err.Error(), why) {
		g.t.Errorf("%s: %v; want %s", what, err, why)
	}
}

func written(t testing.TB, text []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "bundle")
	write(t, path, text)
	return path
}

func write(t testing.TB, path string, text []byte) {
	t.Helper()
	if err := os.WriteFile(path+".new", text, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

func byFile(t testing.TB, authorities ...*spiffetest.Authority) spiffe.Options {
	t.Helper()
	var o spiffe.Options
	for _, a := range authorities {
		o.Domains = append(o.Domains, spiffe.Domain{Name: a.Domain, File: written(t, a.Document(t))})
	}
	return o
}

// eventually waits for what happens elsewhere.
func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(15 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if is() {
			return
		}
	}
	t.Fatalf("not after 15 s: %s", what)
}

func TestSVIDsOfSeveralTrustDomainsAreAccepted(t *testing.T) {
	a, b := spiffetest.New(t, "a.test"), spiffetest.New(t, "b.test")
	g := open(t, byFile(t, a, b))
	for _, one := range []*spiffetest.Authority{a, b} {
		id := one.ID("/ns/prod/sa/web")
		g.admits(id, certificate(t, one.SVID(t, id)))
		g.admits(id, bearer(one.Token(t, id, audience, nil)))
		g.admits(id, bearer(one.Token(t, id, audience, map[string]any{"aud": audience, "iss": "https://spire." + one.Domain.String()})))
	}
}

func TestBundleOfOneTrustDomainVouchesForNoIDOfAnother(t *testing.T) {
	a, b, c := spiffetest.New(t, "a.test"), spiffetest.New(t, "b.test"), spiffetest.New(t, "c.test")
	g := open(t, byFile(t, a, b))
	for _, id := range []string{b.ID("/admin"), "spiffe://b.test/x"} {
		g.refuses("certificate of a.test", certificate(t, a.SVID(t, id)), "does not hold with the bundle of trust domain b.test")
		g.refuses("token of a.test", bearer(a.Token(t, id, audience, nil)), "is signed by no key of the bundle of trust domain b.test")
		i := a.Intermediate(t, b.Domain.IDString())
		g.refuses("certificate below a.test", certificate(t, i.SVID(t, id)), "bundle of trust domain b.test")
	}
	g.refuses("certificate of a third", certificate(t, c.SVID(t, c.ID("/x"))), "trust domain c.test, which is not configured")
	g.refuses("token of a third", bearer(c.Token(t, c.ID("/x"), audience, nil)), "trust domain c.test, which is not configured")
	// The kid of one domain's key, the signature of another's.
	stolen := *a.Key
	stolen.ID = b.Key.ID
	g.refuses("kid of b.test", bearer(stolen.Sign(t, nil, coretest.JSON(t, map[string]any{"sub": b.ID("/x"), "aud": audience, "exp": time.Now().Unix() + 60}))), "is signed by no key")
}

func TestCertificateThatIsNoSVIDIsRefused(t *testing.T) {
	a := spiffetest.New(t, "a.test")
	g := open(t, byFile(t, a))
	id := a.ID("/web")
	second, err := url.Parse("spiffe://a.test/admin")
	if err != nil {
		t.Fatal(err)
	}
	for what, one := range map[string]struct {
		id     string
		change func(*x509.Certificate)
		why    string
	}{
		"two ids":               {id, func(c *x509.Certificate) { c.URIs = append(c.URIs, second) }, "has 2 URI names"},
		"an id and another URI": {id, func(c *x509.Certificate) { c.URIs = append(c.URIs, &url.URL{Scheme: "https", Host: "a.test"}) }, "has 2 URI names"},
		"no path":               {a.Domain.IDString(), nil, "is the id of a trust domain"},
		"root path":             {a.ID("/"), nil, "is no SPIFFE ID"},
		"dot segment":           {a.ID("/a/../admin"), nil, "is no SPIFFE ID"},
		"double slash":          {a.ID("//admin"), nil, "is no SPIFFE ID"},
		"escape":                {a.ID("/%61dmin"), nil, "is no SPIFFE ID"},
		"query":                 {a.ID("/web?x"), nil, "is no SPIFFE ID"},
		"empty query":           {a.ID("/web?"), nil, "is no SPIFFE ID"},
		"port":                  {"spiffe://a.test:80/web", nil, "is no SPIFFE ID"},
		"user":                  {"spiffe://u@a.test/web", nil, "is no SPIFFE ID"},
		"domain in capitals":    {"spiffe://A.test/web", nil, "is no SPIFFE ID"},
		"too long":              {a.ID("/" + strings.Repeat("x", 2048)), nil, "longer than 2048"},
		"authority":             {id, func(c *x509.Certificate) { c.IsCA, c.KeyUsage = true, c.KeyUsage|x509.KeyUsageCertSign }, "CA flag"},
		"may sign certificates": {id, func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageCertSign }, "KeyCertSign"},
		"may sign lists":        {id, func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageCRLSign }, "KeyCrlSign"},
		"not for signatures":    {id, func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyEncipherment }, "keyUsage"},
		"for servers only":      {id, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }, "extKeyUsage"},
		"expired":               {id, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Second) }, "expired"},
		"not yet":               {id, func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Minute) }, "not yet valid"},
		"unknown critical extension": {id, func(c *x509.Certificate) {
			c.ExtraExtensions = append(c.ExtraExtensions, pkixExtension())
		}, "unhandled critical extension"},
	} {
		svid := a.SVID(t, one.id, func(c *x509.Certificate) {
			if one.change != nil {
				one.change(c)
			}
		})
		g.refuses(what, certificate(t, svid), one.why)
	}
	g.admits(id, certificate(t, a.SVID(t, id, func(c *x509.Certificate) { c.ExtKeyUsage, c.DNSNames = nil, []string{"web.a.test"} })))
	g.refuses("signed by itself", certificate(t, selfSigned(t, id)), "does not hold")
}

// A library that parses URIs drops an empty fragment, and folds the scheme.
func TestIDIsReadExactlyAsItWasSigned(t *testing.T) {
	a := spiffetest.New(t, "a.test")
	g := open(t, byFile(t, a))
	for _, id := range []string{"SPIFFE://a.test/web", "spiffe://a.test/web#", "spiffe://a.test/web#x"} {
		svid := a.SVID(t, a.ID("/web"), func(c *x509.Certificate) {
			c.URIs = nil
			c.ExtraExtensions = append(c.ExtraExtensions, uriExtension(t, id))
		})
		g.refuses(id, certificate(t, svid), "is no SPIFFE ID")
		g.refuses(id, bearer(a.Token(t, id, audience, nil)), "is no SPIFFE ID")
	}
}

func TestIntermediatesLeadToTheBundle(t *testing.T) {
	a := spiffetest.New(t, "a.test")
	i := a.Intermediate(t, a.Domain.IDString())
	id := a.ID("/web")
	svid := i.SVID(t, id)
	o := byFile(t, a)
	open(t, o).admits(id, certificate(t, svid))
	alone := tls.Certificate{Certificate: svid.Certificate[:1]}
	open(t, o).refuses("intermediate not passed on", certificate(t, alone), "unknown authority")
	o.Intermediates = []*x509.Certificate{i.Certificate}
	open(t, o).admits(id, certificate(t, alone))

	constrained := a.Intermediate(t, a.Domain.IDString(), func(c *x509.Certificate) {
		c.PermittedDNSDomainsCritical, c.PermittedURIDomains = true, []string{"other.test"}
	})
	open(t, o).refuses("name constraints", certificate(t, constrained.SVID(t, id)), "not authorized to sign for this name")
	short := a.Intermediate(t, a.Domain.IDString(), func(c *x509.Certificate) { c.NotAfter = time.Now().Add(20 * time.Minute) })
	p, err := open(t, o).ask(certificate(t, short.SVID(t, id)))
	if err != nil || p.Expiry.After(time.Now().Add(21*time.Minute)) {
		t.Errorf("outlives its intermediate: %v, %v", p, err)
	}
}

func TestTokenThatIsNoSVIDIsRefused(t *testing.T) {
	a := spiffetest.New(t, "a.test")
	g := open(t, byFile(t, a))
	id := a.ID("/web")
	now := time.Now().Unix()
	for what, one := range map[string]struct {
		with map[string]any
		why  string
	}{
		"another audience":   {map[string]any{"aud": []string{"https://other.test"}}, "another audience"},
		"part of ours":       {map[string]any{"aud": audience + "/"}, "another audience"},
		"no audience":        {map[string]any{"aud": nil}, "names no audience"},
		"empty audience":     {map[string]any{"aud": []string{}}, "another audience"},
		"audience of a kind": {map[string]any{"aud": 7}, "aud is not"},
		"expired":            {map[string]any{"exp": now - 1}, "expired"},
		"no exp":             {map[string]any{"exp": nil}, "exp is absent"},
		"exp as text":        {map[string]any{"exp": "9999999999"}, "exp is not a number"},
		"not yet":            {map[string]any{"nbf": now + 600}, "nbf is in the future"},
		"issued later":       {map[string]any{"iat": now + 600}, "iat is in the future"},
		"no path":            {map[string]any{"sub": a.Domain.IDString()}, "is the id of a trust domain"},
		"dot segment":        {map[string]any{"sub": a.ID("/x/../admin")}, "is no SPIFFE ID"},
		"bound":              {map[string]any{"cnf": map[string]any{"jkt": "x"}}, "is bound to a key"},
	} {
		g.refuses(what, bearer(a.Token(t, id, audience, one.with)), one.why)
	}
	payload := coretest.JSON(t, map[string]any{"sub": id, "aud": audience, "exp": now + 60})
	for what, one := range map[string]struct {
		header map[string]any
		why    string
	}{
		"typ at+jwt":         {map[string]any{"typ": "at+jwt"}, "has typ"},
		"typ jwt":            {map[string]any{"typ": "jwt"}, "has typ"},
		"another kid":        {map[string]any{"kid": "other"}, "signed by no key"},
		"alg none":           {map[string]any{"alg": "none"}, "has alg"},
		"HMAC":               {map[string]any{"alg": "HS256"}, "has alg"},
		"alg of another key": {map[string]any{"alg": "RS256"}, "signed by no key"},
		"EdDSA":              {map[string]any{"alg": "EdDSA"}, "has alg"},
		"crit":               {map[string]any{"crit": []string{"x"}}, "crit"},
	} {
		g.refuses(what, bearer(a.Key.Sign(t, one.header, payload)), one.why)
	}
	g.admits(id, bearer(a.Key.Sign(t, map[string]any{"typ": "JOSE"}, payload)))
	g.admits(id, bearer(a.Key.Sign(t, map[string]any{"typ": nil}, payload)))
	g.admits(id, bearer(a.Key.Sign(t, map[string]any{"kid": nil}, payload))) // JWT-SVID section 2.2
	byDPoP := bearer(a.Token(t, id, audience, nil))
	byDPoP.Place = core.DPoPToken
	g.refuses("by DPoP", byDPoP, "comes by DPoP")
	whole := a.Token(t, id, audience, nil)
	g.refuses("signature of another", bearer(whole[:strings.LastIndex(whole, ".")+1]+"AAAA"), "signed by no key")
}

func TestAlgorithmThatIsNotListedIsRefused(t *testing.T) {
	a := spiffetest.New(t, "a.test")
	o := byFile(t, a)
	o.Algorithms = []string{"RS256", "ES384"}
	open(t, o).refuses("ES256", bearer(a.Token(t, a.ID("/web"), audience, nil)), "accepted are RS256, ES384")
}

// What names no SPIFFE ID is for other sections.
func TestOtherCredentialsAreNotJudged(t *testing.T) {
	a := spiffetest.New(t, "a.test")
	g := open(t, byFile(t, a))
	key := coretest.NewKey(t, "k", "ES256")
	for what, c := range map[string]core.Credential{
		"plain certificate": certificate(t, a.SVID(t, "https://a.test/web")),
		"JWT":               bearer(key.Sign(t, nil, `{"sub":"alice"}`)),
		"JWT without sub":   bearer(key.Sign(t, nil, `{"iss":"spiffe://a.test"}`)),
		"opaque":            bearer("spiffe://a.test/web"),
		"session":           {Place: core.SessionCookie, Value: a.Token(t, a.ID("/web"), audience, nil)},
	} {
		if _, ok := g.Judges(c); ok {
			t.Errorf("%s is judged", what)
		}
	}
}

func TestBundleFileIsRotatedWithoutARestart(t *testing.T) {
	a := spiffetest.New(t, "a.test")
	o := byFile(t, a)
	g := open(t, o)
	id := a.ID("/web")
	old, oldToken := certificate(t, a.SVID(t, id)), bearer(a.Token(t, id, audience, nil))
	g.admits(id, old)
	before := g.Changed()
	a.Rotate(t)
	next, nextToken := certificate(t, a.SVID(t, id)), bearer(a.Token(t, id, audience, nil))
	g.refuses("before it is in the bundle", next, "unknown authority")
	write(t, o.Domains[0].File, a.Document(t))
	eventually(t, "the new authority counts", func() bool { _, err := g.ask(next); return err == nil })
	g.admits(id, old)
	g.admits(id, oldToken)
	g.admits(id, nextToken)
	if !g.Changed().After(before) {
		t.Error("what was learned before is still believed")
	}
	a.Withdraw(t)
	write(t, o.Domains[0].File, a.Document(t))
	eventually(t, "the withdrawn authority does not count", func() bool { _, err := g.ask(old); return err != nil })
	g.refuses("withdrawn", oldToken, "signed by no key")
	g.admits(id, next)
}

func TestLastGoodBundleCountsForItsTimeAndNoLonger(t *testing.T) {
	a := spiffetest.New(t, "a.test")
	o := byFile(t, a)
	var log coretest.Log
	clock := &shifted{}
	o.Log, o.Now, o.MaxStale = slog.New(slog.NewTextHandler(&log, nil)), clock.now, time.Hour
	g := open(t, o)
	id := a.ID("/web")
	svid, token := certificate(t, a.SVID(t, id, lasting)), bearer(a.Token(t, id, audience, map[string]any{"exp": time.Now().Add(5 * time.Hour).Unix()}))
	g.admits(id, svid)
	write(t, o.Domains[0].File, []byte(`{"keys": []}`))
	eventually(t, "the failure is logged", func() bool { return strings.Contains(log.String(), "has no authority") })
	g.admits(id, svid)
	clock.by.Store(int64(59 * time.Minute))
	g.admits(id, token)
	clock.by.Store(int64(61 * time.Minute))
	g.unsure("certificate", svid, "are not believed any more")
	g.unsure("token", token, "are not believed any more")
	write(t, o.Domains[0].File, a.Document(t))
	eventually(t, "a good bundle counts again", func() bool { _, err := g.ask(svid); return err == nil })
}

func lasting(c *x509.Certificate) { c.NotAfter = time.Now().Add(10 * time.Hour) }

// shifted is a clock that can be set ahead.
type shifted struct{ by atomic.Int64 }

func (s *shifted) now() time.Time { return time.Now().Add(time.Duration(s.by.Load())) }

func TestBundleEndpointOfWebPKI(t *testing.T) {
	a := spiffetest.New(t, "a.test")
	server, ca := a.Serve(t)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	var calls atomic.Int64
	at := &spiffe.Endpoint{URL: server.URL + "/bundle", Roots: roots, Timeout: 2 * time.Second, Refresh: time.Hour, Observe: func(time.Duration, error) { calls.Add(1) }}
	a.Bundle().SetRefreshHint(time.Second)
	g := open(t, spiffe.Options{Domains: []spiffe.Domain{{Name: a.Domain, Endpoint: at}}})
	id := a.ID("/web")
	old := certificate(t, a.SVID(t, id))
	g.admits(id, old)
	g.admits(id, bearer(a.Token(t, id, audience, nil)))
	a.Rotate(t)
	a.Withdraw(t) // noticed by the refresh hint alone
	eventually(t, "the withdrawn authority does not count", func() bool { _, err := g.ask(old); return errors.Is(err, core.ErrInvalid) })
	g.admits(id, certificate(t, a.SVID(t, id)))

	at.Roots = nil
	untrusted := open(t, spiffe.Options{Domains: []spiffe.Domain{{Name: a.Domain, Endpoint: at}}})
	untrusted.unsure("server that no root vouches for", old, "unknown authority")
}

// A key that is used right after it was published is looked for at once, and garbage makes
// no more than one call in a while.
func TestUnknownAuthorityIsLookedForAndFloodsMakeFewCalls(t *testing.T) {
	a := spiffetest.New(t, "a.test")
	server, ca := a.Serve(t)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	var calls atomic.Int64
	at := &spiffe.Endpoint{URL: server.URL, Roots: roots, Timeout: 2 * time.Second, Refresh: time.Hour, Observe: func(time.Duration, error) { calls.Add(1) }}
	clock := &shifted{}
	g := open(t, spiffe.Options{Domains: []spiffe.Domain{{Name: a.Domain, Endpoint: at}}, Now: clock.now})
	id := a.ID("/web")
	g.admits(id, certificate(t, a.SVID(t, id)))
	stranger := spiffetest.New(t, "a.test")
	for range 50 {
		g.refuses("garbage", certificate(t, stranger.SVID(t, id)), "unknown authority")
		g.refuses("garbage", bearer(stranger.Token(t, id, audience, nil)), "signed by no key")
	}
	if n := calls.Load(); n > 2 {
		t.Errorf("%d calls", n)
	}
}

func TestBundleEndpointWithASPIFFEServer(t *testing.T) {
	a, b := spiffetest.New(t, "a.test"), spiffetest.New(t, "b.test")
	server := spiffeid.RequireFromString(a.ID("/spire/server"))
	initial, err := spiffe.ParseBundle(a.Domain, a.Document(t))
	if err != nil {
		t.Fatal(err)
	}
	id := a.ID("/web")
	fetched := func(svid func() tls.Certificate) *gate {
		served := a.ServeAs(t, svid)
		return open(t, spiffe.Options{Domains: []spiffe.Domain{{Name: a.Domain, Endpoint: &spiffe.Endpoint{
			URL: served.URL, ID: server, Initial: initial, Timeout: 2 * time.Second, Refresh: time.Second, Observe: func(time.Duration, error) {},
		}}}})
	}
	var own atomic.Pointer[tls.Certificate]
	renewed := func() {
		c := a.SVID(t, server.String())
		own.Store(&c)
	}
	renewed()
	g := fetched(func() tls.Certificate { return *own.Load() })
	g.admits(id, certificate(t, a.SVID(t, id)))
	for range 2 { // each new authority is announced by a server that the one before vouches for
		a.Rotate(t)
		next := certificate(t, a.SVID(t, id))
		eventually(t, "the new authority counts", func() bool { _, err := g.ask(next); return err == nil })
		renewed()
		a.Withdraw(t)
	}

	if initial, err = spiffe.ParseBundle(a.Domain, a.Document(t)); err != nil {
		t.Fatal(err)
	}
	svid := certificate(t, a.SVID(t, id))
	fetched(func() tls.Certificate { return a.SVID(t, a.ID("/spire/other")) }).unsure("another server of the domain", svid, "unexpected ID")
	fetched(func() tls.Certificate { return b.SVID(t, b.ID("/spire/server")) }).unsure("server of another domain", svid, "expected a.test")
	fetched(func() tls.Certificate { return b.SVID(t, server.String()) }).unsure("id without its authority", svid, "unknown authority")
}

func TestBundleEndpointThatFailsIsNotBelieved(t *testing.T) {
	a, b := spiffetest.New(t, "a.test"), spiffetest.New(t, "b.test")
	good, _ := b.Serve(t)
	for what, one := range map[string]struct {
		respond http.HandlerFunc
		why     string
	}{
		"redirect":   {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, good.URL, http.StatusFound) }, "redirects are not followed"},
		"error page": {func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(500); _, _ = w.Write(a.Document(t)) }, "responded 500"},
		"no JSON":    {func(w http.ResponseWriter, r *http.Request) { _, _ = w.Write([]byte("<html>")) }, "is no bundle"},
		"cut short":  {func(w http.ResponseWriter, r *http.Request) { _, _ = w.Write(a.Document(t)[:200]) }, "is no bundle"},
		"no keys":    {func(w http.ResponseWriter, r *http.Request) { _, _ = w.Write([]byte("{}")) }, "is no bundle"},
		"empty keys": {func(w http.ResponseWriter, r *http.Request) { _, _ = w.Write([]byte(`{"keys":[]}`)) }, "has no authority"},
		"other keys": {func(w http.ResponseWriter, r *http.Request) {
			_, _ = w.Write([]byte(`{"keys":[{"kty":"EC","use":"sig","crv":"P-256","x":"fK-wKTnKL7KFLM27lqq5DC-bxrVaH6rDV-IcCSEOeL4","y":"wq-g3TQWxYlV51TCPH030yXsRxvujD4hUUaIQrXk4KI"}]}`))
		}, "has no authority"},
		"without end": {func(w http.ResponseWriter, r *http.Request) { _, _ = w.Write([]byte(strings.Repeat(" ", 1<<20+1))) }, "more than 1048576"},
		"hangs":       {func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, "Client.Timeout"},
		"closes early": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "9999")
			_, _ = w.Write([]byte("{"))
		}, "unexpected EOF"},
	} {
		server := httptest.NewTLSServer(one.respond)
		t.Cleanup(server.Close)
		roots := x509.NewCertPool()
		roots.AddCert(server.Certificate())
		g := open(t, spiffe.Options{Domains: []spiffe.Domain{{Name: a.Domain, Endpoint: &spiffe.Endpoint{
			URL: server.URL, Roots: roots, Timeout: time.Second, Refresh: time.Minute, Observe: func(time.Duration, error) {},
		}}}})
		g.unsure(what, certificate(t, a.SVID(t, a.ID("/web"))), one.why)
	}
}

// Keys of a kind that nobody knows, and further members, are ignored (SPIFFE Trust Domain
// and Bundle section 4).
func TestUnknownPartsOfABundleAreIgnored(t *testing.T) {
	a := spiffetest.New(t, "a.test")
	text := strings.Replace(string(a.Document(t)), `{"keys":[`, `{"future":1,"keys":[{"kty":"FUTURE","use":"jwt-svid","kid":"f","z":1},{"kty":"oct","use":"jwt-svid","kid":"o","k":"AAAA"},{"kty":"EC","use":"future-svid","crv":"P-256","x":"fK-wKTnKL7KFLM27lqq5DC-bxrVaH6rDV-IcCSEOeL4","y":"wq-g3TQWxYlV51TCPH030yXsRxvujD4hUUaIQrXk4KI"},`, 1)
	b, err := spiffe.ParseBundle(a.Domain, []byte(text))
	if err != nil || len(b.X509.X509Authorities()) != 1 {
		t.Fatalf("%v, %v", b, err)
	}
	g := open(t, spiffe.Options{Domains: []spiffe.Domain{{Name: a.Domain, File: written(t, []byte(text))}}})
	g.admits(a.ID("/web"), bearer(a.Token(t, a.ID("/web"), audience, nil)))
}

func TestBundleFileAsPEM(t *testing.T) {
	a := spiffetest.New(t, "a.test")
	g := open(t, spiffe.Options{Domains: []spiffe.Domain{{Name: a.Domain, File: written(t, a.PEM())}}})
	g.admits(a.ID("/web"), certificate(t, a.SVID(t, a.ID("/web"))))
	g.refuses("token", bearer(a.Token(t, a.ID("/web"), audience, nil)), "signed by no key")
	for what, text := range map[string]string{"key": "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "cut": string(a.PEM()[:100]), "nothing": "", "text": "hello"} {
		if _, err := spiffe.ParseBundle(a.Domain, []byte(text)); err == nil {
			t.Errorf("%s: no error", what)
		}
	}
}

func TestWorkloadAPIPushesBundles(t *testing.T) {
	a, b := spiffetest.New(t, "a.test"), spiffetest.New(t, "b.test")
	agent := spiffetest.NewAgent(t, a, b)
	g := open(t, spiffe.Options{Domains: []spiffe.Domain{{Name: a.Domain}, {Name: b.Domain}}, Socket: agent.Address, Refresh: time.Hour, Timeout: 2 * time.Second})
	for _, one := range []*spiffetest.Authority{a, b} {
		g.admits(one.ID("/web"), certificate(t, one.SVID(t, one.ID("/web"))))
		g.admits(one.ID("/web"), bearer(one.Token(t, one.ID("/web"), audience, nil)))
	}
	g.refuses("b.test by a.test", certificate(t, a.SVID(t, b.ID("/web"))), "bundle of trust domain b.test")

	old := certificate(t, a.SVID(t, a.ID("/web")))
	a.Rotate(t)
	a.Withdraw(t)
	agent.Push()
	eventually(t, "the withdrawn authority does not count", func() bool { _, err := g.ask(old); return errors.Is(err, core.ErrInvalid) })
	g.admits(a.ID("/web"), certificate(t, a.SVID(t, a.ID("/web"))))

	agent.Set(a) // the federation with b.test ends
	eventually(t, "b.test is not trusted", func() bool {
		_, err := g.ask(certificate(t, b.SVID(t, b.ID("/web"))))
		return errors.Is(err, core.ErrInvalid)
	})
	agent.Set(a, b)
	eventually(t, "b.test is trusted again", func() bool { _, err := g.ask(certificate(t, b.SVID(t, b.ID("/web")))); return err == nil })
}

func TestWorkloadAPIThatGoesAwayLeavesTheLastGoodBundleForItsTime(t *testing.T) {
	for what, away := range map[string]func(*spiffetest.Agent){
		"stopped": (*spiffetest.Agent).Stop,
		"refuses": func(a *spiffetest.Agent) { a.Refuse(codes.PermissionDenied) },
		"invalid": func(a *spiffetest.Agent) { a.Refuse(codes.InvalidArgument) },
		"hangs":   (*spiffetest.Agent).Hang,
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			a := spiffetest.New(t, "a.test")
			agent := spiffetest.NewAgent(t, a)
			clock := &shifted{}
			var log coretest.Log
			g := open(t, spiffe.Options{Domains: []spiffe.Domain{{Name: a.Domain}}, Socket: agent.Address, Refresh: 200 * time.Millisecond, Timeout: 300 * time.Millisecond, MaxStale: time.Hour, Now: clock.now, Log: slog.New(slog.NewTextHandler(&log, nil))})
			svid := certificate(t, a.SVID(t, a.ID("/web"), lasting))
			g.admits(a.ID("/web"), svid)
			away(agent)
			eventually(t, "the failure is logged", func() bool { return strings.Contains(log.String(), "cannot be renewed") })
			g.admits(a.ID("/web"), svid)
			clock.by.Store(int64(2 * time.Hour))
			eventually(t, "the last good bundle does not count", func() bool {
				_, err := g.ask(svid)
				return err != nil && !errors.Is(err, core.ErrInvalid) && strings.Contains(err.Error(), "not believed any more")
			})
			if what != "stopped" {
				return
			}
			agent.Start(t)
			eventually(t, "it counts again", func() bool { _, err := g.ask(svid); return err == nil })
		})
	}
}

// An agent that starts after the gate is waited for, and no request is admitted meanwhile.
func TestWorkloadAPIThatIsNotThereYet(t *testing.T) {
	a := spiffetest.New(t, "a.test")
	agent := spiffetest.NewAgent(t, a)
	agent.Stop()
	g := open(t, spiffe.Options{Domains: []spiffe.Domain{{Name: a.Domain}}, Socket: agent.Address, Refresh: 200 * time.Millisecond, Timeout: time.Second})
	svid := certificate(t, a.SVID(t, a.ID("/web")))
	g.unsure("no agent", svid, "are not known")
	if names := g.Waiting(); len(names) != 1 || names[0] != "a.test" {
		t.Errorf("waiting: %v", names)
	}
	agent.Start(t)
	eventually(t, "the bundle is known", func() bool { _, err := g.ask(svid); return err == nil })
}

func TestURLOfABundleEndpoint(t *testing.T) {
	for text, good := range map[string]bool{
		"https://a.test/bundle": true, "https://a.test:8443": true, "https://a.test/?x=y": true,
		"http://a.test/": false, "https://u:p@a.test/": false, "a.test": false, "https:///x": false, "https://a.test/#x": false, "": false, "file:///x": false,
	} {
		if err := spiffe.CheckURL(text); (err == nil) != good {
			t.Errorf("%s: %v", text, err)
		}
	}
}
