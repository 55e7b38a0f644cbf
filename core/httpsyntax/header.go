package httpsyntax

import "strings"

// Header is one header line. Lines keep the client's spelling, order and
// repeats, because each of those has been used to get past a gateway.
type Header struct {
	Name, Value string
}

// OpensTunnel reports whether a header line asks for an upgrade to h2c (RFC 7540
// section 3.2). If the upstream agrees, what follows on the connection is
// requests that were not decided on.
func (h Header) OpensTunnel() bool {
	return strings.EqualFold(h.Name, "Upgrade") && strings.Contains(strings.ToLower(h.Value), "h2c")
}
