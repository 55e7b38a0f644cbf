// Package client has what the settings have in common by which the gate authenticates
// itself as a client of an authorization server: how they are checked, what they name, and
// what is made of them. The settings have the same names wherever they stand.
package client

import (
	"crypto/tls"
	"log/slog"
	"slices"
	"strings"
	"time"

	"gatehouse/core/authn/clientauth"
	"gatehouse/core/authn/idp"
	"gatehouse/core/setting"
)

// Settings are those of one client, of a section at a path.
type Settings struct {
	// At is the path of the section, MethodSetting the name of the setting with the method.
	At, MethodSetting string
	// Method is empty where it is chosen by the secret.
	Method, ClientID string
	Secret           setting.Secret
	AllowSecretJWT   bool
	PrivateKey       setting.Secret
	KeyID, Algorithm string
	Audience         string
	CertFile         string
	KeyFile          string
	// URL is that of the endpoint or of the discovery document, Issuer that of the server
	// where it is known, and Endpoint the endpoint by its name.
	URL, Issuer, Endpoint string
}

func (s Settings) path(name string) string { return setting.Join(s.At, name) }

// Check reports what cannot work.
func (s Settings) Check(v *setting.Checker) {
	method := s.path(s.MethodSetting)
	if s.Method == clientauth.SecretJWT && !s.AllowSecretJWT {
		v.Add(method, "is client_secret_jwt, for which the server keeps the secret itself and not its digest; use private_key_jwt, or set allow_client_secret_jwt: true")
	}
	if s.AllowSecretJWT && s.Method != clientauth.SecretJWT {
		v.Add(s.path("allow_client_secret_jwt"), "goes with %s: client_secret_jwt", s.MethodSetting)
	}
	s.checkIdentity(v)
	s.checkAssertion(v)
	s.checkCertificate(v)
}

func (s Settings) checkIdentity(v *setting.Checker) {
	known := s.Method != "" && s.Method != clientauth.None
	if id := s.path("client_id"); known && s.ClientID == "" && !v.Mentions(id) {
		v.Add(id, "is needed for %s", s.Method)
	}
	switch {
	case clientauth.UsesSecret(s.Method) && s.Secret == "":
		v.Add(s.path("client_secret"), "is needed for %s", s.Method)
	case known && !clientauth.UsesSecret(s.Method) && s.Secret != "":
		v.Add(s.path("client_secret"), "is not used by %s; remove it, or choose another %s", s.Method, s.MethodSetting)
	}
	if s.Method == clientauth.SecretJWT && s.Secret != "" && !reference(s.Secret) {
		if err := clientauth.CheckSecret(string(s.Secret), s.Algorithm); err != nil && s.hasSymmetricAlgorithm() {
			v.Add(s.path("client_secret"), "is too short: %v", err)
		}
	}
}

// reference reports whether a secret is elsewhere, where a check does not look.
func reference(s setting.Secret) bool { return strings.HasPrefix(string(s), "$") }

func (s Settings) hasSymmetricAlgorithm() bool {
	return s.Algorithm == "" || strings.HasPrefix(s.Algorithm, "HS")
}

// checkAssertion looks at what private_key_jwt and client_secret_jwt are made of.
func (s Settings) checkAssertion(v *setting.Checker) {
	signs := s.Method == clientauth.PrivateKeyJWT
	switch {
	case signs && s.PrivateKey == "":
		v.Add(s.path("client_private_key"), "is needed for private_key_jwt: a private key as PEM or JWK; $env://NAME or $file:///path")
	case !signs && s.PrivateKey != "":
		v.Add(s.path("client_private_key"), "goes with %s: private_key_jwt", s.MethodSetting)
	case !signs && s.KeyID != "":
		v.Add(s.path("client_private_key_id"), "goes with %s: private_key_jwt", s.MethodSetting)
	}
	switch symmetric := strings.HasPrefix(s.Algorithm, "HS"); {
	case s.Algorithm == "":
	case !clientauth.Asserts(s.Method):
		v.Add(s.path("client_alg"), "goes with %s: private_key_jwt", s.MethodSetting)
	case symmetric == signs:
		v.Add(s.path("client_alg"), "is %s, by which %s cannot sign", s.Algorithm, s.Method)
	}
	if signs && s.PrivateKey != "" && !reference(s.PrivateKey) && !v.Mentions(s.path("client_alg")) {
		if _, err := clientauth.ParseKey([]byte(s.PrivateKey), s.KeyID, s.Algorithm); err != nil {
			v.Add(s.path("client_private_key"), "%v", err)
		}
	}
	s.checkAudience(v)
}

func (s Settings) checkAudience(v *setting.Checker) {
	names := []string{clientauth.Issuer, s.Endpoint}
	at := s.path("assertion_audience")
	switch {
	case strings.Contains(s.Audience, ":"):
		v.URL(at, s.Audience)
	case s.Audience != "" && !slices.Contains(names, s.Audience):
		v.Add(at, "must be %s, or a URL as the server wants it", strings.Join(names, ", "))
	case (s.Audience == "" || s.Audience == clientauth.Issuer) && clientauth.Asserts(s.Method) && s.Issuer == "":
		v.Add(s.path("issuer"), "is needed for %s, whose assertions are for the issuer; or set assertion_audience: %s", s.Method, s.Endpoint)
	}
}

func (s Settings) checkCertificate(v *setting.Checker) {
	presents := clientauth.UsesTLS(s.Method)
	switch {
	case (s.CertFile == "") != (s.KeyFile == ""):
		v.Add(s.path("tls_client_cert_file"), "goes with tls_client_key_file")
	case presents && s.CertFile == "":
		v.Add(s.path("tls_client_cert_file"), "is needed for %s, and tls_client_key_file with its key", s.Method)
	case !presents && s.CertFile != "":
		v.Add(s.path("tls_client_cert_file"), "goes with %s: tls_client_auth or self_signed_tls_client_auth", s.MethodSetting)
	}
	if presents && strings.HasPrefix(strings.ToLower(s.URL), "http:") {
		v.Add(s.path(s.MethodSetting), "is %s, for which the server has to be called by https", s.Method)
	}
}

// Found is what the settings name and do not hold. A changed file makes another one.
type Found struct{ Secret, Key, Certificate, CertificateKey string }

// Find reads it.
func (s Settings) Find() (f Found, err error) {
	for _, secret := range []struct {
		name, reference string
		into            *string
	}{{"client_secret", string(s.Secret), &f.Secret}, {"client_private_key", string(s.PrivateKey), &f.Key}} {
		if *secret.into, err = setting.Resolve(secret.reference); err != nil {
			return f, s.at(secret.name, err)
		}
	}
	for _, file := range []struct {
		name, path string
		into       *string
	}{{"tls_client_cert_file", s.CertFile, &f.Certificate}, {"tls_client_key_file", s.KeyFile, &f.CertificateKey}} {
		if file.path == "" {
			continue
		}
		text, err := setting.ReadBounded(file.path, setting.MaxDocument)
		if err != nil {
			return f, s.at(file.name, err)
		}
		*file.into = string(text)
	}
	return f, nil
}

// at is an error at a setting.
func (s Settings) at(name string, err error) error {
	return &setting.Error{Problems: []setting.Problem{{Path: s.path(name), Text: err.Error()}}}
}

// Authentication is how the gate authenticates itself.
func (s Settings) Authentication(f Found, now func() time.Time) (clientauth.Options, error) {
	o := clientauth.Options{Method: s.Method, ClientID: s.ClientID, Secret: f.Secret, Algorithm: s.Algorithm, Audience: s.Audience, Now: now}
	if f.Key == "" {
		return o, nil
	}
	key, err := clientauth.ParseKey([]byte(f.Key), s.KeyID, s.Algorithm)
	if err != nil {
		return o, s.at("client_private_key", err)
	}
	o.Key = key
	return o, nil
}

// Certificate is the one of the gate; nil: there is none. One that has ended is a line in
// the log and no error: it must not keep other changes of the configuration away.
func (s Settings) Certificate(f Found, now time.Time, log *slog.Logger) (*tls.Certificate, error) {
	if f.Certificate == "" {
		return nil, nil
	}
	c, err := idp.ParseCertificate(f.Certificate, f.CertificateKey)
	if err != nil {
		return nil, s.at("tls_client_cert_file", err)
	}
	if leaf := c.Leaf; leaf != nil && (now.After(leaf.NotAfter) || now.Before(leaf.NotBefore)) {
		log.Warn("the client certificate does not count now; renew it, and check the clocks", "setting", s.path("tls_client_cert_file"),
			"not_before", leaf.NotBefore, "not_after", leaf.NotAfter)
	}
	return c, nil
}

// EntityChecks are the rules across the fields for Kong's schema, by the setting with the
// method. A secret that is a vault reference is not known to Kong yet, and passes.
func EntityChecks(method string, further ...string) []map[string]any {
	needs := func(field string, methods ...string) map[string]any {
		return map[string]any{"conditional": map[string]any{
			"if_field": method, "if_match": map[string]any{"one_of": methods}, "then_field": field, "then_match": map[string]any{"required": true},
		}}
	}
	secrets := []string{clientauth.SecretBasic, clientauth.SecretPost, clientauth.SecretJWT}
	certificates := []string{clientauth.TLS, clientauth.SelfSignedTLS}
	return []map[string]any{
		needs("client_id", slices.Concat(secrets, []string{clientauth.PrivateKeyJWT}, certificates)...),
		needs("client_secret", append(secrets, further...)...),
		needs("client_private_key", clientauth.PrivateKeyJWT),
		needs("tls_client_cert_file", certificates...), needs("tls_client_key_file", certificates...),
	}
}
