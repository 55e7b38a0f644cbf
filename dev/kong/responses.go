package kong

import (
	"cmp"
	"fmt"
	"mime"
	"strconv"
	"strings"
	"time"

	"gatehouse/dev/front"
)

// serverName stands in Server and Via, where Kong puts its own name.
const serverName = "gatehouse-dev-kong"

// messages are the texts of Kong's own error responses.
var messages = map[int]string{
	400: "Bad request", 404: "Not found", 405: "Method not allowed", 408: "Request timeout", 411: "Length required",
	412: "Precondition failed", 413: "Payload too large", 414: "URI too long", 417: "Expectation failed",
	426: "Upgrade required", 494: "Request header or cookie too large", 500: "An unexpected error occurred",
	501: "Not implemented", 502: "An invalid response was received from the upstream server",
	503: "The upstream server is currently unavailable", 504: "The upstream server is timing out",
	505: "HTTP version not supported",
}

// errorBodies are Kong's templates: message, then request id.
var errorBodies = map[string]string{
	"application/json": "{\n  \"message\":\"%s\",\n  \"request_id\":\"%s\"\n}",
	"text/plain":       "%s\nrequest_id: %s\n",
	"text/html": "<!doctype html>\n<html>\n  <head>\n    <meta charset=\"utf-8\">\n    <title>Error</title>\n  </head>\n" +
		"  <body>\n    <h1>Error</h1>\n    <p>%s.</p>\n    <p>request_id: %s</p>\n  </body>\n</html>\n",
	"application/xml": "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<error>\n  <message>%s</message>\n  <requestid>%s</requestid>\n</error>\n",
}

// mediaRanges are what Kong reads wildcards as.
var mediaRanges = map[string]string{"*/*": "application/json", "application/*": "application/json", "text/*": "text/plain"}

// errorType picks the media type that the client prefers. An unknown one counts
// as JSON.
func errorType(accept, otherwise string) string {
	best, quality := otherwise, 0.0
	for part := range strings.SplitSeq(accept, ",") {
		typ, params, err := mime.ParseMediaType(strings.TrimSpace(part))
		if err != nil {
			continue
		}
		q, err := strconv.ParseFloat(params["q"], 64)
		if err != nil {
			q = 1
		}
		typ = cmp.Or(mediaRanges[typ], typ)
		if _, known := errorBodies[typ]; !known {
			typ = "application/json"
		}
		if q > quality {
			best, quality = typ, q
		}
	}
	return best
}

// runloopError is the response of Kong's own code, such as the router's.
func (g *Gateway) runloopError(r *front.Request, status int, message string) *front.OwnResponse {
	accept, _ := r.Header.Get("Accept")
	return g.errorResponse(r, status, message, errorType(accept, "application/json"))
}

// nginxError is the response of Kong's error handler, for what nginx reports.
func (g *Gateway) nginxError(r *front.Request, status int, message string) *front.OwnResponse {
	accept, ok := r.Header.Get("Accept")
	otherwise := "application/json"
	if !ok {
		accept, otherwise = "text/plain", "text/plain"
	}
	return g.errorResponse(r, status, message, errorType(accept, otherwise))
}

func (g *Gateway) errorResponse(r *front.Request, status int, message, typ string) *front.OwnResponse {
	body := fmt.Sprintf(errorBodies[typ], message, r.ID)
	header := front.Headers{{Name: "Date", Value: front.HTTPDate(g.now())}, {Name: "Content-Type", Value: typ + "; charset=utf-8"}, {Name: "Connection"}}
	return g.finish(r, &front.OwnResponse{Status: status, Header: header, Body: []byte(body)})
}

// finish adds the lines that Kong puts under a response that no upstream made.
func (g *Gateway) finish(r *front.Request, a *front.OwnResponse) *front.OwnResponse {
	a.Header.Set("Content-Length", strconv.Itoa(len(a.Body)))
	a.Header.Set("X-Kong-Response-Latency", latency(g.now().Sub(r.Started)))
	a.Header.Set("Server", serverName)
	a.Header.Set("X-Kong-Request-Id", r.ID)
	return a
}

func latency(d time.Duration) string { return strconv.FormatInt(max(0, d.Milliseconds()), 10) }

// refuse renders what the front refuses before any routing.
func (g *Gateway) refuse(r *front.Request, why *front.Refusal) *front.OwnResponse {
	message := messages[why.Status]
	if why.HeaderTooLarge {
		message = messages[494]
	}
	return g.nginxError(r, why.Status, message)
}
