package dpop

import (
	"errors"
	"strings"

	"gatehouse/core/httpsyntax"
)

// normalURI is the normal form of an http or https URI without its query and its fragment
// (RFC 3986 sections 6.2.2 and 6.2.3). It works on the bytes: a proof's URI is written by
// a stranger, and a parser that forgives would have two URIs be one.
func normalURI(uri string) (string, error) {
	scheme, rest, found := strings.Cut(uri, "://")
	if !found {
		return "", errors.New("is not a complete URI")
	}
	if end := strings.IndexAny(rest, "?#"); end >= 0 {
		rest = rest[:end]
	}
	authority, path := rest, "/"
	if slash := strings.IndexByte(rest, '/'); slash >= 0 {
		authority, path = rest[:slash], rest[slash:]
	}
	return normal(scheme, authority, path)
}

// BaseURL is the normal form of a URL below which paths of requests are, without a slash at
// its end.
func BaseURL(text string) (string, error) {
	if strings.ContainsAny(text, "?#") {
		return "", errors.New("has a query or a fragment, of which proofs have none")
	}
	uri, err := normalURI(text)
	return strings.TrimRight(uri, "/"), err
}

var defaultPorts = map[string]string{"http": "80", "https": "443"}

// normal puts a scheme, an authority and a path together.
func normal(scheme, authority, path string) (string, error) {
	scheme = strings.ToLower(scheme)
	port, known := defaultPorts[scheme]
	if !known {
		return "", errors.New("is not of http or https")
	}
	authority, err := normalAuthority(authority, port)
	if err != nil {
		return "", err
	}
	if path, err = normalPath(path); err != nil {
		return "", err
	}
	return scheme + "://" + authority + path, nil
}

// normalAuthority writes a host in lower case and leaves the usual port out.
func normalAuthority(authority, usual string) (string, error) {
	host, port := authority, ""
	if colon := strings.LastIndexByte(authority, ':'); colon > strings.LastIndexByte(authority, ']') {
		host, port = authority[:colon], authority[colon+1:]
	}
	switch {
	case host == "":
		return "", errors.New("has no host")
	case strings.ContainsFunc(host, notInHost), strings.ContainsAny(withoutBrackets(host), "[]"), host == withoutBrackets(host) && strings.Contains(host, ":"):
		return "", errors.New("has a character in its host that no host has")
	case strings.Trim(port, "0123456789") != "":
		return "", errors.New("has a port that is not a number")
	}
	host = strings.ToLower(host)
	if port = strings.TrimLeft(port, "0"); port == "" || port == usual {
		return host, nil
	}
	return host + ":" + port, nil
}

// withoutBrackets is an IPv6 address as it is, and any other host.
func withoutBrackets(host string) string {
	if inside, ok := strings.CutPrefix(host, "["); ok {
		if inside, ok = strings.CutSuffix(inside, "]"); ok {
			return inside
		}
	}
	return host
}

// notInHost admits names, IPv4 addresses and IPv6 addresses in brackets. A user name
// before the host is none of these, nor are names in other than ASCII.
func notInHost(r rune) bool {
	return r >= 0x80 || !httpsyntax.IsAlphanumeric(byte(r)) && !strings.ContainsRune("-._~:[]", r)
}

// normalPath decodes what needs no percent-encoding, writes the rest of it in upper case
// and removes dot segments. A path that is empty is that of the root.
func normalPath(path string) (string, error) {
	if path == "" {
		return "/", nil
	}
	var b strings.Builder
	b.Grow(len(path))
	for i := 0; i < len(path); i++ {
		c := path[i]
		switch {
		case c <= ' ' || c == 0x7f:
			return "", errors.New("has a character in its path that no URI has")
		case c >= 0x80: // some clients send it as it is
			writeEncoded(&b, c)
		case c != '%':
			b.WriteByte(c)
		case i+2 >= len(path) || !httpsyntax.IsHex(path[i+1]) || !httpsyntax.IsHex(path[i+2]):
			return "", errors.New("has % without two hexadecimal digits in its path")
		default:
			if c = httpsyntax.HexByte(path[i+1], path[i+2]); isUnreserved(c) {
				b.WriteByte(c)
			} else {
				writeEncoded(&b, c)
			}
			i += 2
		}
	}
	return withoutDots(b.String()), nil
}

func writeEncoded(b *strings.Builder, c byte) {
	const digits = "0123456789ABCDEF"
	b.Write([]byte{'%', digits[c>>4], digits[c&0xf]})
}

// isUnreserved is of RFC 3986 section 2.3.
func isUnreserved(c byte) bool {
	return httpsyntax.IsAlphanumeric(c) || c == '-' || c == '.' || c == '_' || c == '~'
}

// withoutDots is RFC 3986 section 5.2.4 for a path that begins with a slash.
func withoutDots(path string) string {
	if !strings.Contains(path, "/.") {
		return path
	}
	var kept []string
	segments := strings.Split(path[1:], "/")
	for i, segment := range segments {
		last := i == len(segments)-1
		switch segment {
		case ".", "..":
			if segment == ".." && len(kept) > 0 {
				kept = kept[:len(kept)-1]
			}
			if last {
				kept = append(kept, "")
			}
		default:
			kept = append(kept, segment)
		}
	}
	return "/" + strings.Join(kept, "/")
}
