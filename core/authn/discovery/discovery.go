// Package discovery fetches what an authorization server says of itself: the documents of
// OpenID Connect Discovery 1.0 and of RFC 8414.
package discovery

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"gatehouse/core/authn/claims"
	"gatehouse/core/authn/idp"
)

const maxBytes = 128 << 10

// ErrNone is of a server that has no such document.
var ErrNone = errors.New("there is no discovery document")

// Fetch asks an issuer by OpenID Connect Discovery 1.0 section 4, and by RFC 8414 when that
// document is not there. The document names the very issuer (section 4.3).
func Fetch(ctx context.Context, client *idp.Client, issuer string) (claims.Set, error) {
	for _, address := range urls(issuer) {
		document, err := fetch(ctx, client, issuer, address)
		if document != nil || err != nil {
			return document, err
		}
	}
	return nil, fmt.Errorf("%w: %s are answered with status 404", ErrNone, strings.Join(urls(issuer), " and "))
}

// fetch returns nothing where the address is not found.
func fetch(ctx context.Context, client *idp.Client, issuer, address string) (claims.Set, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, errors.New("the issuer is not a URL")
	}
	req.Header.Set("Accept", "application/json")
	response, err := client.Do(req, maxBytes)
	switch {
	case err != nil:
		return nil, err
	case response.Status == http.StatusNotFound:
		return nil, nil
	case response.Status != http.StatusOK:
		return nil, fmt.Errorf("the discovery document: %w", response.Unexpected())
	}
	document, err := claims.Decode(response.Body)
	if err != nil {
		return nil, fmt.Errorf("%s: the discovery document %w", address, err)
	}
	if name, _ := document["issuer"].(string); name != issuer {
		return nil, fmt.Errorf("%s: the discovery document is about the issuer %.200q, not %.200q: issuer must be written exactly so", address, name, issuer)
	}
	return document, nil
}

// Address is one that a document names. Empty: it names none. Behind TLS, as the issuer is,
// are all.
func Address(document claims.Set, name, issuer string) (string, error) {
	text, err := document.Text(name)
	if err != nil || text == "" {
		return "", err
	}
	u, err := idp.ParseURL(text)
	if err != nil {
		return "", fmt.Errorf("has a %s %.200q that %w", name, text, err)
	}
	if strings.HasPrefix(issuer, "https:") && u.Scheme != "https" {
		return "", fmt.Errorf("has a %s, %s, that is not https, unlike the issuer", name, idp.Name(u))
	}
	return text, nil
}

// urls are the two places of a discovery document. One standard appends to the issuer's
// path, the other puts the well-known part before it.
func urls(issuer string) []string {
	trimmed := strings.TrimSuffix(issuer, "/")
	urls := []string{trimmed + "/.well-known/openid-configuration"}
	if u, err := url.Parse(trimmed); err == nil {
		urls = append(urls, u.Scheme+"://"+u.Host+"/.well-known/oauth-authorization-server"+u.EscapedPath())
	}
	return urls
}
