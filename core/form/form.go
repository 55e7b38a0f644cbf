// Package form gives a refusal the form that its client reads: a problem document
// for programs, a page for people, and the error of their protocol for clients of
// gRPC, gRPC-Web and Connect.
package form

import (
	"net/http"
	"strconv"
	"strings"

	"gatehouse/core/httpsyntax"
)

// Form is how a client wants to read a refusal.
type Form int

const (
	// Problem is a document of RFC 9457.
	Problem Form = iota
	// Page is one for a person in a browser.
	Page
	// GRPC is a response of headers alone, with the status in grpc-status.
	GRPC
	// GRPCWeb is the same.
	GRPCWeb
	// Connect is the error of a unary call: a document of JSON.
	Connect
	// ConnectStream is the error of a stream: a message that ends it.
	ConnectStream
)

// Of chooses the form by what a request says of itself. Calls of gRPC, gRPC-Web and
// Connect are POST, but for one kind of Connect: a proxy or a cache that sends another
// method with the headers of a client must not read a success out of a refusal.
func Of(method, target string, header []httpsyntax.Header) Form {
	if kind, ok := lookup(header, "Content-Type"); ok && method == http.MethodPost {
		if f := ofContentType(mediaType(kind), header); f != Problem {
			return f
		}
	}
	switch {
	case wantsPage(header):
		return Page
	case method == http.MethodGet && isConnectGet(target):
		return Connect
	}
	return Problem
}

func ofContentType(kind string, header []httpsyntax.Header) Form {
	_, versioned := lookup(header, "Connect-Protocol-Version")
	switch family, _, _ := strings.Cut(kind, "+"); {
	case family == "application/grpc":
		return GRPC
	case family == "application/grpc-web", family == "application/grpc-web-text":
		return GRPCWeb
	case family == "application/connect" && family != kind:
		return ConnectStream
	case family == "application/proto", versioned && strings.HasPrefix(kind, "application/"):
		return Connect
	}
	return Problem
}

// isConnectGet finds the unary calls that Connect makes by GET.
func isConnectGet(target string) bool {
	_, query, _ := strings.Cut(target, "?")
	for pair := range strings.SplitSeq(query, "&") {
		if pair == "connect=v1" {
			return true
		}
	}
	return false
}

// InBand tells that the client reads the refusal in headers or body and wants 200 as
// the status of HTTP. Only a host whose response goes to the client itself may send
// that: to a proxy that asks by an auth request it is an admission.
func (f Form) InBand() bool { return f == GRPC || f == GRPCWeb || f == ConnectStream }

// Navigates reports whether a browser asks for a page to show, the only case in which
// sending it to another page helps: a script would take that for the response, and a
// form would lose what was filled in.
func Navigates(method, target string, header []httpsyntax.Header) bool {
	return (method == http.MethodGet || method == http.MethodHead) && Of(method, target, header) == Page
}

// wantsPage reports whether a browser will show the response to a person. Scripts say
// that they are none by Sec-Fetch-Mode, older ones by X-Requested-With.
func wantsPage(header []httpsyntax.Header) bool {
	if !prefersHTML(header) {
		return false
	}
	if mode, ok := lookup(header, "Sec-Fetch-Mode"); ok && !strings.EqualFold(mode, "navigate") {
		return false
	}
	if place, ok := lookup(header, "Sec-Fetch-Dest"); ok && !isFrame(place) {
		return false
	}
	_, upgrades := lookup(header, "Upgrade")
	with, _ := lookup(header, "X-Requested-With")
	return !upgrades && !strings.EqualFold(with, "XMLHttpRequest")
}

// isFrame knows the destinations that show a document (Fetch Standard, 2.2.5).
func isFrame(destination string) bool {
	switch strings.ToLower(destination) {
	case "document", "iframe", "frame", "fencedframe", "embed", "object":
		return true
	}
	return false
}

// prefersHTML reads Accept (RFC 9110 section 12.5.1). A client prefers HTML that names
// it, and gives nothing else that could be sent a higher weight, nor JSON the same.
func prefersHTML(header []httpsyntax.Header) bool {
	var html, json, others float64
	for _, h := range header {
		if !strings.EqualFold(h.Name, "Accept") {
			continue
		}
		for part := range strings.SplitSeq(h.Value, ",") {
			kind, parameters, _ := strings.Cut(part, ";")
			switch kind = strings.ToLower(strings.Trim(kind, " \t")); {
			case kind == "text/html", kind == "application/xhtml+xml":
				html = max(html, weight(parameters))
			case kind == "application/json", strings.HasSuffix(kind, "+json"):
				json = max(json, weight(parameters))
			case strings.HasSuffix(kind, "/*"):
				others = max(others, weight(parameters))
			}
		}
	}
	return html > 0 && html > json && html >= others
}

// weight is 1 where there is none, and 0 where it is malformed.
func weight(parameters string) float64 {
	for parameter := range strings.SplitSeq(parameters, ";") {
		name, value, _ := strings.Cut(strings.Trim(parameter, " \t"), "=")
		if !strings.EqualFold(name, "q") {
			continue
		}
		if q, err := strconv.ParseFloat(value, 64); err == nil && q >= 0 && q <= 1 {
			return q
		}
		return 0
	}
	return 1
}

func lookup(header []httpsyntax.Header, name string) (value string, ok bool) {
	for i := range header {
		if strings.EqualFold(header[i].Name, name) {
			return header[i].Value, true
		}
	}
	return "", false
}

// mediaType is a Content-Type without parameters, in lower case.
func mediaType(value string) string {
	kind, _, _ := strings.Cut(value, ";")
	return strings.ToLower(strings.Trim(kind, " \t"))
}
