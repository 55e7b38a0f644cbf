package apisix

import (
	"crypto/rand"
	"fmt"

	"go.yaml.in/yaml/v3"
)

func parseRequestID(r *reader, p *plugin, n *yaml.Node, path string) {
	c := requestID{name: "X-Request-Id", inResponse: true}
	algorithm := "uuid"
	r.plugin(p, n, path, map[string]field{
		"header_name": r.text(&c.name), "include_in_response": r.boolean(&c.inResponse), "algorithm": r.text(&algorithm),
	})
	if algorithm != "uuid" {
		r.problem(n, join(path, "algorithm"), "the local gateway knows uuid only")
	}
	p.rewrite, p.header = c.rewrite, c.header
}

// requestID gives a request the id that the client sent or, if it sent none, a
// new one. It becomes $apisix_request_id; $request_id stays nginx's own.
type requestID struct {
	name       string
	inResponse bool
}

func (c *requestID) rewrite(x *exchange) *reply {
	id, _ := x.header.Get(c.name)
	if id == "" {
		id = newUUID()
		x.setHeader(c.name, id)
	}
	x.requestID = id
	return nil
}

// header leaves an id that the upstream or another plugin gave.
func (c *requestID) header(x *exchange, head *responseHead) {
	if given, _ := head.header.Get(c.name); c.inResponse && given == "" {
		head.header.Set(c.name, x.requestID)
	}
}

// newUUID is a random one (RFC 9562 section 5.4).
func newUUID() string {
	var b [16]byte
	rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
