package authn

import (
	"bytes"
	"encoding/base64"
	"strings"
	"sync"

	"github.com/go-json-experiment/json/jsontext"

	"gatehouse/core"
)

// PeekIssuer reports whether a token has the shape of a JWT (RFC 7519): three
// parts in base64url of which the first is a JSON object with an alg. issuer
// is the iss it claims, which nobody has verified: good for choosing who
// verifies it and for nothing else. It is empty where the payload names none.
//
// It runs on every request with a token, so it reads no further than it must.
func PeekIssuer(token string) (issuer string, isJWT bool) {
	if len(token) > core.MaxCredential {
		return "", false
	}
	header, rest, _ := strings.Cut(token, ".")
	payload, signature, found := strings.Cut(rest, ".")
	if !found || signature == "" || strings.Contains(signature, ".") {
		return "", false
	}
	if peek(header, "alg") == "" {
		return "", false
	}
	return peek(payload, "iss"), true
}

// peeker is what peek needs each time.
type peeker struct {
	json    jsontext.Decoder
	input   bytes.Buffer
	decoded []byte
}

var peekers = sync.Pool{New: func() any { return new(peeker) }}

// peek returns a member of the object that is encoded in a part, if it is
// there and is a string.
func peek(part, member string) string {
	p := peekers.Get().(*peeker)
	defer peekers.Put(p)
	var err error
	p.decoded, err = base64.RawURLEncoding.AppendDecode(p.decoded[:0], []byte(part))
	if err != nil {
		return ""
	}
	defer clear(p.decoded) // a pool is no place for claims
	p.input = *bytes.NewBuffer(p.decoded)
	p.json.Reset(&p.input)
	return p.find(member)
}

func (p *peeker) find(member string) string {
	if start, err := p.json.ReadToken(); err != nil || start.Kind() != '{' {
		return ""
	}
	for p.json.PeekKind() == '"' {
		name, err := p.json.ReadToken()
		if err != nil {
			return ""
		}
		if name.String() != member {
			if p.json.SkipValue() != nil {
				return ""
			}
			continue
		}
		value, err := p.json.ReadToken()
		if err != nil || value.Kind() != '"' {
			return ""
		}
		return value.String()
	}
	return ""
}
