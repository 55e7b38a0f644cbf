package oidc

import (
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"

	"gatehouse/core/authn/clientauth"
)

// authenticated is a transport that authenticates the client in every request, which
// is a form.
type authenticated struct {
	to     http.RoundTripper
	client *clientauth.Client
}

// audienceKey has the audience of client assertions in a context.
type audienceKey struct{}

// RoundTrip adds what the method wants.
func (a *authenticated) RoundTrip(req *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(req.Body)
	req.Body.Close()
	if err != nil {
		return nil, err
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, errors.New("the request is not a form")
	}
	req = req.Clone(req.Context())
	if a.client.Method() == clientauth.SecretBasic && form.Has("grant_type") { // a pushed request has it as a parameter of its own
		form.Del("client_id")
	}
	audience, _ := req.Context().Value(audienceKey{}).(string)
	if err := a.client.Authenticate(req.Header, form, audience); err != nil {
		return nil, err
	}
	text := form.Encode()
	req.Body, req.ContentLength = io.NopCloser(strings.NewReader(text)), int64(len(text))
	req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(text)), nil }
	return a.to.RoundTrip(req)
}
