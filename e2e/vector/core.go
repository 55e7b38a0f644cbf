package vector

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"gatehouse/core"
	"gatehouse/core/httpsyntax"
	"gatehouse/dev/demo/upstream"
)

// Request reads the head of raw bytes as a host hands it to the engine:
// nothing decoded, trimmed of white space around values. An error says why no
// server may accept them (RFC 9112).
func Request(raw []byte) (*core.Request, error) {
	head, _, _ := strings.Cut(string(raw), "\r\n\r\n")
	lines := strings.Split(strings.ReplaceAll(head, "\r\n", "\n"), "\n")
	method, rest, ok := strings.Cut(lines[0], " ")
	end := strings.LastIndexByte(rest, ' ')
	if !ok || end < 0 {
		return nil, fmt.Errorf("the request line %q has not three parts", lines[0])
	}
	r := &core.Request{Method: method, Target: rest[:end]}
	for _, line := range lines[1:] {
		name, value, ok := strings.Cut(line, ":")
		if !ok || name == "" || strings.ContainsAny(name, " \t") {
			return nil, fmt.Errorf("%q is no header line", line)
		}
		r.Header = append(r.Header, core.Header{Name: name, Value: strings.Trim(value, " \t")})
	}
	return r, checkFraming(r)
}

// checkFraming refuses what two servers could take for two requests, or for
// one to two hosts.
func checkFraming(r *core.Request) error {
	var hosts int
	r.Host, hosts = r.Lookup("Host")
	r.Target = httpsyntax.OriginForm(r.Target, r.Host)
	_, lengths := r.Lookup("Content-Length")
	_, encodings := r.Lookup("Transfer-Encoding")
	if hosts != 1 || lengths+encodings > 1 {
		return fmt.Errorf("%d Host, %d Content-Length, %d Transfer-Encoding", hosts, lengths, encodings)
	}
	return nil
}

// Route finds the gate and the name of the upstream for a request target.
type Route func(target string) (*core.Gate, string)

// Decide decides by the engine in process, and responds as the plainest gateway
// would: it removes and sets the headers of the decision and passes the
// request on to the upstream.
func Decide(ctx context.Context, raw []byte, route Route) Response {
	r, err := Request(raw)
	if err != nil {
		return Response{Status: http.StatusBadRequest, Header: http.Header{}}
	}
	gate, service := route(r.Target)
	d := gate.Check(ctx, r)
	if d.Outcome == core.Allow {
		return Response{Status: http.StatusOK, Header: http.Header{}, Served: true, Upstream: passOn(r, d, service)}
	}
	a := Response{Status: d.ClientStatus(), Header: http.Header{}, Body: d.Body}
	for _, h := range d.Header {
		a.Header.Add(h.Name, h.Value)
	}
	return a
}

func passOn(r *core.Request, d core.Decision, service string) *upstream.Request {
	headers := slices.Clone(r.Header)
	remove := func(name string) {
		headers = slices.DeleteFunc(headers, func(h core.Header) bool { return strings.EqualFold(h.Name, name) })
	}
	for _, name := range d.Strip {
		remove(name)
	}
	for _, h := range d.Set {
		remove(h.Name)
	}
	headers = append(headers, d.Set...)
	received := &upstream.Request{Service: service, Method: r.Method, Target: cmp.Or(d.Target, r.Target)}
	for _, h := range headers {
		received.Headers = append(received.Headers, h.Name+": "+h.Value)
	}
	return received
}
