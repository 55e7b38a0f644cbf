package jwt

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"gatehouse/core"
	"gatehouse/core/authn/claims"
	"gatehouse/core/authn/idp"
)

// remoteKeys are the keys that an issuer publishes.
type remoteKeys struct {
	issuer Issuer
	client *idp.Client
	kept   idp.Kept[*keySet]
}

func newRemoteKeys(issuer Issuer, client *idp.Client, log *slog.Logger, now func() time.Time) *remoteKeys {
	r := &remoteKeys{issuer: issuer, client: client}
	r.kept = idp.Kept[*keySet]{
		Fetch: r.fetch, RefreshAfter: issuer.RefreshAfter, MaxAge: issuer.MaxAge, MinInterval: issuer.MinInterval,
		Log: log, Failure: "cannot fetch the keys of an issuer", Issuer: issuer.Issuer, Now: now,
	}
	return r
}

// ready is for health checks, which must neither wait nor hammer an issuer.
func (r *remoteKeys) ready() bool { return r.kept.Ready() }

// errNoKey names the key that a token wants and those that there are.
func errNoKey(kid, alg string, set *keySet) error {
	wanted := "no key"
	if kid != "" {
		wanted = fmt.Sprintf("no key %.80q", kid)
	}
	return fmt.Errorf("%w: the issuer has %s for %.20q; it has %s", core.ErrInvalid, wanted, alg, set)
}

func (r *remoteKeys) find(ctx context.Context, kid, alg string) ([]*key, error) {
	if set, ok := r.kept.Usable(); ok {
		found, known := set.candidates(kid, alg)
		if len(found) > 0 {
			return found, nil
		}
		if known {
			return nil, errNoKey(kid, alg, set)
		}
	}
	set, err := r.kept.Refreshed(ctx)
	if err != nil {
		return nil, fmt.Errorf("keys of issuer %s: %w", r.issuer.Issuer, err)
	}
	found, known := set.candidates(kid, alg)
	switch {
	case len(found) > 0:
		return found, nil
	case known:
		return nil, errNoKey(kid, alg, set)
	}
	return nil, fmt.Errorf("%w (%w)", errNoKey(kid, alg, set), core.ErrUnsettled)
}

// replaced looks for newer keys where a token does not say which key signed it,
// or no key says which it is.
func (r *remoteKeys) replaced(ctx context.Context, kid, alg string, tried []*key) ([]*key, error) {
	if kid != "" && slices.ContainsFunc(tried, func(k *key) bool { return k.id == kid }) {
		return nil, nil
	}
	set, err := r.kept.Refreshed(ctx)
	if err != nil {
		return nil, fmt.Errorf("newer keys of issuer %s: %w", r.issuer.Issuer, err)
	}
	found, _ := set.candidates(kid, alg)
	return found, nil
}

func (r *remoteKeys) fetch(ctx context.Context) (*keySet, error) {
	address := r.issuer.JWKSURL
	if address == "" {
		discovered, err := r.discover(ctx)
		if err != nil {
			return nil, err
		}
		address = discovered
	}
	response, err := r.get(ctx, address, "application/jwk-set+json, application/json", maxJWKSBytes)
	if err != nil {
		return nil, err
	}
	if response.Status != http.StatusOK {
		return nil, fmt.Errorf("the JWKS: %w", response.Unexpected())
	}
	set, err := parseJWKS(response.Body, r.issuer.Algorithms)
	if err != nil {
		if kind := response.Header.Get("Content-Type"); !strings.Contains(kind, "json") {
			return nil, fmt.Errorf("%s: %w; its Content-Type is %.60q: is it the JWKS?", response.From, err, kind)
		}
		return nil, fmt.Errorf("%s: %w", response.From, err)
	}
	return set, nil
}

func (r *remoteKeys) get(ctx context.Context, address, accept string, limit int64) (*idp.Response, error) {
	u, err := idp.ParseURL(address)
	if err != nil {
		return nil, fmt.Errorf("the JWKS address %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, errors.New("the JWKS address is not a URL")
	}
	req.Header.Set("Accept", accept)
	return r.client.Do(req, limit)
}

const maxDiscoveryBytes = 128 << 10

// discover asks the issuer where its keys are: by OpenID Connect Discovery
// 1.0 section 4, and by RFC 8414 when that document is not there.
func (r *remoteKeys) discover(ctx context.Context) (jwksURI string, err error) {
	for _, address := range discoveryURLs(r.issuer.Issuer) {
		response, err := r.get(ctx, address, "application/json", maxDiscoveryBytes)
		if err != nil {
			return "", err
		}
		if response.Status == http.StatusNotFound {
			continue
		}
		if response.Status != http.StatusOK {
			return "", fmt.Errorf("the discovery document: %w", response.Unexpected())
		}
		uri, err := r.readDiscovery(response.Body)
		if err != nil {
			return "", fmt.Errorf("%s: %w", address, err)
		}
		return uri, nil
	}
	return "", fmt.Errorf("there is no discovery document: %s are answered with status 404; set jwks_uri", strings.Join(discoveryURLs(r.issuer.Issuer), " and "))
}

// readDiscovery returns jwks_uri. The document must name the very issuer
// (OpenID Connect Discovery 1.0 section 4.3), and keys for an issuer behind
// TLS are not fetched without it.
func (r *remoteKeys) readDiscovery(body []byte) (string, error) {
	document, err := claims.Decode(body)
	if err != nil {
		return "", fmt.Errorf("the discovery document %w", err)
	}
	if name, _ := document["issuer"].(string); name != r.issuer.Issuer {
		return "", fmt.Errorf("the discovery document is about the issuer %.200q, not %.200q: issuer must be written exactly so", name, r.issuer.Issuer)
	}
	address, _ := document["jwks_uri"].(string)
	u, err := idp.ParseURL(address)
	if err != nil {
		return "", fmt.Errorf("the discovery document's jwks_uri %.200q %w", address, err)
	}
	if strings.HasPrefix(r.issuer.Issuer, "https:") && u.Scheme != "https" {
		return "", fmt.Errorf("the discovery document's jwks_uri %s is not https, unlike the issuer", idp.Name(u))
	}
	return address, nil
}

// discoveryURLs are the two places of a discovery document. One standard
// appends to the issuer's path, the other puts the well-known part before it.
func discoveryURLs(issuer string) []string {
	trimmed := strings.TrimSuffix(issuer, "/")
	urls := []string{trimmed + "/.well-known/openid-configuration"}
	if u, err := url.Parse(trimmed); err == nil {
		urls = append(urls, u.Scheme+"://"+u.Host+"/.well-known/oauth-authorization-server"+u.EscapedPath())
	}
	return urls
}
