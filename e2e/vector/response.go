package vector

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"gatehouse/dev/demo/upstream"
)

// Response is what came of a request.
type Response struct {
	Status int
	Header http.Header
	Body   []byte
	// Served says that the response comes from an upstream.
	Served bool
	// Upstream is what the upstream received; nil when it cannot be known, as
	// for HEAD.
	Upstream *upstream.Request
}

const (
	exchangeLimit = 20 * time.Second
	maxResponse   = 1 << 20
)

// Send sends the bytes to a gateway, by its host:port, and reads the response.
// A connection that ends without one gives a Response without a status.
func Send(ctx context.Context, address string, request []byte) (Response, error) {
	conn, err := (&net.Dialer{Timeout: exchangeLimit}).DialContext(ctx, "tcp", address)
	if err != nil {
		return Response{}, err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(exchangeLimit)); err != nil {
		return Response{}, err
	}
	return Exchange(conn, bufio.NewReader(conn), request)
}

// Exchange is Send over a connection that is there already.
func Exchange(conn io.Writer, in *bufio.Reader, request []byte) (Response, error) {
	// A gateway may respond and close before it has read everything.
	_, sendErr := conn.Write(request)
	method, _, _ := strings.Cut(string(request), " ")
	response, err := http.ReadResponse(in, &http.Request{Method: method})
	if err != nil {
		return Response{}, errorUnlessClosed(err, sendErr)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxResponse))
	if err != nil {
		return Response{}, fmt.Errorf("read the body of the response: %w", err)
	}
	return newResponse(response.StatusCode, response.Header, body), nil
}

func errorUnlessClosed(err, sendErr error) error {
	if sendErr != nil || err == io.ErrUnexpectedEOF || err == io.EOF || strings.Contains(err.Error(), "connection reset") {
		return nil
	}
	return fmt.Errorf("read the response: %w", err)
}

func newResponse(status int, header http.Header, body []byte) Response {
	a := Response{Status: status, Header: header, Body: body, Served: header.Get("X-Service") != ""}
	var received upstream.Request
	if a.Served && json.Unmarshal(body, &received) == nil && received.Service != "" {
		a.Upstream = &received
	}
	return a
}

// problem is the body of RFC 9457 that Gatehouse responds with.
type problem struct {
	Type, Title, Detail, Error string
	Status                     int
	RequestID                  string `json:"request_id"`
}

func (a Response) isOurs() bool { return a.Header.Get("Cache-Control") == "no-store" }

func (a Response) problem() (p problem, ok bool) {
	if a.Header.Get("Content-Type") != "application/problem+json" {
		return p, false
	}
	if len(a.Body) == 0 { // to HEAD
		return problem{Status: a.Status, Error: challengeCode(a.Header)}, true
	}
	decoder := json.NewDecoder(bytes.NewReader(a.Body))
	decoder.DisallowUnknownFields()
	return p, decoder.Decode(&p) == nil
}

// isEndpoint tells what an endpoint of the gate responds from the empty 200 with
// which a proxy itself responds to OPTIONS.
func (a Response) isEndpoint() bool {
	return a.Status == http.StatusNoContent || a.Status/100 == 2 && a.Header.Get("Content-Type") != ""
}

// Class is the decision that the response shows.
func (a Response) Class() Class {
	switch {
	case a.Status == 0:
		return Closed
	case a.Served:
		return Allow
	case a.Status == http.StatusFound && a.isOurs():
		return Login
	}
	p, isProblem := a.refused()
	switch {
	case a.isEndpoint() && !isProblem && !a.isOurs():
		return Endpoint
	case !isProblem || !a.isOurs():
		return gatewayClass(a.Status)
	}
	for class, r := range refusals {
		if p.Status == r.status && p.Error == r.code {
			return class
		}
	}
	return Class(fmt.Sprintf("problem %d %s", p.Status, p.Error))
}
