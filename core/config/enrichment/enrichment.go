// Package enrichment has the settings of the service that says who somebody is beside
// an identity provider, and builds what asks it.
package enrichment

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"gatehouse/core/authn/idp"
	"gatehouse/core/cache"
	"gatehouse/core/config/section"
	"gatehouse/core/httpsyntax"
	"gatehouse/core/setting"
	"gatehouse/core/signin/enrich"
)

// Enrich is the service.
type Enrich struct {
	URL         string           `config:"url" required:"true" starts_with:"http" doc:"URL of a service of your own that finds or creates the user. It is called by POST with {\"provider\": name, \"claims\": {\"iss\": ..., \"sub\": ..., ...}} and responds with 200 or 201 and application/json: {\"subject\": string, \"roles\": [...], \"permissions\": [...], \"claims\": {...}}, each member where it says something of it; or with 403 and application/problem+json (RFC 9457) for a person whom it refuses. Anything else denies the sign-in with 503."`
	BearerToken setting.Secret   `config:"bearer_token" secret:"true" doc:"Secret by which the gate authenticates at the service, as a bearer token. Takes a literal value, $env://NAME or $file:///path. A changed file takes effect within seconds. This or tls_client_cert_file is needed."`
	CertFile    string           `config:"tls_client_cert_file" file:"true" doc:"Path of a PEM file with the certificate by which the gate authenticates at the service (mutual TLS). A changed file takes effect within seconds."`
	KeyFile     string           `config:"tls_client_key_file" file:"true" doc:"Path of a PEM file with its key."`
	Send        []string         `config:"send_claims" len_min:"0" default:"email,email_verified,name" doc:"Names of the claims of the person that the service gets, where the provider says them; iss and sub are always among them. Sessions keep them for as long as tokens are renewed."`
	Issuer      string           `config:"issuer" doc:"Issuer of users whom the service names by subject, so that the user u-7 of the service is nobody else's u-7. Without it: scheme and host of url. The names that the provider gives stay as the claims original_iss and original_sub, and its logout ends such sessions, too."`
	CacheTTL    setting.Seconds  `config:"cache_ttl" default:"60" between:"0,3600" doc:"How long a response is used again for the same person at the same provider with the same claims, in seconds; 0 for never. A refusal is used again for at most 5 seconds."`
	Outbound    section.Outbound `config:"http" doc:"How the service is called."`
}

// Check reports what no single tag can say, of a section at a path.
func (e *Enrich) Check(v section.Validator, path string) {
	if e == nil {
		return
	}
	if _, err := idp.ParseURL(e.URL); err != nil && !v.Mentions(path+".url") {
		v.Add(path+".url", "%v", err)
	}
	if (e.CertFile == "") != (e.KeyFile == "") {
		v.Add(path+".tls_client_cert_file", "goes with tls_client_key_file")
	}
	if e.BearerToken == "" && e.CertFile == "" {
		v.Add(path+".bearer_token", "is needed, or tls_client_cert_file: a service that takes such calls from everybody makes users for everybody")
	}
	for i, name := range e.Send {
		if name == "" || slices.Contains(e.Send[:i], name) {
			v.Add(section.Item(path+".send_claims", i), "is empty, or there twice")
		}
	}
}

// Found is what the settings name and do not hold: with the settings themselves it is
// all that an enricher depends on.
type Found struct{ Token, Certificate, Key, Trust string }

// Find reads it, for a section at a path; nil has nothing.
func (e *Enrich) Find(path string) (f Found, err error) {
	if e == nil {
		return f, nil
	}
	if f.Token, err = setting.Resolve(string(e.BearerToken)); err == nil && f.Token != "" {
		if fault := httpsyntax.CredentialFault(f.Token, maxToken); fault != "" {
			err = fmt.Errorf("is no bearer token: %s", fault)
		}
	}
	if err != nil {
		return f, section.At(path+".bearer_token", err)
	}
	for _, file := range []struct {
		setting, path string
		into          *string
	}{{".tls_client_cert_file", e.CertFile, &f.Certificate}, {".tls_client_key_file", e.KeyFile, &f.Key}, {".http.ca_file", e.Outbound.CAFile, &f.Trust}} {
		if *file.into, err = section.Authorities(path+file.setting, file.path); err != nil {
			return f, err
		}
	}
	return f, nil
}

const maxToken = 8 << 10

// Options are what an enricher is built with.
type Options struct {
	// Log gets lines about what happens outside of requests.
	Log *slog.Logger
	// Observe is called after every call of the service.
	Observe func(took time.Duration, err error)
	// Now is the clock.
	Now func() time.Time
}

// Limits of what is kept of responses.
var limits = cache.Limits{Entries: 10_000, Bytes: 32 << 20}

// Build makes what asks the service, of a section at a path; nil makes nil.
func (e *Enrich) Build(path string, f Found, o Options) (*enrich.Enricher, error) {
	if e == nil {
		return nil, nil
	}
	var own *tls.Certificate
	if f.Certificate != "" {
		var err error
		if own, err = idp.ParseCertificate(f.Certificate, f.Key); err != nil {
			return nil, section.At(path+".tls_client_cert_file", err)
		}
	}
	client, err := idp.New(idp.Options{
		Observe: o.Observe, Timeout: e.Outbound.Timeout.Duration(), MaxConcurrent: e.Outbound.MaxConcurrent,
		CAFile: e.Outbound.CAFile, InsecureSkipVerify: !e.Outbound.SSLVerify, Certificate: own,
		Log: o.Log.With("service", "enrich"), Now: o.Now,
	})
	if err != nil {
		return nil, section.At(path, err)
	}
	if again, err := e.Find(path); err != nil || again != f {
		return nil, section.At(path, errors.Join(err, errors.New("a file changed while it was read")))
	}
	made, err := enrich.New(enrich.Options{
		URL: e.URL, Secret: f.Token, Send: e.Send, Issuer: e.Issuer, Client: client, TTL: e.CacheTTL.Duration(), Limits: limits, Now: o.Now,
	})
	if err != nil {
		return nil, section.At(path, err)
	}
	return made, nil
}
