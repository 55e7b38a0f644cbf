// Package asking has the settings of the decision point that activities ask (OpenID
// AuthZEN), and builds what asks it.
package asking

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"gatehouse/core/authn/idp"
	"gatehouse/core/authzen"
	"gatehouse/core/authzen/pep"
	"gatehouse/core/cache"
	"gatehouse/core/config/section"
	"gatehouse/core/config/tables"
	"gatehouse/core/httpsyntax"
	"gatehouse/core/setting"
	"gatehouse/core/shared"
)

// AuthZEN is the section.
type AuthZEN struct {
	PDPURL       string            `config:"pdp_url" starts_with:"http" doc:"Identifier of the decision point, a URL such as https://pdp.example.com. Its metadata (/.well-known/authzen-configuration) name the endpoints; where there are none (404) they are pdp_url followed by /access/v1/evaluation and /access/v1/evaluations. This or evaluation_endpoint is needed."`
	Evaluation   string            `config:"evaluation_endpoint" starts_with:"http" doc:"URL of the Access Evaluation endpoint, in the place of pdp_url."`
	Evaluations  string            `config:"evaluations_endpoint" starts_with:"http" doc:"URL of the Access Evaluations endpoint, which takes several questions in one call. Goes with evaluation_endpoint; without it, several questions are asked one after the other, all within http.timeout."`
	BearerToken  setting.Secret    `config:"bearer_token" secret:"true" doc:"Secret by which the gate authenticates at the decision point, as a bearer token. Takes a literal value, $env://NAME or $file:///path. A changed file takes effect within seconds."`
	APIKey       setting.Secret    `config:"api_key" secret:"true" doc:"Secret by which the gate authenticates at the decision point, in the header api_key_header. Takes the same values as bearer_token, and goes in the place of it."`
	APIKeyHeader string            `config:"api_key_header" default:"X-API-Key" doc:"Name of the header with api_key."`
	Headers      map[string]string `config:"headers" doc:"Further headers of every call to the decision point and their values, such as Openfga-Authorization-Model-Id. No place for secrets."`
	CertFile     string            `config:"tls_client_cert_file" file:"true" doc:"Path of a PEM file with the certificate by which the gate authenticates at the decision point (mutual TLS). A changed file takes effect within seconds."`
	KeyFile      string            `config:"tls_client_key_file" file:"true" doc:"Path of a PEM file with its key."`
	CacheTTL     setting.Seconds   `config:"cache_ttl" default:"5" between:"0,300" doc:"How long an answer is used again for the very same question, in seconds, counted from when it was asked; 0 for never. A relation that was revoked may pass for so long, or for http.timeout if that is longer."`
	Outbound     section.Outbound  `config:"http" doc:"How the decision point is called. Redirects are not followed."`
}

const at = "authzen"

// Check reports what no single tag can say; nil has nothing to check.
func (s *AuthZEN) Check(v section.Validator) {
	if s == nil {
		return
	}
	s.checkEndpoints(v)
	if s.BearerToken != "" && s.APIKey != "" {
		v.Add(at+".api_key", "cannot be set beside bearer_token")
	}
	if (s.CertFile == "") != (s.KeyFile == "") {
		v.Add(at+".tls_client_cert_file", "goes with tls_client_key_file")
	}
	if s.APIKey != "" {
		checkHeader(v, at+".api_key_header", s.APIKeyHeader, "x")
	}
	for _, name := range slices.Sorted(maps.Keys(s.Headers)) {
		checkHeader(v, setting.Join(at+".headers", setting.ShownKey(name)), name, s.Headers[name])
	}
}

// modelHeader names the authorization model by which OpenFGA decides. It takes what is no
// id of one for none, and decides by the newest model.
const modelHeader = "Openfga-Authorization-Model-Id"

var modelID = regexp.MustCompile(`^[0-9A-HJKMNP-TV-Z]{26}$`)

func (s *AuthZEN) checkEndpoints(v section.Validator) {
	switch {
	case s.PDPURL == "" && s.Evaluation == "" && !v.Mentions(at):
		v.Add(at+".pdp_url", "is needed, or evaluation_endpoint")
	case s.PDPURL != "" && s.Evaluation+s.Evaluations != "":
		v.Add(at+".pdp_url", "cannot be set beside evaluation_endpoint and evaluations_endpoint")
	case s.Evaluations != "" && s.Evaluation == "":
		v.Add(at+".evaluations_endpoint", "goes with evaluation_endpoint")
	}
	for name, address := range map[string]string{".pdp_url": s.PDPURL, ".evaluation_endpoint": s.Evaluation, ".evaluations_endpoint": s.Evaluations} {
		if address == "" || v.Mentions(at+name) {
			continue
		}
		if _, err := idp.ParseURL(address); err != nil {
			v.Add(at+name, "%v", err)
		}
	}
	if _, err := authzen.MetadataURL(s.PDPURL); err != nil && !v.Mentions(at+".pdp_url") {
		v.Add(at+".pdp_url", "%v", err)
	}
}

// ownHeaders are those that calls have anyway.
var ownHeaders = []string{"content-type", "content-length", "accept", "host", "user-agent", "authorization", "x-request-id", "connection", "transfer-encoding"}

func checkHeader(v section.Validator, path, name, value string) {
	switch {
	case !httpsyntax.IsToken(name):
		v.Add(path, "is not the name of a header")
	case slices.Contains(ownHeaders, strings.ToLower(name)):
		v.Add(path, "is a header that the gate sets itself")
	case strings.EqualFold(name, modelHeader) && !modelID.MatchString(value):
		v.Add(path, "is %.60q, which is no id of an authorization model: OpenFGA would decide by its newest model", value)
	case value == "" || strings.ContainsFunc(value, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }):
		v.Add(path, "is empty or holds a control character")
	}
}

// found is what the settings name and do not hold.
type found struct{ Token, Key, Certificate, CertificateKey, Trust string }

const maxToken = 8 << 10

func (s *AuthZEN) find() (f found, err error) {
	for _, secret := range []struct {
		name      string
		reference setting.Secret
		into      *string
	}{{".bearer_token", s.BearerToken, &f.Token}, {".api_key", s.APIKey, &f.Key}} {
		if *secret.into, err = setting.Resolve(string(secret.reference)); err == nil && *secret.into != "" {
			if fault := httpsyntax.CredentialFault(*secret.into, maxToken); fault != "" {
				err = fmt.Errorf("cannot be sent in a header: %s", fault)
			}
		}
		if err != nil {
			return f, section.At(at+secret.name, err)
		}
	}
	for _, file := range []struct {
		setting, path string
		into          *string
	}{{".tls_client_cert_file", s.CertFile, &f.Certificate}, {".tls_client_key_file", s.KeyFile, &f.CertificateKey}, {".http.ca_file", s.Outbound.CAFile, &f.Trust}} {
		if *file.into, err = section.Authorities(at+file.setting, file.path); err != nil {
			return f, err
		}
	}
	return f, nil
}

// Options are what every point is built with.
type Options struct {
	Log *slog.Logger
	// Calls is called after every call to a decision point.
	Calls func(provider string, took time.Duration, err error)
	Now   func() time.Time
}

// Builder makes points, each once per content.
type Builder struct {
	options  Options
	points   shared.Values[Point]
	counters pep.Counters
}

// Point is a decision point in use.
type Point struct {
	*pep.Point
	client     *idp.Client
	identifier string
}

// NewBuilder makes a builder.
func NewBuilder(o Options) *Builder { return &Builder{options: o} }

// Name is that of the decision point in metrics.
const Name = at

// Point finds or makes the decision point of a section, and has a table ask it; nil has
// none.
func (b *Builder) Point(s *AuthZEN, limits section.Cache, table *tables.Settings) (*Point, error) {
	if s == nil {
		return nil, nil
	}
	f, err := s.find()
	if err != nil {
		return nil, err
	}
	key := shared.KeyOf(at, s, f, limits)
	p, err := b.points.Get(key, func() (*Point, error) { return b.build(s, f, limits) })
	if err != nil {
		return nil, err
	}
	table.Decider, table.DeciderKey = p, key
	return p, nil
}

func (b *Builder) build(s *AuthZEN, f found, limits section.Cache) (*Point, error) {
	client, err := b.client(s, f)
	if err != nil {
		return nil, err
	}
	if again, err := s.find(); err != nil || again != f {
		return nil, section.At(at, errors.Join(err, errors.New("a file changed while it was read")))
	}
	header := http.Header{}
	for name, value := range s.Headers {
		header.Set(name, value)
	}
	if f.Token != "" {
		header.Set("Authorization", "Bearer "+f.Token)
	}
	if f.Key != "" {
		header.Set(s.APIKeyHeader, f.Key)
	}
	point, err := pep.New(pep.Options{
		Identifier: s.PDPURL, Evaluation: s.Evaluation, Evaluations: s.Evaluations, Header: header, Secrets: []string{f.Token, f.Key}, Client: client,
		Timeout: s.Outbound.Timeout.Duration(), TTL: s.CacheTTL.Duration(), Limits: cache.Limits{Entries: limits.MaxEntries, Bytes: limits.MaxBytes},
		Counters: &b.counters, Log: b.options.Log, Now: b.options.Now,
	})
	if err != nil {
		return nil, section.At(at, err)
	}
	point.Missing() // has the metadata fetched before the first question
	return &Point{point, client, s.PDPURL}, nil
}

func (b *Builder) client(s *AuthZEN, f found) (*idp.Client, error) {
	var own *tls.Certificate
	if f.Certificate != "" {
		var err error
		if own, err = idp.ParseCertificate(f.Certificate, f.CertificateKey); err != nil {
			return nil, section.At(at+".tls_client_cert_file", err)
		}
	}
	client, err := idp.New(idp.Options{
		What:    "a decision point",
		Observe: func(took time.Duration, err error) { b.options.Calls(Name, took, err) },
		Timeout: s.Outbound.Timeout.Duration(), MaxConcurrent: s.Outbound.MaxConcurrent,
		CAFile: s.Outbound.CAFile, Certificate: own, InsecureSkipVerify: !s.Outbound.SSLVerify,
		Log: b.options.Log.With("provider", Name), Now: b.options.Now,
	})
	if err != nil {
		return nil, section.At(at+".http.ca_file", err)
	}
	return client, nil
}

// Stats are the counters of all decision points, and what those in use keep.
func (b *Builder) Stats() cache.Stats {
	total := cache.Stats{Hits: b.counters.Hits.Load(), Misses: b.counters.Misses.Load()}
	for p := range b.points.All() {
		allowed, denied := p.Kept()
		total.Positive, total.Negative = cache.SumStores(total.Positive, allowed), cache.SumStores(total.Negative, denied)
	}
	return total
}

// Hosts counts the hosts of decision points that have been called, by whether calls to them
// are let through.
func (b *Builder) Hosts() (up, down int) {
	for p := range b.points.All() {
		u, d := p.client.Hosts()
		up, down = up+u, down+d
	}
	return up, down
}

// Waiting says what a decision point in use waits for; empty: nothing.
func (p *Point) Waiting() string {
	if p == nil || !p.Missing() {
		return ""
	}
	return "metadata of the decision point " + p.identifier
}
