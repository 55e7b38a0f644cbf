// Package spiffe has the part of a configuration by which workloads are callers: SPIFFE
// ids, proven by the certificate of the client or by a token.
package spiffe

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"gatehouse/core"
	"gatehouse/core/authn"
	"gatehouse/core/authn/claims"
	"gatehouse/core/authn/jwt"
	"gatehouse/core/authn/spiffe"
	"gatehouse/core/config/section"
	"gatehouse/core/extract"
	"gatehouse/core/setting"
)

// SPIFFE accepts SVIDs.
type SPIFFE struct {
	TrustDomains     []TrustDomain   `config:"trust_domains" required:"true" len_min:"1" doc:"The trust domains whose workloads are accepted. The bundle of one vouches for no id of another."`
	EndpointSocket   string          `config:"endpoint_socket" doc:"Address of the SPIFFE Workload API, such as unix:///run/spire/sockets/agent.sock or tcp://127.0.0.1:8000, which knows the bundles of the trust domains that name no other source. A change there counts at once."`
	X509SVID         bool            `config:"x509_svid" default:"true" doc:"Whether X509-SVIDs are accepted, as certificate of the client. The gateway must ask clients for one; every certificate with a URI of scheme spiffe is judged here."`
	JWTSVID          bool            `config:"jwt_svid" default:"true" doc:"Whether JWT-SVIDs are accepted, as bearer token. Every JWT whose sub begins with spiffe: is judged here, and by no other section."`
	Audience         []string        `config:"audience" doc:"Accepted audiences; a JWT-SVID must name at least one of them. Required unless jwt_svid is false."`
	Algorithms       []string        `config:"algorithms" len_min:"1" default:"RS256,RS384,RS512,ES256,ES384,ES512,PS256,PS384,PS512" one_of:"RS256,RS384,RS512,ES256,ES384,ES512,PS256,PS384,PS512" doc:"Accepted signature algorithms of JWT-SVIDs (JWT-SVID section 2.1)."`
	IntermediateCAs  []string        `config:"intermediate_ca_files" file:"true" doc:"Paths of PEM files with certificates of intermediate authorities, for gateways that pass on the certificate of the client without its chain. They vouch for nothing by themselves."`
	Leeway           setting.Seconds `config:"leeway" default:"10" between:"0,300" doc:"Tolerated clock difference for nbf and iat of a JWT-SVID, in seconds; exp is exact."`
	BundleRefresh    setting.Seconds `config:"bundle_refresh" default:"300" between:"1,86400" doc:"How often a bundle is asked for, in seconds, at an endpoint and at the Workload API. The hint of a bundle (spiffe_refresh_hint) shortens it, to 1 second at least. An unknown authority has an endpoint asked at once, at most every 10 seconds."`
	BundleMaxStale   setting.Seconds `config:"bundle_max_stale" default:"86400" between:"0,2592000" doc:"How long the last good bundle counts while its source fails, in seconds: a file that cannot be read or has an error, an endpoint or a Workload API that does not respond. After that, its workloads get 503."`
	CacheTTL         setting.Seconds `config:"cache_ttl" default:"60" between:"0,3600" doc:"How long a verified SVID is cached, in seconds, never beyond its expiry; a changed bundle ends it. 0 verifies it on every request."`
	NegativeCacheTTL setting.Seconds `config:"negative_cache_ttl" default:"5" between:"0,300" doc:"How long the refusal of an SVID is cached, in seconds."`
	HTTP             HTTP            `config:"http" doc:"How bundle endpoints and the Workload API are called."`
}

// TrustDomain is one whose workloads are accepted.
type TrustDomain struct {
	Name             string `config:"name" required:"true" doc:"Name of the trust domain, such as example.org."`
	BundleFile       string `config:"bundle_file" file:"true" doc:"Path of a file with the bundle, in the SPIFFE bundle format (JWK set) or as PEM certificates. A changed file takes effect within seconds. With endpoint_spiffe_id it vouches for the server of the endpoint alone, until a bundle was fetched."`
	BundleEndpoint   string `config:"bundle_endpoint_url" doc:"URL of the SPIFFE bundle endpoint, beginning with https."`
	EndpointProfile  string `config:"bundle_endpoint_profile" one_of:"https_web,https_spiffe" default:"https_web" doc:"What vouches for the server of the endpoint: authorities of the web (https_web), or a trust bundle and endpoint_spiffe_id (https_spiffe)."`
	EndpointSPIFFEID string `config:"endpoint_spiffe_id" doc:"SPIFFE ID of the server of the endpoint, for https_spiffe. Needs bundle_file with the first bundle of its trust domain."`
}

// HTTP is how a source of bundles is called.
type HTTP struct {
	Timeout setting.Seconds `config:"timeout" default:"3" between:"0.05,30" doc:"Time limit of one call, in seconds."`
	CAFile  string          `config:"ca_file" file:"true" doc:"Path of a PEM file with the certificate authorities that vouch for endpoints of profile https_web instead of the system's."`
}

var _ section.Section = (*SPIFFE)(nil)

// Kind is that of its credentials.
func (*SPIFFE) Kind() core.Kind { return core.KindSPIFFE }

// Places is where certificates are.
func (s *SPIFFE) Places() []extract.Place {
	if !s.X509SVID {
		return nil
	}
	return []extract.Place{extract.CertificatePlace}
}

// JudgesBearer reports whether a bearer token can be an SVID.
func (s *SPIFFE) JudgesBearer() bool { return s.JWTSVID }

const (
	profileWeb    = "https_web"
	profileSPIFFE = "https_spiffe"
)

// Check reports what no single tag can say.
func (s *SPIFFE) Check(v section.Validator) {
	if !s.X509SVID && !s.JWTSVID {
		v.Add("spiffe.x509_svid", "is false, and so is jwt_svid: no SVID would be accepted; leave the section out")
	}
	if s.JWTSVID && len(s.Audience) == 0 {
		v.Add("spiffe.audience", "is needed, so that a token for another service does not pass; or set jwt_svid to false")
	}
	if slices.Contains(s.Audience, "") {
		v.Add("spiffe.audience", "has an empty member")
	}
	if s.EndpointSocket != "" {
		if err := spiffe.CheckAddress(s.EndpointSocket); err != nil {
			v.Add("spiffe.endpoint_socket", "%v; write it as unix:///PATH or tcp://IP:PORT", err)
		}
	}
	used := false
	seen := map[string]int{}
	for i, d := range s.TrustDomains {
		path := section.Item("spiffe.trust_domains", i)
		if first, twice := seen[d.Name]; twice && d.Name != "" {
			v.Add(path+".name", "is already configured at spiffe.trust_domains[%d]", first)
		}
		seen[d.Name] = i
		used = used || d.fromSocket()
		s.checkDomain(v, path, d)
	}
	if s.EndpointSocket != "" && !used && len(s.TrustDomains) > 0 {
		v.Add("spiffe.endpoint_socket", "is used by no trust domain: each has a bundle_file or a bundle_endpoint_url")
	}
}

func (d TrustDomain) fromSocket() bool { return d.BundleFile == "" && d.BundleEndpoint == "" }

func (s *SPIFFE) checkDomain(v section.Validator, path string, d TrustDomain) {
	if _, err := name(d.Name); err != nil && d.Name != "" {
		v.Add(path+".name", "%v", err)
	}
	if d.fromSocket() && s.EndpointSocket == "" {
		v.Add(path, "has no bundle: set bundle_file or bundle_endpoint_url, or endpoint_socket of the section")
	}
	if d.BundleEndpoint != "" {
		if err := spiffe.CheckURL(d.BundleEndpoint); err != nil {
			v.Add(path+".bundle_endpoint_url", "%v", err)
		}
	}
	switch {
	case d.BundleEndpoint == "" && d.EndpointSPIFFEID != "":
		v.Add(path+".endpoint_spiffe_id", "is about bundle_endpoint_url, which is not set")
	case d.BundleEndpoint == "" && d.EndpointProfile == profileSPIFFE:
		v.Add(path+".bundle_endpoint_profile", "is about bundle_endpoint_url, which is not set")
	case d.BundleEndpoint != "" && d.EndpointProfile == profileSPIFFE:
		d.checkServer(v, path)
	case d.EndpointSPIFFEID != "":
		v.Add(path+".endpoint_spiffe_id", "needs bundle_endpoint_profile %s", profileSPIFFE)
	case d.BundleEndpoint != "" && d.BundleFile != "":
		v.Add(path+".bundle_file", "cannot be set beside bundle_endpoint_url, unless bundle_endpoint_profile is %s", profileSPIFFE)
	}
}

func (d TrustDomain) checkServer(v section.Validator, path string) {
	if _, err := spiffeid.FromString(d.EndpointSPIFFEID); err != nil {
		v.Add(path+".endpoint_spiffe_id", "must be the SPIFFE ID of the server of the endpoint, such as spiffe://%s/spire/server", d.Name)
	}
	if d.BundleFile == "" {
		v.Add(path+".bundle_file", "is needed for bundle_endpoint_profile %s: it vouches for the server until a bundle was fetched", profileSPIFFE)
	}
}

// name reads the name of a trust domain, not a SPIFFE ID.
func name(text string) (spiffeid.TrustDomain, error) {
	domain, err := spiffeid.TrustDomainFromString(text)
	if err != nil || domain.Name() != text {
		return domain, fmt.Errorf("is not the name of a trust domain, such as example.org: lower-case letters, digits, dots, dashes and underscores")
	}
	return domain, nil
}

// Build finds or makes the authenticator.
func (s *SPIFFE) Build(b *section.Builder, c section.Caching) (*section.Part, error) {
	o, texts, err := s.read(b)
	if err != nil {
		return nil, err
	}
	var a *spiffe.Authenticator
	return b.Own(section.Own{
		Kind: s.Kind(), Title: "SPIFFE ids", Local: true, Order: section.OwnJWTsNext, TTL: s.CacheTTL, NegativeTTL: s.NegativeCacheTTL,
		Candidate: func(c core.Credential) bool {
			return c.Place == core.ClientCertificate || authn.IsBearer(c) && jwt.Candidate(c)
		},
		Judges:  func(c core.Credential) (any, bool) { return a.Judges(c) },
		Changed: func() time.Time { return a.Changed() },
		Waiting: func() []string { return a.Waiting() },
		Make: func() (core.TokenAuthenticator, any, error) {
			if a, err = spiffe.New(*o); err != nil {
				return nil, nil, err
			}
			return a, a, nil
		},
	}, c, s, texts)
}

// read reads all files, so that an error is at the path of the setting. Texts are those
// that the result depends on for as long as it lives.
func (s *SPIFFE) read(b *section.Builder) (o *spiffe.Options, texts []string, err error) {
	o = s.options(b)
	roots, err := pool("spiffe.http.ca_file", s.HTTP.CAFile, &texts)
	if err != nil {
		return nil, nil, err
	}
	for i, d := range s.TrustDomains {
		path := section.Item("spiffe.trust_domains", i)
		domain, err := d.read(path, &texts)
		if err != nil {
			return nil, nil, err
		}
		if at := domain.Endpoint; at != nil {
			at.Timeout, at.Refresh, at.Observe = o.Timeout, o.Refresh, o.Observe
			if at.ID.IsZero() {
				at.Roots = roots
			}
		}
		o.Domains = append(o.Domains, domain)
	}
	for i, file := range s.IntermediateCAs {
		all, err := certificates(section.Item("spiffe.intermediate_ca_files", i), file, &texts)
		if err != nil {
			return nil, nil, err
		}
		o.Intermediates = append(o.Intermediates, all...)
	}
	return o, texts, nil
}

func (s *SPIFFE) options(b *section.Builder) *spiffe.Options {
	return &spiffe.Options{
		Socket: s.EndpointSocket, Timeout: s.HTTP.Timeout.Duration(), Refresh: s.BundleRefresh.Duration(), MaxStale: s.BundleMaxStale.Duration(),
		X509: s.X509SVID, JWT: s.JWTSVID, Audiences: s.Audience, Algorithms: s.Algorithms,
		Leeway: s.Leeway.Duration(), Observe: b.Observe(s.Kind()), Log: b.Log().With("provider", string(s.Kind())), Now: b.Now(),
	}
}

func (d TrustDomain) read(path string, texts *[]string) (of spiffe.Domain, err error) {
	if of.Name, err = name(d.Name); err != nil {
		return of, section.At(path+".name", err)
	}
	var initial spiffe.Bundle
	if d.BundleFile != "" {
		if initial, err = spiffe.ReadBundle(d.vouchers(), d.BundleFile); err != nil {
			return of, section.At(path+".bundle_file", err)
		}
	}
	if d.BundleEndpoint == "" {
		of.File = d.BundleFile
		return of, nil
	}
	of.Endpoint = &spiffe.Endpoint{URL: d.BundleEndpoint}
	if d.EndpointProfile == profileSPIFFE {
		of.Endpoint.Initial = initial
		*texts = append(*texts, fmt.Sprint(initial.X509.X509Authorities())) // nobody follows that file
		if of.Endpoint.ID, err = spiffeid.FromString(d.EndpointSPIFFEID); err != nil {
			return of, section.At(path+".endpoint_spiffe_id", err)
		}
	}
	return of, nil
}

// vouchers is the trust domain whose bundle the file holds: that of the server where there
// is one.
func (d TrustDomain) vouchers() spiffeid.TrustDomain {
	if id, err := spiffeid.FromString(d.EndpointSPIFFEID); err == nil {
		return id.TrustDomain()
	}
	domain, _ := name(d.Name)
	return domain
}

// certificates reads PEM, and notes the text.
func certificates(path, file string, texts *[]string) (all []*x509.Certificate, err error) {
	text, err := setting.ReadBounded(file, setting.MaxDocument)
	if err != nil {
		return nil, section.At(path, err)
	}
	*texts = append(*texts, string(text))
	for rest := bytes.TrimSpace(text); len(rest) > 0; rest = bytes.TrimSpace(rest) {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil || block.Type != "CERTIFICATE" {
			return nil, section.At(path, errors.New("holds something else than certificates as PEM"))
		}
		one, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, section.At(path, err)
		}
		all = append(all, one)
	}
	if len(all) == 0 {
		return nil, section.At(path, errors.New("holds no certificate as PEM"))
	}
	return all, nil
}

func pool(path, file string, texts *[]string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	all, err := certificates(path, file, texts)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	for _, c := range all {
		roots.AddCert(c)
	}
	return roots, nil
}

// Refused returns what the parts refuse beside what Check states.
func (s *SPIFFE) Refused() error { return nil }

// OfCertificate is the workload that a certificate names, at a time. The bundle of its
// trust domain is not asked.
func (s *SPIFFE) OfCertificate(leaf *x509.Certificate, now time.Time) (*core.Principal, error) {
	p, _, err := spiffe.OfCertificate(leaf)
	if err != nil {
		return nil, err
	}
	err = s.configured(p)
	if now.Before(leaf.NotBefore) || !now.Before(leaf.NotAfter) {
		err = errors.New("is not valid now")
	}
	if err != nil {
		return nil, fmt.Errorf("%w: X509-SVID %w", core.ErrInvalid, err)
	}
	p.Expiry = leaf.NotAfter
	return p, nil
}

// configured reports a caller of a trust domain that is not.
func (s *SPIFFE) configured(p *core.Principal) error {
	if slices.ContainsFunc(s.TrustDomains, func(d TrustDomain) bool { return p.Issuer == "spiffe://"+d.Name }) {
		return nil
	}
	return fmt.Errorf("is of trust domain %s, which is not configured (trust_domains)", p.Issuer)
}

// Principal reads whom the claims of a JWT-SVID speak of, or those of a certificate where
// no JWT-SVID is accepted.
func (s *SPIFFE) Principal(b *section.Builder, document map[string]any, _ string) (*core.Principal, error) {
	p, err := s.options(b).Principal(claims.Set(document))
	if err == nil {
		err = s.configured(p)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: JWT-SVID %w", core.ErrInvalid, err)
	}
	return p, nil
}
