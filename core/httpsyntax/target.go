package httpsyntax

import "strings"

// OriginForm returns the origin form of a request target (RFC 9112 section 3.2.1)
// that is in absolute form (section 3.2.2) and names the authority of the Host
// header, for gateways that serve it as such. Any other target is returned as it is;
// [Canonical] refuses those that do not begin with a slash. To compare the authority
// is the point: nginx chooses a server by that of the target, and sends the upstream
// that of the Host header.
func OriginForm(target, host string) string {
	scheme, rest, ok := strings.Cut(target, "://")
	if !ok || strings.HasPrefix(target, "/") {
		return target
	}
	port, ok := defaultPort(scheme)
	if !ok {
		return target
	}
	end := strings.IndexAny(rest, "/?#")
	if end < 0 {
		rest, end = rest+"/", len(rest) // an empty path is "/" (RFC 9110 section 4.2.3)
	}
	authority, path := rest[:end], rest[end:]
	if path[0] != '/' || !isAuthority(authority) || !strings.EqualFold(strings.TrimSuffix(authority, port), strings.TrimSuffix(host, port)) {
		return target
	}
	return path
}

// defaultPort is the port, behind its colon, that an authority may leave out.
func defaultPort(scheme string) (port string, ok bool) {
	switch {
	case strings.EqualFold(scheme, "http"):
		return ":80", true
	case strings.EqualFold(scheme, "https"):
		return ":443", true
	}
	return "", false
}

// isAuthority admits a host and a port, and no user information, which a client
// must not send (RFC 9110 section 4.2.4).
func isAuthority(text string) bool {
	for i := 0; i < len(text); i++ {
		if c := text[i]; !IsAlphanumeric(c) && strings.IndexByte("-._~:[]", c) < 0 {
			return false
		}
	}
	return text != "" && text[0] != ':'
}
