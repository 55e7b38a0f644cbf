package idp

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"time"

	"gatehouse/core/fair"
)

// Options of a Client. The zero value is safe and usable.
type Options struct {
	// Timeout bounds a call as a whole: waiting for a free slot, connecting,
	// and reading the response to its end. Default 3 s.
	Timeout time.Duration
	// MaxConcurrent is how many calls may be under way at once. A call beyond
	// it waits, within its timeout. Callers (core/fair) and the hosts that are called
	// have a fair share of them. Default 64.
	MaxConcurrent int
	// CAFile holds the certificates, as PEM, that sign the provider's own, in
	// place of the system's. Empty for the system's.
	CAFile string
	// Certificate is that of the gateway as a client, see ParseCertificate. nil: none.
	Certificate *tls.Certificate
	// InsecureSkipVerify accepts any certificate, so whoever is between here and
	// the provider can say who a caller is.
	InsecureSkipVerify bool
	// Observe is called after every call, for metrics: with the time it took, waiting
	// for a slot included, and whether there was a response. nil: none.
	Observe func(took time.Duration, err error)
	// What is called, for that line. Default: an identity provider.
	What string
	// Log gets a line when a host stops to respond and when it does again; nil: none.
	Log *slog.Logger
	// Now is the clock for the pauses that providers ask for. Default time.Now.
	Now func() time.Time
}

func (o Options) withDefaults() Options {
	if o.Timeout == 0 {
		o.Timeout = 3 * time.Second
	}
	if o.MaxConcurrent == 0 {
		o.MaxConcurrent = 64
	}
	if o.Observe == nil {
		o.Observe = func(time.Duration, error) {}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.What == "" {
		o.What = "an identity provider"
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return o
}

const (
	maxResponseHeader = 64 << 10
	idleTimeout       = 90 * time.Second
	// minWaiting is how many calls may wait for others to end, at least.
	minWaiting = 1024
)

// Client calls identity providers. It is safe for concurrent use; share one
// between all users of a provider, so that its limits hold.
type Client struct {
	http     *http.Client
	timeout  time.Duration
	slots    *fair.Slots
	observe  func(took time.Duration, err error)
	now      func() time.Time
	pauses   pauses
	breakers breakers
}

// New makes a client. Nothing is called yet.
func New(o Options) (*Client, error) {
	o = o.withDefaults()
	if o.Timeout < 0 {
		return nil, fmt.Errorf("timeout %s is negative", o.Timeout)
	}
	if o.MaxConcurrent < 0 {
		return nil, fmt.Errorf("%d concurrent calls is negative", o.MaxConcurrent)
	}
	trust, err := o.tls()
	if err != nil {
		return nil, err
	}
	slots, err := fair.NewSlots(fair.Options{Slots: o.MaxConcurrent, PerClient: fair.Share(o.MaxConcurrent, 3, 4), Waiting: max(minWaiting, o.MaxConcurrent)})
	if err != nil {
		return nil, err
	}
	// No proxy: credentials travel in these calls, and the environment does not
	// get to send them elsewhere.
	transport := &http.Transport{
		DialContext:            (&net.Dialer{Timeout: o.Timeout, KeepAlive: 30 * time.Second}).DialContext,
		TLSClientConfig:        trust,
		TLSHandshakeTimeout:    o.Timeout,
		ForceAttemptHTTP2:      true,
		MaxConnsPerHost:        o.MaxConcurrent,
		MaxIdleConns:           o.MaxConcurrent,
		MaxIdleConnsPerHost:    o.MaxConcurrent,
		IdleConnTimeout:        idleTimeout,
		MaxResponseHeaderBytes: maxResponseHeader,
		DisableCompression:     true, // the bound on a response counts the bytes that arrive
	}
	return &Client{
		http:     &http.Client{Transport: transport, CheckRedirect: stay},
		timeout:  o.Timeout,
		slots:    slots,
		observe:  o.Observe,
		now:      o.Now,
		breakers: breakers{log: o.Log, what: o.What},
	}, nil
}

// stay keeps a redirect as the response, which no caller takes for a good one.
func stay(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// ParseCertificate reads the certificate of the gateway as a client, with what leads to
// its authority, and the key, as PEM.
func ParseCertificate(chain, key string) (*tls.Certificate, error) {
	own, err := tls.X509KeyPair([]byte(chain), []byte(key))
	if err != nil {
		return nil, fmt.Errorf("client certificate: %w", err)
	}
	return &own, nil
}

func (o Options) tls() (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: o.InsecureSkipVerify}
	if o.Certificate != nil {
		// Whatever authorities the provider names: it says what is wrong with the
		// certificate, and not that there is none.
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return o.Certificate, nil }
	}
	if o.CAFile == "" {
		return config, nil
	}
	pem, err := os.ReadFile(o.CAFile)
	if err != nil {
		return nil, fmt.Errorf("CA file: %w", err)
	}
	config.RootCAs = x509.NewCertPool()
	if !config.RootCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("CA file %s holds no PEM certificate", o.CAFile)
	}
	return config, nil
}

// Close drops idle connections. Calls under way go on.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Response is a complete response, whatever its status.
type Response struct {
	Status int
	Header http.Header
	Body   []byte
	// From is the address that responded, as errors and logs may show it.
	From string
	// Delimited reports whether the response says where its body ends. A body without
	// such an end looks complete where it was cut short.
	Delimited bool
}

// Unexpected says that a provider responded with a status that is not expected,
// and where a redirect leads, which is not followed.
func (r *Response) Unexpected() error {
	if r.expectsTLS() {
		return fmt.Errorf("%s responds with status %d: it expects TLS there; write https", r.From, r.Status)
	}
	if r.Status < 300 || r.Status > 399 {
		return fmt.Errorf("%s responds with status %d", r.From, r.Status)
	}
	to := "nowhere"
	if u, err := url.Parse(r.Header.Get("Location")); err == nil && u.Path+u.Host != "" {
		to = "to " + Name(u)
	}
	return fmt.Errorf("%s responds with status %d, a redirect %s; redirects are not followed: configure the address that responds itself", r.From, r.Status, to)
}

// Do sends a request and reads the response, of at most limit bytes. It adds
// the client's timeout to the request's context.
func (c *Client) Do(req *http.Request, limit int64) (*Response, error) {
	ctx, cancel := context.WithTimeout(req.Context(), c.timeout)
	defer cancel()
	req = req.WithContext(ctx)
	req.Header.Set("User-Agent", "gatehouse")

	start := time.Now()
	response, err := c.do(req, limit)
	c.observe(time.Since(start), err)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", req.Method, Name(req.URL), c.explain(ctx, err))
	}
	return response, nil
}

func (c *Client) do(req *http.Request, limit int64) (*Response, error) {
	if err := req.Context().Err(); err != nil {
		return nil, err
	}
	b := c.breakers.of(req.URL.Host)
	if err := c.check(b, req); err != nil {
		return nil, err
	}
	leave, err := c.slots.Enter(req.Context(), req.URL.Host)
	if err != nil {
		return nil, err
	}
	defer leave()
	if err := c.pauses.check(req.URL.Host, c.now()); err != nil {
		return nil, err
	}
	if err := c.check(b, req); err != nil {
		return nil, err
	}
	return c.watch(b, req, limit, !fair.IsOnBehalf(req.Context()), nil)
}

var errTooLong = errors.New("the answer is longer than")

// exchange sends a request and reads the response.
func (c *Client) exchange(req *http.Request, limit int64) (*Response, error) {
	response, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	c.pauses.note(req.URL.Host, response, c.now())
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, limit+1))
	if err != nil {
		return nil, fmt.Errorf("read the answer: %w", err)
	}
	if int64(len(body)) > limit {
		return nil, fmt.Errorf("%w %d bytes", errTooLong, limit)
	}
	return &Response{Status: response.StatusCode, Header: response.Header, Body: body, From: Name(req.URL), Delimited: delimited(response)}, nil
}

// delimited tells a body with a length, in chunks or in frames from one that ends with
// its connection (RFC 9112 section 6.3).
func delimited(r *http.Response) bool {
	return r.ContentLength >= 0 || len(r.TransferEncoding) > 0 || r.ProtoMajor >= 2
}

// explain takes away what net/http adds: the full URL, which Do names itself
// and without a query.
func (c *Client) explain(ctx context.Context, err error) error {
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		err = wrapped.Err
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fmt.Errorf("no answer in time (http.timeout is %s): %w", c.timeout, err)
	}
	if hint := remedy(err); hint != "" {
		return fmt.Errorf("%w%s", err, hint)
	}
	return err
}
