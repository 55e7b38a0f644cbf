package mint

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"gatehouse/core"
	"gatehouse/core/upstreamtoken/signing"
)

// Where the metadata of an issuer are: before the path of the issuer (RFC 8414 section
// 3), and behind it (OpenID Connect Discovery 1.0 section 4), where most libraries look.
const (
	metadataBefore = "/.well-known/oauth-authorization-server"
	metadataBehind = "/.well-known/openid-configuration"
)

// Place is where an issuer publishes its keys.
type Place struct {
	// Issuer is a URL without a query, and JWKSPath a path on its host.
	Issuer, JWKSPath string
	// TokenPath is where tokens are exchanged (RFC 8693), on that host; empty: nowhere.
	TokenPath string
}

// locate returns the origin and the path of the issuer.
func (p Place) locate() (origin, path string, err error) {
	u, err := url.Parse(p.Issuer)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil:
		return "", "", errors.New("must be a complete http or https URL without a user name")
	case strings.ContainsAny(p.Issuer, "?#"):
		return "", "", errors.New("must not have a query or a fragment (RFC 8414 section 2)")
	}
	path = strings.TrimSuffix(u.EscapedPath(), "/")
	return u.Scheme + "://" + u.Host, path, nil
}

// Check refuses an issuer whose keys could not be published.
func (p Place) Check() error {
	_, path, err := p.locate()
	if err != nil {
		return err
	}
	if canonical, err := core.Canonical(path+"/", core.PathOptions{}); err != nil || canonical != path+"/" {
		return fmt.Errorf("has a path with two readings, %.200q; write it without escapes, dot segments and double slashes", path)
	}
	return nil
}

// CheckPath refuses a path at which no key set could be served.
func (p Place) CheckPath() error {
	if canonical, err := core.Canonical(p.JWKSPath, core.PathOptions{}); err != nil || canonical != p.JWKSPath || strings.HasSuffix(p.JWKSPath, "/") {
		return errors.New("must be a path such as /.well-known/jwks.json, without escapes, dot segments and double slashes")
	}
	return nil
}

// metadata is what is said of an issuer (RFC 8414 section 2): where its keys are, and
// where tokens are exchanged. It has no endpoint at which people sign in.
type metadata struct {
	Issuer        string   `json:"issuer"`
	JWKSURI       string   `json:"jwks_uri,omitempty"`
	TokenEndpoint string   `json:"token_endpoint,omitempty"`
	ClientAuth    []string `json:"token_endpoint_auth_methods_supported,omitempty"`
	ResponseTypes []string `json:"response_types_supported"`
	GrantTypes    []string `json:"grant_types_supported"`
	SubjectTypes  []string `json:"subject_types_supported"`
	Algorithms    []string `json:"id_token_signing_alg_values_supported"`
}

// Metadata is the document about an issuer.
func (p Place) Metadata(keys *signing.Set) []byte {
	origin, _, _ := p.locate()
	document := metadata{
		Issuer: p.Issuer, ResponseTypes: []string{}, GrantTypes: []string{}, SubjectTypes: []string{"public"}, Algorithms: keys.Algorithms(),
	}
	if p.JWKSPath != "" {
		document.JWKSURI = origin + p.JWKSPath
	}
	if p.TokenPath != "" {
		document.TokenEndpoint, document.GrantTypes, document.ClientAuth = origin+p.TokenPath, []string{GrantType}, []string{"none"}
	}
	text, err := json.Marshal(document)
	if err != nil { // texts always encode
		panic(err)
	}
	return text
}

// GrantType is that of an exchange (RFC 8693 section 2.1).
const GrantType = "urn:ietf:params:oauth:grant-type:token-exchange"

// Endpoints serve the keys and the metadata; keys are nil for tools that sign nothing.
func (p Place) Endpoints(keys *signing.Set, now func() time.Time) []core.Endpoint {
	if p.JWKSPath == "" {
		return nil
	}
	_, path, _ := p.locate()
	set := published{keys, func() []byte { return keys.JWKS(now()) }}
	about := published{keys, func() []byte { return p.Metadata(keys) }}
	methods := []string{http.MethodGet, http.MethodOptions}
	return []core.Endpoint{
		{Path: p.JWKSPath, Methods: methods, Handler: set},
		{Path: metadataBefore + path, Methods: methods, Handler: about},
		{Path: path + metadataBehind, Methods: methods, Handler: about},
	}
}

// published is a document for everybody, pages of other origins among them. A service
// that asks again after five minutes knows a new key long before it signs.
type published struct {
	keys     *signing.Set
	document func() []byte
}

func (d published) Respond(_ context.Context, call *core.Call, _ []byte) (core.Response, error) {
	if d.keys == nil {
		return core.Response{}, errors.New("this tool has no keys")
	}
	if call.Method == http.MethodOptions {
		return core.Response{Status: http.StatusNoContent, Header: []core.Header{
			{Name: "Access-Control-Allow-Origin", Value: "*"},
			{Name: "Access-Control-Allow-Methods", Value: "GET, HEAD"},
		}}, nil
	}
	return core.Response{Status: http.StatusOK, Body: d.document(), Header: []core.Header{
		{Name: "Content-Type", Value: "application/json"},
		{Name: "Cache-Control", Value: "public, max-age=300"},
		{Name: "Access-Control-Allow-Origin", Value: "*"},
	}}, nil
}
