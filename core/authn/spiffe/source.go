package spiffe

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"

	"gatehouse/core/follow"
)

// Endpoint is a SPIFFE bundle endpoint (SPIFFE Federation section 5).
type Endpoint struct {
	URL string
	// ID is that of the server, for the profile https_spiffe; zero for https_web.
	ID spiffeid.ID
	// Initial vouches for the server of https_spiffe until a bundle was fetched.
	Initial Bundle
	// Roots vouch for the server of https_web; nil: the system's.
	Roots *x509.CertPool
	// Timeout bounds a call as a whole.
	Timeout time.Duration
	// Refresh is the longest time between two calls.
	Refresh time.Duration
	// Observe is called after every call.
	Observe func(took time.Duration, err error)
}

// CheckURL reports why a URL is none of a bundle endpoint.
func CheckURL(text string) error {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Host == "":
		return errors.New("is not a URL")
	case u.Scheme != "https":
		return errors.New("must begin with https: who changes a bundle on its way is believed from then on")
	case u.User != nil:
		return errors.New("holds a user, which the URL of a bundle endpoint must not (SPIFFE Federation section 5.2)")
	case u.Fragment != "":
		return errors.New("has a fragment")
	}
	return nil
}

const (
	// minRefresh is the least time between two calls, whatever a bundle asks for.
	minRefresh = time.Second
	// minKicked is the least time between two calls that unknown authorities cause.
	minKicked = 10 * time.Second
	// maxBackOff is the longest time between two calls that fail.
	maxBackOff = time.Minute
)

// endpoint fetches the bundle of a trust domain again and again.
type endpoint struct {
	Endpoint
	domain *domain
	client *http.Client
	// kicks has a channel to close for each caller who wants a call now.
	kicks chan chan struct{}
}

func newEndpoint(d *domain, o Endpoint) *endpoint {
	e := &endpoint{Endpoint: o, domain: d, kicks: make(chan chan struct{})}
	trust := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: o.Roots}
	if !o.ID.IsZero() {
		trust = tlsconfig.TLSClientConfig(e, tlsconfig.AuthorizeID(o.ID))
		trust.MinVersion = tls.VersionTLS12
	}
	e.client = &http.Client{
		Timeout: o.Timeout,
		Transport: &http.Transport{ // no proxy: the environment does not get to say whom to believe
			TLSClientConfig: trust, DialContext: (&net.Dialer{Timeout: o.Timeout}).DialContext, ForceAttemptHTTP2: true,
			DisableKeepAlives: true, MaxResponseHeaderBytes: 64 << 10, DisableCompression: true,
		},
		// Whoever a server names elsewhere would be believed (section 7.5.1).
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return e
}

// GetX509BundleForTrustDomain is what vouches for the server of https_spiffe: the last
// bundle that was fetched, else the initial one.
func (e *endpoint) GetX509BundleForTrustDomain(of spiffeid.TrustDomain) (*x509bundle.Bundle, error) {
	b := e.Initial.X509
	if s := e.domain.x509.state.Load(); s.has && of == e.domain.name {
		b = s.value
	}
	if of != e.ID.TrustDomain() {
		return nil, fmt.Errorf("the server of the bundle endpoint is of trust domain %s; expected %s", of, e.ID.TrustDomain())
	}
	return b, nil
}

// run fetches until the context ends.
func (e *endpoint) run(ctx context.Context) {
	for failures := 0; ; {
		wait, err := e.fetchOnce(ctx)
		if failures++; err == nil {
			failures = 0
		} else {
			wait = min(e.Refresh, maxBackOff, time.Second<<min(failures-1, 10))
		}
		if !e.sleep(ctx, wait) {
			return
		}
	}
}

// sleep waits for the next call to be due, or for a caller who wants one sooner.
func (e *endpoint) sleep(ctx context.Context, wait time.Duration) (goOn bool) {
	began := time.Now()
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return false
		case <-timer.C:
			return true
		case done := <-e.kicks:
			if time.Since(began) < min(minKicked, wait) {
				close(done) // the last call is too recent
				continue
			}
			_, _ = e.fetchOnce(ctx)
			close(done)
			began = time.Now()
		}
	}
}

// kick has the bundle fetched now, unless that happened a moment ago, and waits for it.
func (e *endpoint) kick(ctx context.Context) {
	done := make(chan struct{})
	select {
	case e.kicks <- done:
	case <-ctx.Done():
		return
	}
	select {
	case <-done:
	case <-ctx.Done():
	}
}

func (e *endpoint) fetchOnce(ctx context.Context) (wait time.Duration, err error) {
	began := time.Now()
	b, err := e.fetch(ctx)
	e.Observe(time.Since(began), err)
	if err != nil {
		e.domain.fail(fmt.Errorf("bundle endpoint %s: %w", e.URL, err))
		return 0, err
	}
	e.domain.confirm(b)
	if b.RefreshHint > 0 {
		return max(minRefresh, min(b.RefreshHint, e.Refresh)), nil
	}
	return e.Refresh, nil
}

func (e *endpoint) fetch(ctx context.Context) (Bundle, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, e.URL, nil)
	if err != nil {
		return Bundle{}, errors.New("is not a URL")
	}
	r.Header.Set("Accept", "application/json")
	response, err := e.client.Do(r)
	if err != nil {
		var reason *url.Error
		if errors.As(err, &reason) {
			err = reason.Err
		}
		return Bundle{}, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return Bundle{}, fmt.Errorf("responded %d; expected 200 with the bundle, redirects are not followed", response.StatusCode)
	}
	text, err := io.ReadAll(io.LimitReader(response.Body, MaxBundle+1))
	if err != nil {
		return Bundle{}, fmt.Errorf("its response: %w", err)
	}
	return ParseBundle(e.domain.name, text)
}

// file reads the bundle of a trust domain whenever its file changes.
type file struct {
	path   string
	domain *domain
	files  *follow.Files
	failed bool
	looks  int
}

// retryLooks is after how many looks an unchanged file that could not be read is tried again.
const retryLooks = 30

// ReadBundle reads a file with a bundle.
func ReadBundle(domain spiffeid.TrustDomain, path string) (Bundle, error) {
	f, err := os.Open(path)
	if err != nil {
		return Bundle{}, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, MaxBundle+1))
	if err != nil {
		return Bundle{}, err
	}
	return ParseBundle(domain, text)
}

func newFile(d *domain, path string) *file {
	f := &file{path: path, domain: d, files: follow.New(path)}
	f.read()
	return f
}

func (f *file) run(ctx context.Context) { follow.Every(ctx, follow.Interval, f.look) }

func (f *file) look() {
	f.looks++
	switch {
	case f.files.Changed(), f.failed && f.looks%retryLooks == 0:
		f.read()
	case !f.failed:
		f.domain.reconfirm()
	}
}

func (f *file) read() {
	var b Bundle
	var err error
	if !f.files.Read(func() { b, err = ReadBundle(f.domain.name, f.path) }) {
		return // it changes at this moment, and is read once it stands still
	}
	if f.failed = err != nil; f.failed {
		f.domain.fail(fmt.Errorf("bundle file: %w", err))
		return
	}
	f.domain.confirm(b)
}
