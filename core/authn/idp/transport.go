package idp

import (
	"bytes"
	"io"
	"net/http"
)

// Transport makes the calls of a library as Do makes them.
type Transport struct {
	Client *Client
	// Limit is the most bytes of a response.
	Limit int64
}

var _ http.RoundTripper = Transport{}

// RoundTrip returns a response that has been read to its end.
func (t Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Body != nil {
		defer req.Body.Close()
	}
	r, err := t.Client.Do(req.Clone(req.Context()), t.Limit)
	if err != nil {
		return nil, err
	}
	return &http.Response{
		StatusCode: r.Status, Status: http.StatusText(r.Status), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: r.Header, Body: io.NopCloser(bytes.NewReader(r.Body)), ContentLength: int64(len(r.Body)), Request: req,
	}, nil
}

// HTTP is a client of a library that makes its calls by t and follows no redirect.
func HTTP(t http.RoundTripper) *http.Client { return &http.Client{Transport: t, CheckRedirect: stay} }
