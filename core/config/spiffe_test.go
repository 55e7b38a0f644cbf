package config

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatehouse/core"
	"gatehouse/core/authn/spiffe/spiffetest"
	"gatehouse/core/coretest"
	"gatehouse/core/revocation"
)

const workloadTable = `
permission_table: |
  permissions:
    orders.read: {activities: ["GET /orders"]}
    orders.write: {activities: ["POST /orders"]}
    mtls.only: {activities: [{methods: [GET], path: /vault, require: {credentials: [spiffe]}}]}
  roles: {reader: [orders.read]}
  subjects:
    spiffe://a.test/ns/*/sa/web: [role:reader]
    spiffe://a.test/ns/prod/**: [orders.write, mtls.only]
    spiffe://b.test/partner: [orders.read]
  authenticated: [GET /me]
upstream_headers: {X-User-Id: sub, X-Issuer: iss, X-Kind: kind, X-Cert: certificate.fingerprint, X-Permissions: permissions}
`

type workloads struct {
	t     *testing.T
	a, b  *spiffetest.Authority
	files map[string]string
	gate  *core.Gate

	builder *Builder
}

func newWorkloads(t *testing.T, settings string) *workloads {
	t.Helper()
	w := &workloads{t: t, a: spiffetest.New(t, "a.test"), b: spiffetest.New(t, "b.test"), files: map[string]string{}}
	for name, of := range map[string]*spiffetest.Authority{"a": w.a, "b": w.b} {
		w.files[name] = filepath.Join(t.TempDir(), "bundle.json")
		if err := os.WriteFile(w.files[name], of.Document(t), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	w.builder = NewBuilder(BuilderOptions{})
	gate, err := w.builder.Gate(fmt.Appendf(nil, "spiffe: {audience: [gate], trust_domains: [{name: a.test, bundle_file: %q}, {name: b.test, bundle_file: %q}]}\n%s%s", w.files["a"], w.files["b"], settings, workloadTable))
	if err != nil {
		t.Fatal(err)
	}
	w.gate = gate
	return w
}

func (w *workloads) call(method, target, token string, svid *tls.Certificate) core.Decision {
	w.t.Helper()
	r := &core.Request{Method: method, Target: target}
	if token != "" {
		r.Header = append(r.Header, core.Header{Name: "Authorization", Value: "Bearer " + token})
	}
	r.AskTLS = func() (*core.ClientTLS, error) {
		facts := &core.ClientTLS{}
		if svid != nil {
			for _, der := range svid.Certificate {
				c, err := x509.ParseCertificate(der)
				if err != nil {
					return nil, err
				}
				facts.Chain = append(facts.Chain, c)
			}
		}
		return facts, nil
	}
	return w.gate.Check(w.t.Context(), r)
}

func TestWorkloadMayDoWhatTheTableGrantsToItsSPIFFEID(t *testing.T) {
	w := newWorkloads(t, "")
	for _, c := range []struct {
		of             *spiffetest.Authority
		path           string
		method, target string
		status         int
	}{
		{w.a, "/ns/test/sa/web", "GET", "/orders", 0},
		{w.a, "/ns/test/sa/web", "POST", "/orders", 403},
		{w.a, "/ns/prod/sa/web", "GET", "/orders", 0},
		{w.a, "/ns/prod/sa/web", "POST", "/orders", 0},
		{w.a, "/ns/prod/sa/web", "GET", "/vault", 0},
		{w.a, "/ns/prod/sa/other", "GET", "/orders", 403},
		{w.a, "/partner", "GET", "/orders", 403},
		{w.a, "/partner", "GET", "/me", 0},
		{w.b, "/partner", "GET", "/orders", 0},
		{w.b, "/ns/prod/sa/web", "POST", "/orders", 403},
		{w.b, "/ns/test/sa/web", "GET", "/orders", 403},
	} {
		id := c.of.ID(c.path)
		svid := c.of.SVID(t, id)
		for what, d := range map[string]core.Decision{"certificate": w.call(c.method, c.target, "", &svid), "token": w.call(c.method, c.target, c.of.Token(t, id, "gate", nil), nil)} {
			if d.Status != c.status {
				t.Errorf("%s, %s of %s: %d, %v", c.method+" "+c.target, what, id, d.Status, d.Cause)
			}
			if got := sentOn(d); c.status == 0 && (!strings.Contains(got, "X-User-Id="+id) || !strings.Contains(got, "X-Issuer=spiffe://"+c.of.Domain.String()) || !strings.Contains(got, "X-Kind=spiffe") || strings.Contains(got, "X-Cert=") != (what == "certificate")) {
				t.Errorf("%s: %s", what, got)
			}
		}
	}
}

func TestIDOfATrustDomainThatAnotherOneHasSignedIsRefused(t *testing.T) {
	w := newWorkloads(t, "")
	id := w.a.ID("/ns/prod/sa/web")
	svid := w.b.SVID(t, id)
	for what, d := range map[string]core.Decision{"certificate": w.call("GET", "/me", "", &svid), "token": w.call("GET", "/me", w.b.Token(t, id, "gate", nil), nil)} {
		if d.Status != 401 || !strings.Contains(d.Cause.Error(), "trust domain a.test") {
			t.Errorf("%s: %d, %v", what, d.Status, d.Cause)
		}
	}
}

// The subject of another credential is a text that its issuer chose.
func TestSPIFFEIDThatNoBundleVouchesForGrantsNothing(t *testing.T) {
	id := "spiffe://a.test/ns/prod/sa/web"
	issuer := coretest.NewIssuer(t, coretest.NewClock())
	w := newWorkloads(t, fmt.Sprintf("jwt: {issuers: [{issuer: %q, audience: [gate]}]}\n", issuer.URL))
	token := issuer.Token(map[string]any{"sub": id, "aud": "gate"})
	if d := w.call("GET", "/me", token, nil); d.Status != 401 || !strings.Contains(d.Cause.Error(), "bundle of trust domain a.test") {
		t.Errorf("JWT of an issuer with the id as its subject: %d, %v", d.Status, d.Cause)
	}
	d := w.call("POST", "/orders", issuer.Token(map[string]any{"sub": "alice", "client_id": id, "azp": id, "aud": "gate"}), nil)
	if d.Status != 403 {
		t.Errorf("JWT with the id as its client: %d, %v", d.Status, d.Cause)
	}
	plain := w.a.SVID(t, "https://a.test/", func(c *x509.Certificate) { c.Subject.CommonName = id; c.DNSNames = []string{"a.test"} })
	if d := w.call("GET", "/me", "", &plain); d.Status != 401 {
		t.Errorf("certificate with the id as its common name: %d, %v", d.Status, d.Cause)
	}
}

// An SVID is cached; the cache does not outlive the authority.
func TestWithdrawnAuthorityEndsWhatIsCached(t *testing.T) {
	w := newWorkloads(t, "")
	id := w.a.ID("/ns/test/sa/web")
	svid, token := w.a.SVID(t, id), w.a.Token(t, id, "gate", nil)
	admitted := func() bool {
		return w.call("GET", "/me", "", &svid).Status == 0 && w.call("GET", "/me", token, nil).Status == 0
	}
	for range 2 { // the second time from the cache
		if !admitted() {
			t.Fatal("not admitted")
		}
	}
	w.a.Rotate(t)
	w.a.Withdraw(t)
	next := filepath.Join(t.TempDir(), "next")
	if err := os.WriteFile(next, w.a.Document(t), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(next, w.files["a"]); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if w.call("GET", "/me", "", &svid).Status == 401 && w.call("GET", "/me", token, nil).Status == 401 {
			return
		}
		if time.Now().After(end) {
			t.Fatal("still admitted")
		}
	}
}

func TestRevokedWorkloadIsRefused(t *testing.T) {
	w := newWorkloads(t, "revocation: {}\nstate_dir: "+t.TempDir()+"\n")
	id := w.a.ID("/ns/test/sa/web")
	svid, token := w.a.SVID(t, id), w.a.Token(t, id, "gate", nil)
	for _, revoked := range []bool{false, true} {
		for range 2 { // verified, then cached
			for what, d := range map[string]core.Decision{"certificate": w.call("GET", "/me", "", &svid), "token": w.call("GET", "/me", token, nil)} {
				if (d.Status == 401) != revoked {
					t.Errorf("%s, revoked %t: %d, %v", what, revoked, d.Status, d.Cause)
				}
			}
		}
		if err := w.builder.Revoke(t.Context(), revocation.Event{Kind: revocation.Subject, Value: id}); err != nil {
			t.Fatal(err)
		}
	}
}

func TestCertificateAndTokenOfWorkloadsAreOneCaller(t *testing.T) {
	w := newWorkloads(t, "")
	web, other := w.a.ID("/ns/test/sa/web"), w.b.ID("/partner")
	svid := w.b.SVID(t, other)
	d := w.call("GET", "/me", w.a.Token(t, web, "gate", nil), &svid)
	if got := sentOn(d); d.Status != 0 || !strings.Contains(got, "X-User-Id="+web) || strings.Contains(got, other) {
		t.Errorf("%d, %v: %s", d.Status, d.Cause, got)
	}
	strict := newWorkloads(t, "client_certificate: {with_token: refuse}\n")
	svid = strict.b.SVID(t, other)
	if d := strict.call("GET", "/me", strict.a.Token(t, web, "gate", nil), &svid); d.Status != 400 {
		t.Errorf("%d, %v", d.Status, d.Cause)
	}
}

func TestMistakesInSPIFFESettingsAreReported(t *testing.T) {
	dir := t.TempDir()
	broken := filepath.Join(dir, "broken")
	if err := os.WriteFile(broken, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{
		`{}`:                                "spiffe.trust_domains: is required",
		`{trust_domains: []}`:               "spiffe.trust_domains",
		`{trust_domains: [{}]}`:             "spiffe.trust_domains[0].name: is required",
		`{trust_domains: [{name: a.test}]}`: "spiffe.trust_domains[0]: has no bundle",
		`{trust_domains: [{name: a.test, bundle_file: f}]}`:                                                                                                                                   "spiffe.audience: is needed",
		`{audience: [""], trust_domains: [{name: a.test, bundle_file: f}]}`:                                                                                                                   "spiffe.audience: has an empty member",
		`{audience: [x], trust_domains: [{name: A.test, bundle_file: f}]}`:                                                                                                                    "spiffe.trust_domains[0].name: is not the name",
		`{audience: [x], trust_domains: [{name: "spiffe://a.test", bundle_file: f}]}`:                                                                                                         "spiffe.trust_domains[0].name: is not the name",
		`{audience: [x], trust_domains: [{name: a.test, bundle_file: f}, {name: a.test, bundle_file: f}]}`:                                                                                    "spiffe.trust_domains[1].name: is already configured at spiffe.trust_domains[0]",
		`{audience: [x], trust_domains: [{name: a.test, bundle_endpoint_url: "http://a.test/"}]}`:                                                                                             "bundle_endpoint_url: must begin with https",
		`{audience: [x], trust_domains: [{name: a.test, bundle_endpoint_url: "https://a.test/", bundle_endpoint_profile: https_spiffe}]}`:                                                     "endpoint_spiffe_id: must be the SPIFFE ID",
		`{audience: [x], trust_domains: [{name: a.test, bundle_endpoint_url: "https://a.test/", bundle_endpoint_profile: https_spiffe, endpoint_spiffe_id: "spiffe://a.test/spire/server"}]}`: "bundle_file: is needed for bundle_endpoint_profile https_spiffe",
		`{audience: [x], trust_domains: [{name: a.test, bundle_endpoint_url: "https://a.test/", endpoint_spiffe_id: "spiffe://a.test/spire/server"}]}`:                                        "endpoint_spiffe_id: needs bundle_endpoint_profile https_spiffe",
		`{audience: [x], trust_domains: [{name: a.test, bundle_endpoint_url: "https://a.test/", bundle_file: f}]}`:                                                                            "bundle_file: cannot be set beside bundle_endpoint_url",
		`{audience: [x], trust_domains: [{name: a.test, bundle_file: f, bundle_endpoint_profile: https_spiffe}]}`:                                                                             "bundle_endpoint_profile: is about bundle_endpoint_url",
		`{audience: [x], endpoint_socket: /run/agent.sock, trust_domains: [{name: a.test}]}`:                                                                                                  "endpoint_socket: workload endpoint socket URI must have",
		`{audience: [x], endpoint_socket: "unix:///run/agent.sock", trust_domains: [{name: a.test, bundle_file: f}]}`:                                                                         "endpoint_socket: is used by no trust domain",
		`{x509_svid: false, jwt_svid: false, trust_domains: [{name: a.test, bundle_file: f}]}`:                                                                                                "spiffe.x509_svid: is false, and so is jwt_svid",
		`{audience: [x], algorithms: [EdDSA], trust_domains: [{name: a.test, bundle_file: f}]}`:                                                                                               "spiffe.algorithms[0]: must be one of",
		fmt.Sprintf(`{audience: [x], trust_domains: [{name: a.test, bundle_file: %q}]}`, broken):                                                                                              "spiffe.trust_domains[0].bundle_file: is no bundle",
		fmt.Sprintf(`{audience: [x], trust_domains: [{name: a.test, bundle_file: %q}]}`, broken+"x"):                                                                                          "spiffe.trust_domains[0].bundle_file: ",
		fmt.Sprintf(`{audience: [x], intermediate_ca_files: [%q], endpoint_socket: "unix:///x", trust_domains: [{name: a.test}]}`, broken):                                                    "spiffe.intermediate_ca_files[0]: holds something else",
		fmt.Sprintf(`{audience: [x], http: {ca_file: %q}, endpoint_socket: "unix:///x", trust_domains: [{name: a.test}]}`, broken):                                                            "spiffe.http.ca_file: holds something else",
	} {
		_, err := NewBuilder(BuilderOptions{}).Gate([]byte("spiffe: " + text + "\npermission_table: '{public: [GET /]}'\n"))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v; want %s", text, err, want)
		}
	}
}
