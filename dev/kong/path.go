package kong

import (
	"fmt"
	"gatehouse/core/httpsyntax"
	"strings"
)

// normalizePath reads a raw path as Kong routes it: percent escapes of
// reserved characters kept and in capitals, all others decoded, dot segments
// resolved, slashes merged. It may return bytes that are no UTF-8.
func normalizePath(raw string) string {
	return removeDotSegments(decodeUnreserved(raw))
}

const reserved = "!*'();:@&=+$,/?%#[]"

func decodeUnreserved(raw string) string {
	if !strings.Contains(raw, "%") {
		return raw
	}
	var b strings.Builder
	for i := 0; i < len(raw); i++ {
		c, ok := encodedByte(raw[i:])
		switch {
		case !ok:
			b.WriteByte(raw[i])
			continue
		case strings.IndexByte(reserved, c) >= 0:
			fmt.Fprintf(&b, "%%%02X", c)
		default:
			b.WriteByte(c)
		}
		i += 2
	}
	return b.String()
}

// encodedByte reads "%XX" at the start of s.
func encodedByte(s string) (byte, bool) {
	if len(s) < 3 || s[0] != '%' || !httpsyntax.IsHex(s[1]) || !httpsyntax.IsHex(s[2]) {
		return 0, false
	}
	return httpsyntax.HexByte(s[1], s[2]), true
}

// removeDotSegments works segment by segment; an empty one in the middle is a
// doubled slash and goes.
func removeDotSegments(path string) string {
	if path == "" || path[0] != '/' {
		return path
	}
	segments := strings.Split(path[1:], "/")
	var out []string
	for i, segment := range segments {
		last := i == len(segments)-1
		switch segment {
		case "":
			if last {
				out = append(out, "")
			}
		case ".":
			if last {
				out = append(out, "")
			}
		case "..":
			if len(out) > 0 {
				out = out[:len(out)-1]
			}
			if last {
				out = append(out, "")
			}
		default:
			out = append(out, segment)
		}
	}
	return "/" + strings.Join(out, "/")
}

// escapePath makes a path fit for a request line without changing its
// meaning: what is neither reserved nor unreserved is percent-encoded.
func escapePath(path string) string {
	var b strings.Builder
	for i := range len(path) {
		if c := path[i]; isPlain(c) {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

func isPlain(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'z' || strings.IndexByte("!#$&'()*+,/:;=?@[]-_.~%", c) >= 0
}

// rawPath cuts the query off a request target. A "?" in first place is no
// query to Kong.
func rawPath(target string) string {
	if len(target) > 1 {
		if cut := strings.IndexByte(target[1:], '?'); cut >= 0 {
			return target[:cut+1]
		}
	}
	return target
}

// upstreamPath joins a service's path with what is left of the request's path.
// prefix is the matched part to strip, "" when nothing is stripped.
func upstreamPath(base, requestPath, prefix string, strip bool) string {
	if base == "" {
		base = "/"
	}
	if !strip {
		if strings.HasSuffix(base, "/") {
			return base + strings.TrimPrefix(requestPath, "/")
		}
		if requestPath == "/" {
			return base
		}
		return base + requestPath
	}
	rest := withoutLeadingDots(requestPath[min(len(prefix), len(requestPath)):])
	return joinStripped(base, requestPath, rest)
}

// joinStripped keeps a trailing slash of the request, and joins with one slash.
func joinStripped(base, requestPath, rest string) string {
	bare := strings.TrimSuffix(base, "/")
	trailing := strings.HasSuffix(requestPath, "/") && (requestPath != "/" || bare != base)
	switch {
	case rest != "":
		return bare + "/" + strings.TrimPrefix(rest, "/")
	case base == "/":
		return "/"
	case trailing:
		return bare + "/"
	default:
		return bare
	}
}

// withoutLeadingDots guards against a prefix that ends inside a segment:
// stripping "/a" from "/a../b" must not leave a dot segment.
func withoutLeadingDots(rest string) string {
	switch {
	case rest == "." || rest == "..":
		return ""
	case strings.HasPrefix(rest, "./"):
		return rest[2:]
	case strings.HasPrefix(rest, "../"):
		return rest[3:]
	}
	return rest
}
