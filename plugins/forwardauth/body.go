package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"

	"gatehouse/core"
)

// partialBody is the header by which Envoy says that it has sent only a part of a body.
const partialBody = "X-Envoy-Auth-Partial-Body"

// maxSentBody is how much of a body a CheckRequest may hold: as much as mcp_max_body may be.
const maxSentBody = 4 << 20

var errPartial = fmt.Errorf("%w: the proxy sends only a part of it (%s); let it send more, and none in part", core.ErrBodyTooLarge, partialBody)

// wholeBody reads the body that came with an auth request, at most one byte more than the
// limit.
func wholeBody(r *http.Request, limit int) ([]byte, error) {
	if strings.Join(r.Header.Values(partialBody), ",") == "true" {
		return nil, errPartial
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, int64(limit)+1))
	if err != nil {
		return nil, fmt.Errorf("%w: the body: %w", core.ErrBadRequest, err)
	}
	return body, nil
}

// rawBody is that of a CheckRequest. The field for texts holds other bytes than the client
// sent where these are no UTF-8.
func rawBody(r *authv3.AttributeContext_HttpRequest) ([]byte, error) {
	if partial, _ := header(r, strings.ToLower(partialBody)); partial == "true" {
		return nil, errPartial
	}
	if r.GetBody() != "" {
		return nil, errors.New("Envoy sends the body as text; set pack_as_bytes: true in with_request_body")
	}
	return r.GetRawBody(), nil
}
