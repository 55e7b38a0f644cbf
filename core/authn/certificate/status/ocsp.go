package status

import (
	"bytes"
	"context"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"golang.org/x/crypto/ocsp"
	"golang.org/x/sync/singleflight"
)

// ResponderOptions are those of Responders.
type ResponderOptions struct {
	// URL of the responder for all certificates; empty: the one that each certificate names.
	URL string
	// Timeout bounds one request.
	Timeout time.Duration
	// MaxCalls is how many requests may be under way at once. Default 16.
	MaxCalls int
	// Observe is called after every request.
	Observe func(took time.Duration, err error)
}

// Responders are asked whether a certificate was revoked. What they have answered is
// remembered until they answer anew.
type Responders struct {
	options ResponderOptions
	client  *http.Client
	slots   chan struct{}
	calls   singleflight.Group
	mutex   sync.Mutex
	known   map[string]answer
}

const (
	maxResponse = 64 << 10
	maxKnown    = 10_000
	// undated is how long a response counts that does not say it, and longest how long any
	// one does.
	undated = time.Minute
	longest = 24 * time.Hour
	// failedFor is how long it is remembered that a responder could not tell.
	failedFor = 5 * time.Second
)

// NewResponders makes Responders.
func NewResponders(o ResponderOptions) *Responders {
	if o.MaxCalls == 0 {
		o.MaxCalls = 16
	}
	if o.Observe == nil {
		o.Observe = func(time.Duration, error) {}
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxResponseHeaderBytes = maxResponse
	return &Responders{
		options: o, slots: make(chan struct{}, o.MaxCalls), known: map[string]answer{},
		client: &http.Client{Timeout: o.Timeout, Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse // the certificate names who is asked, and nobody else does
		}},
	}
}

// ask says what is stapled, remembered or answered of a certificate. A staple that does not
// hold counts as none.
func (r *Responders) ask(ctx context.Context, c, issuer *x509.Certificate, staple []byte, now time.Time) answer {
	if len(staple) > 0 && len(staple) <= maxResponse {
		if a := read(staple, c, issuer, now); a.status != unknown {
			return a
		}
	}
	sum := sha256.Sum256(issuer.Raw)
	key := string(sum[:]) + string(c.SerialNumber.Bytes())
	if a, ok := r.recall(key, now); ok {
		return a
	}
	done := r.calls.DoChan(key, func() (any, error) {
		a := r.request(context.WithoutCancel(ctx), c, issuer, now)
		r.keep(key, a, now)
		return a, nil
	})
	select {
	case result := <-done:
		return result.Val.(answer)
	case <-ctx.Done():
		return answer{reason: ctx.Err()}
	}
}

func (r *Responders) recall(key string, now time.Time) (answer, bool) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	a, ok := r.known[key]
	return a, ok && now.Before(a.until)
}

// keep remembers an answer; that nobody could tell for a moment, so that a responder which
// is down costs few requests its timeout.
func (r *Responders) keep(key string, a answer, now time.Time) {
	if a.status == unknown {
		a.until = now.Add(failedFor)
	}
	r.mutex.Lock()
	defer r.mutex.Unlock()
	if len(r.known) >= maxKnown {
		for k, old := range r.known {
			if !now.Before(old.until) {
				delete(r.known, k)
			}
		}
	}
	for k := range r.known {
		if len(r.known) < maxKnown {
			break
		}
		delete(r.known, k)
	}
	r.known[key] = a
}

func (r *Responders) request(ctx context.Context, c, issuer *x509.Certificate, now time.Time) answer {
	ctx, cancel := context.WithTimeout(ctx, r.options.Timeout)
	defer cancel()
	target, err := r.target(c)
	if err != nil {
		return answer{reason: err}
	}
	select {
	case r.slots <- struct{}{}:
		defer func() { <-r.slots }()
	case <-ctx.Done():
		return answer{reason: errors.New("too many requests to OCSP responders are under way")}
	}
	begin := time.Now()
	response, err := r.post(ctx, target, c, issuer)
	r.options.Observe(time.Since(begin), err)
	if err != nil {
		return answer{reason: fmt.Errorf("the OCSP responder %s: %w", target, err)}
	}
	return read(response, c, issuer, now)
}

// target is the responder of a certificate.
func (r *Responders) target(c *x509.Certificate) (string, error) {
	if r.options.URL != "" {
		return r.options.URL, nil
	}
	for _, text := range c.OCSPServer {
		if u, err := url.Parse(text); err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" && u.User == nil {
			return text, nil
		}
	}
	return "", errors.New("the certificate names no OCSP responder")
}

func (r *Responders) post(ctx context.Context, target string, c, issuer *x509.Certificate) ([]byte, error) {
	body, err := ocsp.CreateRequest(c, issuer, nil)
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, target, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/ocsp-request")
	request.Header.Set("Accept", "application/ocsp-response")
	response, err := r.client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("status %d", response.StatusCode)
	}
	text, err := io.ReadAll(io.LimitReader(response.Body, maxResponse+1))
	if err == nil && len(text) > maxResponse {
		err = fmt.Errorf("more than %d bytes", maxResponse)
	}
	return text, err
}

// read checks a response: signed by the issuer, or by whom the issuer has charged with that,
// about this certificate, and of now.
func read(der []byte, c, issuer *x509.Certificate, now time.Time) answer {
	r, err := ocsp.ParseResponseForCert(der, c, issuer)
	if err != nil {
		return answer{reason: fmt.Errorf("the OCSP response: %w", err)}
	}
	end := r.NextUpdate
	if end.IsZero() {
		end = r.ThisUpdate.Add(undated)
	}
	switch {
	case !isCharged(r.Certificate, issuer, now):
		return answer{reason: errors.New("the OCSP response is signed by a certificate that is not for that (id-kp-OCSPSigning)")}
	case !isAbout(r.TBSResponseData, c, issuer):
		return answer{reason: errors.New("the OCSP response is about a certificate of another authority")}
	case now.Add(skew).Before(r.ThisUpdate):
		return answer{reason: errors.New("the OCSP response is of the future")}
	case !now.Before(end):
		return answer{reason: fmt.Errorf("the OCSP response is out of date since %s", end.UTC().Format(time.RFC3339))}
	}
	if limit := now.Add(longest); limit.Before(end) {
		end = limit
	}
	switch r.Status {
	case ocsp.Good:
		return answer{status: good, until: end}
	case ocsp.Revoked:
		return answer{status: revoked, until: end, reason: fmt.Errorf("the OCSP responder says so, since %s", r.RevokedAt.UTC().Format(time.RFC3339))}
	}
	return answer{status: revoked, until: end, reason: errors.New("the OCSP responder knows of no such certificate")}
}

// isCharged reports whether the certificate in a response may have signed it (RFC 6960 section
// 4.2.2.2); the issuer itself needs none. That the issuer has signed it is verified.
func isCharged(signer, issuer *x509.Certificate, now time.Time) bool {
	if signer == nil || bytes.Equal(signer.Raw, issuer.Raw) {
		return true
	}
	return slices.Contains(signer.ExtKeyUsage, x509.ExtKeyUsageOCSPSigning) && !now.Before(signer.NotBefore) && !now.After(signer.NotAfter)
}

// responseData is ResponseData of RFC 6960 section 4.2.1 as far as it says about whom it is.
type responseData struct {
	Version     int `asn1:"optional,default:0,explicit,tag:0"`
	ResponderID asn1.RawValue
	ProducedAt  time.Time `asn1:"generalized"`
	Responses   []struct {
		ID struct {
			Algorithm         pkix.AlgorithmIdentifier
			NameHash, KeyHash []byte
			Serial            *big.Int
		}
		Status     asn1.RawValue
		ThisUpdate time.Time        `asn1:"generalized"`
		NextUpdate time.Time        `asn1:"generalized,explicit,tag:0,optional"`
		Extensions []pkix.Extension `asn1:"explicit,tag:1,optional"`
	}
	Extensions []pkix.Extension `asn1:"explicit,tag:1,optional"`
}

var hashes = map[string]crypto.Hash{"1.3.14.3.2.26": crypto.SHA1, "2.16.840.1.101.3.4.2.1": crypto.SHA256, "2.16.840.1.101.3.4.2.2": crypto.SHA384, "2.16.840.1.101.3.4.2.3": crypto.SHA512}

// isAbout reports whether the part of a response that was read, the first one with the serial
// number of a certificate, is about one of the issuer. golang.org/x/crypto/ocsp compares the
// number alone.
func isAbout(data []byte, c, issuer *x509.Certificate) bool {
	var parsed responseData
	if _, err := asn1.Unmarshal(data, &parsed); err != nil {
		return false
	}
	var key struct {
		Algorithm pkix.AlgorithmIdentifier
		Key       asn1.BitString
	}
	if _, err := asn1.Unmarshal(issuer.RawSubjectPublicKeyInfo, &key); err != nil {
		return false
	}
	for _, one := range parsed.Responses {
		if one.ID.Serial == nil || one.ID.Serial.Cmp(c.SerialNumber) != 0 {
			continue
		}
		hash, ok := hashes[one.ID.Algorithm.Algorithm.String()]
		if !ok || !hash.Available() {
			return false
		}
		of := func(text []byte) []byte { h := hash.New(); h.Write(text); return h.Sum(nil) }
		return bytes.Equal(one.ID.NameHash, of(issuer.RawSubject)) && bytes.Equal(one.ID.KeyHash, of(key.Key.RightAlign()))
	}
	return false
}
