// Package certificate has the parts of a configuration by which client certificates are
// credentials.
package certificate

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"time"

	"gatehouse/core"
	"gatehouse/core/authn/certificate"
	"gatehouse/core/authn/certificate/status"
	"gatehouse/core/authn/claims"
	"gatehouse/core/config/section"
	"gatehouse/core/extract"
	"gatehouse/core/setting"
	"gatehouse/core/shared"
)

// Precedence says who the caller is where a request has a certificate and another credential.
type Precedence struct {
	Alone      bool   `config:"alone" default:"true" doc:"Whether a client certificate counts without another credential."`
	WithToken  string `config:"with_token" default:"token" one_of:"token,certificate,refuse" doc:"Who the caller is where a request has a client certificate and another credential, a session in a cookie included: whom the token names; whom the certificate names, where both have to hold; or nobody: such requests get 400. With token the certificate is not looked at, unless the token is bound to it or token_alone is false."`
	TokenAlone bool   `config:"token_alone" default:"true" doc:"Whether another credential counts without a client certificate that holds. false is for APIs whose clients need both."`
}

func (p Precedence) usual() bool { return p == Precedence{true, "token", true} }

// Check reports what no single tag can say.
func (p Precedence) Check(v section.Validator, takes bool) {
	switch {
	case v.Mentions("client_certificate"):
	case !takes && !p.usual():
		v.Add("client_certificate", "is about client certificates, which no section accepts: add the section mtls")
	case !p.Alone && !p.TokenAlone && p.WithToken == "refuse":
		v.Add("client_certificate", "accepts neither a certificate alone nor a token alone nor both")
	case !p.TokenAlone && p.WithToken == "refuse":
		v.Add("client_certificate.token_alone", "is false, and with_token is refuse: no token would count")
	case !p.Alone && p.TokenAlone && p.WithToken == "token":
		v.Add("client_certificate.alone", "is false, but nothing else makes a certificate count: set token_alone to false, or with_token")
	}
}

// Around puts the precedence around what judges credentials. Without a section that takes
// certificates it is the usual one.
func (p Precedence) Around(next core.Authenticator) core.Authenticator {
	return certificate.Precedence{Refuse: p.WithToken == "refuse", Certificate: p.WithToken == "certificate", Needed: !p.TokenAlone}.Around(next)
}

// Takes reports whether a section takes client certificates.
func Takes(s section.Section) bool {
	for _, p := range s.Places() {
		if p.Name == core.ClientCertificate {
			return true
		}
	}
	return false
}

// Places are those of a section, without the certificate where it does not count alone.
func (p Precedence) Places(s section.Section) (places []extract.Place) {
	for _, place := range s.Places() {
		if p.Alone || place.Name != core.ClientCertificate {
			places = append(places, place)
		}
	}
	return places
}

// MTLS accepts client certificates. Its names are those of Kong's mtls-auth, and of RFC 8705
// section 2.1.2.
type MTLS struct {
	CACertificates []string  `config:"ca_certificates" required:"true" len_min:"1" file:"true" doc:"Paths of PEM files with the certificate authorities that are trusted. Authorities that have not signed themselves are not trusted by that: they complete the chain of clients that do not send them, or whose gateway does not hand them on. A changed file takes effect within seconds; while it has an error, the last good one counts."`
	PartialChain   bool      `config:"allow_partial_chain" default:"false" doc:"Whether every certificate of ca_certificates is trusted, also those that another one has signed."`
	Subjects       []Subject `config:"subjects" required:"true" len_min:"1" doc:"Which certificates count, by their names; the first item that matches. A certificate that none of them matches is refused."`
	Issuer         string    `config:"issuer" doc:"Issuer of the callers (iss), by which tables and upstreams tell them from those of tokens. Without it: the subject of the authority that is trusted, such as CN=Machines CA,O=Acme."`

	CRLFiles            []string        `config:"crl_files" file:"true" doc:"Paths of files with lists of revoked certificates (CRL), PEM or DER, of every authority of a chain but the trusted one. A changed file takes effect within seconds; while it has an error, the last good one counts until its next update is due."`
	CRLMaxStale         setting.Seconds `config:"crl_max_stale" default:"0" between:"0,2592000" doc:"For how long a list counts after its next update was due, in seconds; certificates that need it then get 503."`
	OCSP                string          `config:"ocsp" default:"none" one_of:"none,leaf,chain" doc:"Whether responders are asked if a certificate was revoked (OCSP, RFC 6960): none: not at all; leaf: about that of the client; chain: about the authorities of its chain, too. What a client has stapled counts where the host tells it."`
	OCSPResponder       string          `config:"ocsp_responder" starts_with:"http" doc:"URL of the responder for all certificates. Without it: the one that each certificate names."`
	OCSPTimeout         setting.Seconds `config:"ocsp_timeout" default:"3" between:"0.05,10" doc:"Time limit of one request to a responder, in seconds."`
	RevocationCheckMode string          `config:"revocation_check_mode" default:"auto" one_of:"auto,SKIP,IGNORE_CA_ERROR,STRICT" doc:"What becomes of a certificate of which nobody can tell whether it was revoked: STRICT denies it with 503, IGNORE_CA_ERROR accepts it and logs that, SKIP looks at nothing; auto is STRICT where there are crl_files or ocsp, else SKIP. One that was revoked is always refused."`

	CacheTTL         setting.Seconds `config:"cache_ttl" default:"60" between:"0,3600" doc:"How long a valid certificate is cached, in seconds; never beyond its end, nor beyond the next update of the list of revoked certificates. 0 verifies it on every request."`
	NegativeCacheTTL setting.Seconds `config:"negative_cache_ttl" default:"5" between:"0,300" doc:"How long the refusal of a certificate is cached, in seconds."`
}

// Subject is the names of some certificates.
type Subject struct {
	SANURI     string   `config:"san_uri" doc:"Pattern of a URI among the alternative names, such as urn:machine:*. In patterns * stands for one or more characters, but none that separates the parts of such a name; alone it matches every name. Of a certificate exactly one name may match."`
	SANDNS     string   `config:"san_dns" doc:"The same for host names, such as *.orders.example.com, where * is one label or a part of one."`
	SANEmail   string   `config:"san_email" doc:"The same for email addresses, such as *@example.com."`
	SANIP      string   `config:"san_ip" doc:"Address or network of an IP address among the alternative names, such as 10.1.0.0/16."`
	CommonName string   `config:"common_name" doc:"The same for the common name (CN), which has to be the only one. Not for certificates whose authorities have name constraints: those are not about it."`
	SubjectDN  string   `config:"subject_dn" doc:"The same for the whole subject, such as CN=*,OU=machines,O=Acme: in the order and with the escapes of openssl x509 -noout -subject -nameopt RFC2253."`
	Roles      []string `config:"roles" doc:"Roles of the callers. All patterns of an item have to match; the first of them, in the order of this table, gives the subject (sub) of the caller."`
}

var _ section.Section = (*MTLS)(nil)

const at = "mtls"

func (*MTLS) Kind() core.Kind         { return core.KindMTLS }
func (*MTLS) JudgesBearer() bool      { return false }
func (*MTLS) Places() []extract.Place { return []extract.Place{extract.CertificatePlace} }

// Check reports what no single tag can say.
func (m *MTLS) Check(v section.Validator) {
	sources := len(m.CRLFiles) > 0 || m.OCSP != "none"
	switch {
	case v.Mentions(at+".ocsp", at+".revocation_check_mode"):
	case sources && m.mode() == skip:
		v.Add(at+".revocation_check_mode", "is SKIP, but there are crl_files or ocsp: leave them out, or write STRICT")
	case !sources && m.mode() != skip:
		v.Add(at+".revocation_check_mode", "is %s, but nothing tells what was revoked: set crl_files or ocsp", m.mode())
	case m.OCSPResponder != "" && m.OCSP == "none":
		v.Add(at+".ocsp_responder", "is set, but ocsp is none; write leaf or chain")
	case m.CRLMaxStale > 0 && len(m.CRLFiles) == 0:
		v.Add(at+".crl_max_stale", "is about lists, but there are no crl_files")
	}
	for i, rule := range m.rules() {
		if path := section.Item(at+".subjects", i); !v.Mentions(path) {
			if err := rule.Check(); err != nil {
				v.Add(path, "%v", err)
			}
		}
	}
}

const skip, strict, lenient = "SKIP", "STRICT", "IGNORE_CA_ERROR"

// mode is the check of revocation that is made.
func (m *MTLS) mode() string {
	switch {
	case m.RevocationCheckMode != "auto":
		return m.RevocationCheckMode
	case len(m.CRLFiles) > 0 || m.OCSP != "none":
		return strict
	}
	return skip
}

func (m *MTLS) rules() []certificate.Rule {
	rules := make([]certificate.Rule, len(m.Subjects))
	for i, s := range m.Subjects {
		rules[i] = certificate.Rule(s)
	}
	return rules
}

// StatesRoles reports whether callers have roles by their certificates.
func (m *MTLS) StatesRoles() bool {
	return slices.ContainsFunc(m.Subjects, func(s Subject) bool { return len(s.Roles) > 0 })
}

// Build finds or makes the authenticator.
func (m *MTLS) Build(b *section.Builder, c section.Caching) (*section.Part, error) {
	trusted, texts, err := m.read()
	if err != nil {
		return nil, err
	}
	lists, err := m.readLists()
	if err != nil {
		return nil, err
	}
	return b.Own(section.Own{
		Kind: m.Kind(), Title: "client certificates", Judges: certificate.Judges, Order: section.TheRestLast, Local: m.OCSP == "none", TTL: m.CacheTTL, NegativeTTL: m.NegativeCacheTTL,
		Make: func() (core.TokenAuthenticator, any, error) {
			checker, err := m.checker(b, lists)
			if err != nil {
				return nil, nil, err
			}
			by, err := m.authenticator(b, trusted, checker)
			return by, nil, err
		},
	}, c, m, shared.KeyOf(texts, lists))
}

func (m *MTLS) authenticator(b *section.Builder, t trusted, checker certificate.Status) (*certificate.Authenticator, error) {
	return certificate.New(certificate.Options{Roots: t.roots, Intermediates: t.intermediates, Rules: m.rules(), Issuer: m.Issuer, Status: checker, Now: b.Now()})
}

// readLists returns the texts of the lists of revoked certificates.
func (m *MTLS) readLists() (texts [][]byte, err error) {
	for i, path := range m.CRLFiles {
		text, err := setting.ReadBounded(path, maxList)
		if err != nil {
			return nil, section.At(section.Item(at+".crl_files", i), err)
		}
		texts = append(texts, text)
	}
	return texts, nil
}

// maxList is the size of the largest file with lists of revoked certificates.
const maxList = 32 << 20

// checker tells what was revoked; nil: it is not looked at.
func (m *MTLS) checker(b *section.Builder, texts [][]byte) (certificate.Status, error) {
	if m.mode() == skip {
		return nil, nil
	}
	o := status.Options{Lists: status.Lists{Late: m.CRLMaxStale.Duration()}, AllAsked: m.OCSP == "chain", Lenient: m.mode() == lenient, Log: b.Log(), Now: b.Now()}
	for i, text := range texts {
		lists, err := status.ParseLists(m.CRLFiles[i], text)
		if err != nil {
			return nil, section.At(section.Item(at+".crl_files", i), fmt.Errorf("%s: %w", m.CRLFiles[i], err))
		}
		o.Lists.All = append(o.Lists.All, lists...)
	}
	for _, name := range o.Lists.Stale(b.Now()()) {
		b.Log().Warn("a list of revoked certificates is out of date: certificates that need it are not accepted", "file", name)
	}
	if m.OCSP != "none" {
		o.Responders = status.NewResponders(status.ResponderOptions{URL: m.OCSPResponder, Timeout: m.OCSPTimeout.Duration(), Observe: b.Observe(m.Kind())})
	}
	return status.New(o), nil
}

// Refused returns nothing: what the files hold is not looked at.
func (m *MTLS) Refused() error { return nil }

// Principal reads whom a document speaks of: the certificate that stands, with those it was
// signed by, as PEM in its member "certificate", or else the claims that a certificate became.
func (m *MTLS) Principal(b *section.Builder, document map[string]any, _ string) (*core.Principal, error) {
	text, isCertificate := document[certificate.Claim].(string)
	if !isCertificate {
		return m.claimed(b, document)
	}
	chain, err := parsePEM([]byte(text))
	if err != nil {
		return nil, fmt.Errorf("%w: the member certificate: %w", core.ErrInvalid, err)
	}
	t, _, err := m.read()
	if err != nil {
		return nil, err
	}
	by, err := m.authenticator(b, t, nil)
	if err != nil {
		return nil, err
	}
	return by.Principal(chain)
}

func (m *MTLS) claimed(b *section.Builder, document map[string]any) (*core.Principal, error) {
	p := &core.Principal{Kind: m.Kind(), Expiry: b.Now()().Add(time.Hour)}
	set := claims.Set(document)
	p.Issuer, _ = set.Text("iss")
	if err := set.Principal(claims.Paths{Scopes: []core.ClaimPath{}, Roles: claims.MustPaths("roles"), Permissions: []core.ClaimPath{}}, p); err != nil {
		return nil, err
	}
	return p, nil
}

// trusted are the certificates of the files.
type trusted struct{ roots, intermediates []*x509.Certificate }

// read returns the certificates, and the texts that they are read from.
func (m *MTLS) read() (t trusted, texts []string, err error) {
	for i, path := range m.CACertificates {
		at := section.Item(at+".ca_certificates", i)
		text, err := setting.ReadBounded(path, setting.MaxDocument)
		if err != nil {
			return trusted{}, nil, section.At(at, err)
		}
		certificates, err := parsePEM(text)
		if err != nil {
			return trusted{}, nil, section.At(at, fmt.Errorf("%s: %w", path, err))
		}
		texts = append(texts, string(text))
		for _, c := range certificates {
			if m.PartialChain || isSelfSigned(c) {
				t.roots = append(t.roots, c)
			} else {
				t.intermediates = append(t.intermediates, c)
			}
		}
	}
	if len(t.roots) == 0 {
		return trusted{}, nil, section.At(at+".ca_certificates", errors.New("hold no authority that has signed itself; add it, or set allow_partial_chain, which trusts every certificate in them"))
	}
	return t, texts, nil
}

// isSelfSigned is by the names and the signature: an authority may have the name of the one
// that has signed it.
func isSelfSigned(c *x509.Certificate) bool {
	return string(c.RawSubject) == string(c.RawIssuer) && c.CheckSignature(c.SignatureAlgorithm, c.RawTBSCertificate, c.Signature) == nil
}

// parsePEM reads certificates, between which there may be other text, as tools write it.
func parsePEM(text []byte) (all []*x509.Certificate, err error) {
	for rest := text; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" && block.Type != "X509 CERTIFICATE" {
			return nil, fmt.Errorf("holds a %.40s beside certificates", block.Type)
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		all = append(all, c)
	}
	if len(all) == 0 {
		return nil, errors.New("holds no certificate in PEM form")
	}
	return all, nil
}
