package config

import (
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatehouse/core"
	"gatehouse/core/coretest"
)

// machines is a gate for client certificates and tokens, with what clients of it have.
type machines struct {
	t       *testing.T
	clock   *coretest.Clock
	root    *coretest.Authority
	issuer  *coretest.Issuer
	builder *Builder
	gate    *core.Gate
	asked   int
}

const machineHeaders = `
upstream_headers: {X-User-Id: sub, X-Issuer: iss, X-Kind: kind, X-Cert-Subject: certificate.subject, X-Cert-Issuer: certificate.issuer, X-Cert-Fingerprint: certificate.fingerprint, X-Cert-Hosts: certificate.san_dns, X-Token-Subject: certificate.token.sub, X-Roles: roles}
permission_table: '{authenticated: [GET /orders, POST /orders], public: [GET /public], optional: [GET /news]}'
`

func newMachines(t *testing.T, settings string) *machines {
	t.Helper()
	m := &machines{t: t, clock: coretest.NewClock()}
	m.root, m.issuer = coretest.NewAuthority(t, m.clock, "root", nil), coretest.NewIssuer(t, m.clock)
	m.builder = NewBuilder(BuilderOptions{Now: m.clock.Now})
	var err error
	m.gate, err = m.builder.Gate(fmt.Appendf(nil, "mtls: {ca_certificates: [%q], subjects: [{common_name: 'robot-*', roles: [machine]}, {san_dns: '*.orders.test'}]}\njwt: {issuers: [{issuer: %q, audience: [%q]}]}\n%s\n%s", m.root.File(), m.issuer.URL, coretest.Audience, settings, machineHeaders))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// request of a client with a certificate, or nil, and some headers.
func (m *machines) request(target string, client *coretest.Authority, headers ...string) *core.Request {
	r := &core.Request{Method: "GET", Target: target}
	for i := 0; i < len(headers); i += 2 {
		r.Header = append(r.Header, core.Header{Name: headers[i], Value: headers[i+1]})
	}
	r.AskTLS = func() (*core.ClientTLS, error) {
		m.asked++
		if client == nil {
			return &core.ClientTLS{}, nil
		}
		return &core.ClientTLS{Chain: []*x509.Certificate{client.Certificate}}, nil
	}
	return r
}

func (m *machines) check(r *core.Request) core.Decision { return m.gate.Check(m.t.Context(), r) }

// sentOn are the headers that an upstream gets.
func sentOn(d core.Decision) string {
	var lines []string
	for _, h := range d.Set {
		lines = append(lines, h.Name+"="+h.Value)
	}
	return strings.Join(lines, " ")
}

func TestCallerWithACertificateNeedsNoToken(t *testing.T) {
	m := newMachines(t, "")
	robot := m.root.Client("robot-7", nil)
	host := m.root.Client("x", func(c *x509.Certificate) { c.DNSNames = []string{"a.orders.test", "other.test"} })
	for range 2 { // verified, then cached
		d := m.check(m.request("/orders", robot))
		if got := sentOn(d); d.Outcome != core.Allow || !strings.Contains(got, "X-User-Id=robot-7") || !strings.Contains(got, "X-Issuer=CN=root") || !strings.Contains(got, "X-Kind=mtls") || !strings.Contains(got, "X-Roles=machine") ||
			!strings.Contains(got, "X-Cert-Subject=CN=robot-7") || !strings.Contains(got, "X-Cert-Issuer=CN=root") || strings.Contains(got, "X-Token-Subject") {
			t.Errorf("%v %v: %s", d.Outcome, d.Cause, got)
		}
	}
	if got := sentOn(m.check(m.request("/orders", host))); !strings.Contains(got, "X-User-Id=a.orders.test") || !strings.Contains(got, "X-Cert-Hosts=a.orders.test,other.test") {
		t.Error(got)
	}
	if stats := m.builder.CacheStats()["mtls"]; stats.Hits != 1 || stats.Misses != 2 {
		t.Errorf("%+v", stats)
	}
	for name, c := range map[string]struct {
		client  *coretest.Authority
		headers []string
		status  int
	}{
		"no certificate":                     {nil, nil, 401},
		"no rule matches":                    {m.root.Client("human", nil), nil, 401},
		"another authority":                  {coretest.NewAuthority(t, m.clock, "root", nil).Client("robot-7", nil), nil, 401},
		"a bad token beside":                 {robot, []string{"Authorization", "Bearer x"}, 401},
		"another scheme beside":              {robot, []string{"Authorization", "Basic eDp5"}, 401},
		"two tokens beside":                  {robot, []string{"Authorization", "Bearer x", "Authorization", "Bearer y"}, 400},
		"a header that claims a certificate": {nil, []string{"Client-Cert", ":" + "AAAA" + ":", "X-Cert-Subject", "CN=robot-7"}, 401},
	} {
		d := m.check(m.request("/orders", c.client, c.headers...))
		if d.Outcome != core.Deny || d.Status != c.status {
			t.Errorf("%s: %d, %v", name, d.Status, d.Cause)
		}
	}
}

// "Not known" is never read as "no certificate", nor as a good one.
func TestHostThatCannotTellTheCertificateDenies(t *testing.T) {
	m := newMachines(t, "")
	for name, c := range map[string]struct {
		tell   func() (*core.ClientTLS, error)
		status int
	}{
		"never":            {nil, 401},
		"not now":          {func() (*core.ClientTLS, error) { return nil, errors.New("no connection") }, 503},
		"nothing":          {func() (*core.ClientTLS, error) { return nil, nil }, 503},
		"malformed header": {func() (*core.ClientTLS, error) { return nil, fmt.Errorf("%w: cut", core.ErrBadRequest) }, 400},
	} {
		d := m.check(&core.Request{Method: "GET", Target: "/orders", AskTLS: c.tell})
		if d.Outcome != core.Deny || d.Status != c.status {
			t.Errorf("%s: %d, %v", name, d.Status, d.Cause)
		}
	}
}

func TestHostIsAskedForTheCertificateOnlyWhereItCounts(t *testing.T) {
	m := newMachines(t, "")
	token := []string{"Authorization", "Bearer " + m.issuer.Token(nil)}
	robot := m.root.Client("robot-7", nil)
	m.check(m.request("/public", robot))
	m.check(m.request("/nowhere", robot))
	m.check(m.request("/orders", robot, token...))
	if m.asked != 0 {
		t.Errorf("asked %d times", m.asked)
	}
	m.check(m.request("/orders", nil))
	if m.asked != 1 {
		t.Errorf("asked %d times for one request", m.asked)
	}
}

// Whatever a request holds, it is of one caller, whom the configuration chooses.
func TestCertificateAndTokenAreNeverTwoCallers(t *testing.T) {
	const both, cert, tok = "both", "certificate", "token"
	for settings, want := range map[string]map[string]string{
		"": {both: "user-1", cert: "robot-7", tok: "user-1"},
		"client_certificate: {with_token: certificate}":                                   {both: "robot-7", cert: "robot-7", tok: "user-1"},
		"client_certificate: {with_token: refuse}":                                        {both: "400", cert: "robot-7", tok: "user-1"},
		"client_certificate: {token_alone: false}":                                        {both: "user-1", cert: "robot-7", tok: "401"},
		"client_certificate: {token_alone: false, alone: false}":                          {both: "user-1", cert: "401", tok: "401"},
		"client_certificate: {with_token: certificate, alone: false}":                     {both: "robot-7", cert: "401", tok: "user-1"},
		"client_certificate: {with_token: certificate, alone: false, token_alone: false}": {both: "robot-7", cert: "401", tok: "401"},
		"client_certificate: {with_token: refuse, alone: false}":                          {both: "400", cert: "401", tok: "user-1"},
	} {
		m := newMachines(t, settings)
		robot, token := m.root.Client("robot-7", nil), []string{"Authorization", "Bearer " + m.issuer.Token(nil)}
		for range 2 { // cached as well
			for what, r := range map[string]*core.Request{both: m.request("/orders", robot, token...), cert: m.request("/orders", robot), tok: m.request("/orders", nil, token...)} {
				d := m.check(r)
				got := fmt.Sprint(d.Status)
				if d.Outcome == core.Allow {
					got = d.Principal.Subject
				}
				if got != want[what] {
					t.Errorf("%q, %s: %s, %v", settings, what, got, d.Cause)
				}
			}
		}
		// What is bad is never made up for by the other.
		looks := settings != "" && !strings.Contains(settings, "refuse")
		stranger := coretest.NewAuthority(t, m.clock, "root", nil).Client("robot-7", nil)
		if d := m.check(m.request("/orders", robot, "Authorization", "Bearer x")); d.Outcome == core.Allow {
			t.Errorf("%q: a bad token beside a certificate", settings)
		}
		if d := m.check(m.request("/orders", stranger, token...)); (d.Outcome == core.Allow) != (settings == "") || looks && d.Status != 401 {
			t.Errorf("%q: a bad certificate beside a token: %d, %v", settings, d.Status, d.Cause)
		}
	}
}

// An upstream, a log and a condition read out of "certificate" what the gate has verified,
// and never what a token says of itself.
func TestTokenThatClaimsACertificateIsNotBelieved(t *testing.T) {
	forged := map[string]any{"certificate": map[string]any{"subject": "CN=robot-1", "fingerprint": "00", "token": map[string]any{"sub": "admin"}}}
	for _, settings := range []string{"", "client_certificate: {with_token: certificate}"} {
		m := newMachines(t, settings)
		d := m.check(m.request("/orders", nil, "Authorization", "Bearer "+m.issuer.Token(forged)))
		if got := sentOn(d); d.Outcome != core.Allow || strings.Contains(got, "X-Cert") || strings.Contains(got, "X-Token-Subject") || d.Principal.Claims["certificate"] != nil {
			t.Errorf("%q: %v, %s", settings, d.Cause, got)
		}
	}
	for settings, want := range map[string]string{"client_certificate: {with_token: certificate}": "X-Token-Subject=user-1", "client_certificate: {token_alone: false}": "X-Cert-Subject=CN=robot-7"} {
		m := newMachines(t, settings)
		for range 2 {
			d := m.check(m.request("/orders", m.root.Client("robot-7", nil), "Authorization", "Bearer "+m.issuer.Token(forged)))
			if got := sentOn(d); d.Outcome != core.Allow || !strings.Contains(got, want) || strings.Contains(got, "robot-1") || strings.Contains(got, "admin") {
				t.Errorf("%q: %v, %s", settings, d.Cause, got)
			}
		}
	}
}

// Browsers send certificates by themselves, like cookies.
func TestOtherSiteCannotWriteWithTheCertificateOfTheBrowser(t *testing.T) {
	m := newMachines(t, "")
	robot := m.root.Client("robot-7", nil)
	for site, want := range map[string]core.Outcome{"cross-site": core.Deny, "same-site": core.Deny, "same-origin": core.Allow} {
		r := m.request("/orders", robot, "Sec-Fetch-Site", site)
		r.Method = "POST"
		if d := m.check(r); d.Outcome != want {
			t.Errorf("%s: %d, %v", site, d.Status, d.Cause)
		}
	}
}

// A public call, and one that takes the name of a caller where there is one.
func TestCertificateOnCallsThatNeedNoName(t *testing.T) {
	m := newMachines(t, "")
	for name, c := range map[string]struct {
		target string
		client *coretest.Authority
		status int
		sub    string
	}{
		"public": {"/public", m.root.Client("robot-7", nil), 0, ""}, "optional": {"/news", m.root.Client("robot-7", nil), 0, "robot-7"}, "optional, without": {"/news", nil, 0, ""},
	} {
		d := m.check(m.request(c.target, c.client))
		sub := ""
		if d.Principal != nil {
			sub = d.Principal.Subject
		}
		if d.Outcome != core.Allow || sub != c.sub {
			t.Errorf("%s: %d, %q, %v", name, d.Status, sub, d.Cause)
		}
	}
}

func TestCertificateIsNotCachedBeyondItsEnd(t *testing.T) {
	m := newMachines(t, "")
	robot := m.root.Client("robot-7", func(c *x509.Certificate) { c.NotAfter = m.clock.Now().Add(10 * time.Second) })
	for wait, want := range []core.Outcome{core.Allow, core.Deny} {
		m.clock.Advance(time.Duration(wait) * 11 * time.Second)
		if d := m.check(m.request("/orders", robot)); d.Outcome != want {
			t.Errorf("after %d: %v", wait, d.Cause)
		}
	}
}

// An authority that is taken out of its file counts no more, cached or not, without a
// restart.
func TestAuthorityThatIsRemovedVouchesForNobody(t *testing.T) {
	clock := coretest.NewClock()
	old, next := coretest.NewAuthority(t, clock, "old", nil), coretest.NewAuthority(t, clock, "next", nil)
	path := filepath.Join(t.TempDir(), "ca.pem")
	write := func(text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(old.PEM() + next.PEM())
	b := NewBuilder(BuilderOptions{Now: clock.Now})
	b.interval = 2 * time.Millisecond
	f, err := b.Follow(fmt.Appendf(nil, "mtls: {ca_certificates: [%q], subjects: [{common_name: '*'}]}\npermission_table: 'authenticated: [GET /orders]'\n", path), Terms{})
	if err != nil {
		t.Fatal(err)
	}
	ask := func(client *coretest.Authority) core.Outcome {
		facts := &core.ClientTLS{Chain: []*x509.Certificate{client.Certificate}}
		return b.Decide(t.Context(), f, &core.Request{Method: "GET", Target: "/orders", AskTLS: func() (*core.ClientTLS, error) { return facts, nil }}, nil).Outcome
	}
	a, z := old.Client("a", nil), next.Client("z", nil)
	if ask(a) != core.Allow || ask(z) != core.Allow {
		t.Fatal("an authority is not trusted")
	}
	write("broken")
	time.Sleep(20 * time.Millisecond)
	if ask(a) != core.Allow || ask(z) != core.Allow {
		t.Error("a broken file is in use")
	}
	write(next.PEM())
	for deadline := time.Now().Add(5 * time.Second); ask(a) == core.Allow; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the authority that was removed still vouches")
		}
	}
	if ask(z) != core.Allow {
		t.Error("the authority that has stayed vouches no more")
	}
}

func TestSettingsOfCertificatesThatCannotWorkAreErrors(t *testing.T) {
	clock := coretest.NewClock()
	root := coretest.NewAuthority(t, clock, "root", nil)
	below := root.Authority("below", func(c *x509.Certificate) { c.URIs = []*url.URL{} })
	key := filepath.Join(t.TempDir(), "key.pem")
	if err := os.WriteFile(key, []byte("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for settings, want := range map[string]string{
		fmt.Sprintf("mtls: {ca_certificates: [%q], subjects: [{common_name: x}]}", root.File()):                                                       "",
		fmt.Sprintf("mtls: {ca_certificates: [%q, %q], subjects: [{common_name: x}]}", root.File(), below.File()):                                     "",
		fmt.Sprintf("mtls: {ca_certificates: [%q], allow_partial_chain: true, subjects: [{common_name: x}]}", below.File()):                           "",
		fmt.Sprintf("mtls: {ca_certificates: [%q], subjects: [{common_name: x}]}", below.File()):                                                      "no authority that has signed itself",
		"mtls: {ca_certificates: [/nowhere/ca.pem], subjects: [{common_name: x}]}":                                                                    "mtls.ca_certificates[0]",
		fmt.Sprintf("mtls: {ca_certificates: [%q], subjects: [{common_name: x}]}", key):                                                               "holds a PRIVATE KEY beside certificates",
		"mtls: {ca_certificates: [], subjects: [{common_name: x}]}":                                                                                   "mtls.ca_certificates",
		fmt.Sprintf("mtls: {ca_certificates: [%q], subjects: []}", root.File()):                                                                       "mtls.subjects",
		fmt.Sprintf("mtls: {ca_certificates: [%q]}", root.File()):                                                                                     "mtls.subjects",
		fmt.Sprintf("mtls: {ca_certificates: [%q], subjects: [{roles: [a]}]}", root.File()):                                                           "mtls.subjects[0]: names no pattern",
		fmt.Sprintf("mtls: {ca_certificates: [%q], subjects: [{subject_dn: /CN=x}]}", root.File()):                                                    "openssl x509",
		"jwt: {issuers: [{issuer: 'https://a.test', audience: [a]}]}\nclient_certificate: {token_alone: false}":                                       "client_certificate: is about client certificates",
		fmt.Sprintf("mtls: {ca_certificates: [%q], subjects: [{common_name: x}]}\nclient_certificate: {alone: false}", key):                           "client_certificate.alone",
		fmt.Sprintf("mtls: {ca_certificates: [%q], subjects: [{common_name: x}]}\nclient_certificate: {with_token: x}", key):                          "client_certificate.with_token",
		fmt.Sprintf("mtls: {ca_certificates: [%q], subjects: [{common_name: x}]}\nclient_certificate: {with_token: refuse, token_alone: false}", key): "client_certificate.token_alone",
	} {
		_, err := NewBuilder(BuilderOptions{Now: clock.Now}).Gate([]byte(settings + "\npermission_table: 'authenticated: [GET /orders]'\n"))
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v", settings, err)
		}
	}
}

// A list of revoked certificates counts as soon as its file changes, also for a certificate
// that is cached, and only until its next update is due.
func TestRevokedCertificateIsRefusedOnceItsListSaysSo(t *testing.T) {
	clock := coretest.NewClock()
	root := coretest.NewAuthority(t, clock, "root", nil)
	path := filepath.Join(t.TempDir(), "root.crl")
	write := func(revoked ...*coretest.Authority) {
		l := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: clock.Now(), NextUpdate: clock.Now().Add(10 * time.Second)}
		for _, c := range revoked {
			l.RevokedCertificateEntries = append(l.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: c.Certificate.SerialNumber, RevocationTime: clock.Now()})
		}
		der, err := x509.CreateRevocationList(rand.Reader, l, root.Certificate, root.Key)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, der, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write()
	b := NewBuilder(BuilderOptions{Now: clock.Now})
	b.interval = 2 * time.Millisecond
	f, err := b.Follow(fmt.Appendf(nil, "mtls: {ca_certificates: [%q], crl_files: [%q], subjects: [{common_name: '*'}]}\npermission_table: 'authenticated: [GET /orders]'\n", root.File(), path), Terms{})
	if err != nil {
		t.Fatal(err)
	}
	good, bad := root.Client("good", nil), root.Client("bad", nil)
	ask := func(client *coretest.Authority) core.Decision {
		facts := &core.ClientTLS{Chain: []*x509.Certificate{client.Certificate}}
		return b.Decide(t.Context(), f, &core.Request{Method: "GET", Target: "/orders", AskTLS: func() (*core.ClientTLS, error) { return facts, nil }}, nil)
	}
	if d := ask(bad); d.Outcome != core.Allow {
		t.Fatal(d.Cause)
	}
	write(bad)
	for deadline := time.Now().Add(5 * time.Second); ask(bad).Outcome == core.Allow; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the certificate that was revoked is still accepted")
		}
	}
	if d := ask(bad); d.Status != 401 || ask(good).Outcome != core.Allow {
		t.Errorf("%d, %v", d.Status, d.Cause)
	}
	clock.Advance(11 * time.Second)
	if d := ask(good); d.Status != 503 {
		t.Errorf("by a list that is out of date: %d, %v", d.Status, d.Cause)
	}
}

func TestSettingsOfRevokedCertificatesThatCannotWorkAreErrors(t *testing.T) {
	clock := coretest.NewClock()
	root := coretest.NewAuthority(t, clock, "root", nil)
	for more, want := range map[string]string{
		"ocsp: leaf": "", "ocsp: chain, ocsp_responder: 'http://a.test', revocation_check_mode: IGNORE_CA_ERROR": "",
		"revocation_check_mode: STRICT":                "mtls.revocation_check_mode",
		"revocation_check_mode: SKIP, ocsp: leaf":      "mtls.revocation_check_mode",
		"ocsp_responder: 'http://a.test'":              "mtls.ocsp_responder",
		"crl_max_stale: 5, ocsp: chain":                "mtls.crl_max_stale",
		"crl_files: [/nowhere/a.crl]":                  "mtls.crl_files[0]",
		fmt.Sprintf("crl_files: [%q]", root.File()):    "want X509 CRL",
		"ocsp: sometimes":                              "mtls.ocsp",
		"ocsp: chain, ocsp_responder: 'ldap://a.test'": "mtls.ocsp_responder",
	} {
		text := fmt.Sprintf("mtls: {ca_certificates: [%q], subjects: [{common_name: x}], %s}\npermission_table: 'authenticated: [GET /orders]'\n", root.File(), more)
		if _, err := NewBuilder(BuilderOptions{Now: clock.Now}).Gate([]byte(text)); want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v", more, err)
		}
	}
}
