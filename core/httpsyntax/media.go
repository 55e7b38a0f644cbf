package httpsyntax

import "mime"

// IsMediaType reports whether a Content-Type is of a media type, in lower case, whatever
// its parameters (RFC 9110 section 8.3.1).
func IsMediaType(text, want string) bool {
	kind, _, err := mime.ParseMediaType(text)
	return err == nil && kind == want
}
