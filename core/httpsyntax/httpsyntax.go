// Package httpsyntax is the one home of the HTTP syntax that several packages
// must read alike: a host, the engine and a tool that see different header
// names or targets in one request would be a way past the gateway.
package httpsyntax

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
)

// IsToken reports whether a text is a token of RFC 9110 section 5.6.2: the
// form of methods, header names and cookie names.
func IsToken(text string) bool {
	for i := 0; i < len(text); i++ {
		if c := text[i]; !IsAlphanumeric(c) && strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0 {
			return false
		}
	}
	return text != ""
}

// IsAlphanumeric reports whether a byte is an ASCII letter or digit.
func IsAlphanumeric(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

// Fold is the form in which the most forgiving upstream compares header names:
// lower case, with everything but letters and digits alike. CGI (RFC 3875
// section 4.1.18) and its heirs read X_User-Id and x-user-id as one variable.
func Fold(name string) string {
	folded := []byte(name)
	for i := range folded {
		folded[i] = foldByte(folded[i])
	}
	return string(folded)
}

// FoldEqual is Fold(a) == Fold(b) without the two copies.
func FoldEqual(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := 0; i < len(a); i++ {
		if foldByte(a[i]) != foldByte(b[i]) {
			return false
		}
	}
	return true
}

func foldByte(c byte) byte {
	switch {
	case 'A' <= c && c <= 'Z':
		return c + 'a' - 'A'
	case !IsAlphanumeric(c):
		return '-'
	}
	return c
}

// IsHex reports whether a byte is a hexadecimal digit.
func IsHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

// HexByte is the byte that two hexadecimal digits write. Both must be digits
// (IsHex).
func HexByte(high, low byte) byte { return hexValue(high)<<4 | hexValue(low) }

func hexValue(c byte) byte {
	switch {
	case c >= 'a':
		return c - 'a' + 10
	case c >= 'A':
		return c - 'A' + 10
	}
	return c - '0'
}

// RequestLine splits a request line (RFC 9112 section 3) into the method and the
// raw target. A line without a version is one of HTTP/0.9, which has no headers
// and thus no credential.
func RequestLine(line string) (method, target string, err error) {
	method, rest, ok := strings.Cut(line, " ")
	end := strings.LastIndexByte(rest, ' ')
	if !ok || end < 0 || !strings.HasPrefix(rest[end+1:], "HTTP/") {
		return "", "", errors.New("the request line is not that of HTTP/1 or newer")
	}
	return method, rest[:end], nil
}

// IsCredential reports whether a credential can have this text: the characters of
// RFC 6750's b68token and of RFC 6265's cookie-octet share the visible ASCII range.
// It runs over every token, so it looks at bytes.
func IsCredential(text string) bool {
	for i := 0; i < len(text); i++ {
		if c := text[i]; c <= ' ' || c >= 0x7f || c == '"' || c == ',' || c == ';' || c == '\\' {
			return false
		}
	}
	return text != ""
}

// CredentialFault says why a text can be no credential; empty: it can be one.
func CredentialFault(text string, limit int) string {
	switch {
	case text == "":
		return "holds no credential"
	case len(text) > limit:
		return fmt.Sprintf("is longer than %d bytes", limit)
	case !IsCredential(text):
		return "holds a character that no credential has"
	}
	return ""
}

// ScopeList joins the scopes that have the form of RFC 6749 section 3.3.
func ScopeList(scopes []string) string {
	valid := make([]string, 0, len(scopes))
	for _, s := range scopes {
		outside := func(r rune) bool { return r <= ' ' || r >= 0x7f || r == '"' || r == '\\' }
		if s != "" && !strings.ContainsFunc(s, outside) {
			valid = append(valid, s)
		}
	}
	return strings.Join(valid, " ")
}

// Quote writes a quoted-string of RFC 9110 section 5.6.4.
func Quote(s string) string { return `"` + quoted.Replace(s) + `"` }

var quoted = strings.NewReplacer(`\`, `\\`, `"`, `\"`)

// MaxRequestID bounds an id; gateways use 32 or 36 characters.
const MaxRequestID = 128

// IsRequestID holds an id to letters, digits and the punctuation that base64, UUIDs
// and trace ids need, so that it reads the same in every log and body.
func IsRequestID(id string) bool {
	other := func(c rune) bool {
		return c >= 0x80 || !IsAlphanumeric(byte(c)) && !strings.ContainsRune("-_.:=+/@", c)
	}
	return id != "" && len(id) <= MaxRequestID && !strings.ContainsFunc(id, other)
}

// RandomRequestID has the form of nginx's $request_id: 128 bits as 32 digits. They are no
// secret, so they come from the runtime's generator, which asks the kernel for its seed alone.
func RandomRequestID() string {
	var bits [16]byte
	binary.NativeEndian.PutUint64(bits[:8], rand.Uint64())
	binary.NativeEndian.PutUint64(bits[8:], rand.Uint64())
	var digits [2 * len(bits)]byte
	hex.Encode(digits[:], bits[:])
	return string(digits[:])
}
