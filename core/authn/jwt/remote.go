package jwt

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"gatehouse/core"
	"gatehouse/core/authn/discovery"
	"gatehouse/core/authn/idp"
	"gatehouse/core/authn/jws"
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

func (r *remoteKeys) find(ctx context.Context, kid, alg string) ([]*jws.Key, error) {
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
func (r *remoteKeys) replaced(ctx context.Context, kid, alg string, tried []*jws.Key) ([]*jws.Key, error) {
	if kid != "" && slices.ContainsFunc(tried, func(k *jws.Key) bool { return k.ID == kid }) {
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

// discover asks the issuer where its keys are.
func (r *remoteKeys) discover(ctx context.Context) (jwksURI string, err error) {
	document, err := discovery.Fetch(ctx, r.client, r.issuer.Issuer)
	switch {
	case errors.Is(err, discovery.ErrNone):
		return "", fmt.Errorf("%w; set jwks_uri", err)
	case err != nil:
		return "", err
	}
	address, err := discovery.Address(document, "jwks_uri", r.issuer.Issuer)
	switch {
	case err != nil:
		return "", fmt.Errorf("the discovery document %w", err)
	case address == "":
		return "", errors.New("the discovery document has no jwks_uri")
	}
	return address, nil
}
