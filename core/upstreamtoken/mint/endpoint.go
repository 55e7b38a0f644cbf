package mint

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

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

// metadata is what is said of an issuer (RFC 8414 section 2): where its keys are. It has
// no endpoint at which clients get tokens.
type metadata struct {
	Issuer        string   `json:"issuer"`
	JWKSURI       string   `json:"jwks_uri"`
	ResponseTypes []string `json:"response_types_supported"`
	GrantTypes    []string `json:"grant_types_supported"`
	SubjectTypes  []string `json:"subject_types_supported"`
	Algorithms    []string `json:"id_token_signing_alg_values_supported"`
}

// Metadata is the document about an issuer.
func (p Place) Metadata(keys *signing.Set) []byte {
	origin, _, _ := p.locate()
	text, err := json.Marshal(metadata{p.Issuer, origin + p.JWKSPath, []string{}, []string{}, []string{"public"}, keys.Algorithms()})
	if err != nil { // texts always encode
		panic(err)
	}
	return text
}

// Endpoints serve the keys and the metadata; m is nil for tools that sign nothing.
func (p Place) Endpoints(m *Minter) []core.Endpoint {
	if p.JWKSPath == "" {
		return nil
	}
	_, path, _ := p.locate()
	keys := published{m, func() []byte { return m.options.Keys.JWKS(m.options.Now()) }}
	about := published{m, func() []byte { return p.Metadata(m.options.Keys) }}
	methods := []string{http.MethodGet, http.MethodOptions}
	return []core.Endpoint{
		{Path: p.JWKSPath, Methods: methods, Handler: keys},
		{Path: metadataBefore + path, Methods: methods, Handler: about},
		{Path: path + metadataBehind, Methods: methods, Handler: about},
	}
}

// published is a document for everybody, pages of other origins among them. A service
// that asks again after five minutes knows a new key long before it signs.
type published struct {
	by       *Minter
	document func() []byte
}

func (d published) Respond(_ context.Context, call *core.Call, _ []byte) (core.Response, error) {
	if d.by == nil {
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
