package pattern

import "strings"

// CheckHost says what is wrong with a host of the file, or nothing.
func CheckHost(host string) string {
	name := strings.TrimPrefix(host, "*.")
	switch {
	case host != strings.ToLower(host):
		return "is not in lower case; write " + strings.ToLower(host)
	case strings.Contains(name, "*"):
		return `has a "*" elsewhere than in front; write *.DOMAIN for every name below a domain`
	case strings.Contains(name, ":") && !strings.HasPrefix(name, "["):
		return "has a port; leave it out"
	case name != host && strings.HasPrefix(name, "["):
		return "is an address, which has no names below it"
	}
	if _, ok := AppendHost(nil, name); !ok || strings.HasSuffix(name, ".") {
		return "is not a host name; write one such as api.example.com, an IPv4 address or a bracketed IPv6 address"
	}
	return ""
}

// MaxHost is the longest host name (RFC 1035 section 2.3.4).
const MaxHost = 253

// AppendHost appends the one form of an authority that hosts are compared in:
// lower case, without port and final dot. It reports false for what is not a
// host, which then matches no activity at all: a spelling that one reader
// takes for the host and another does not must not choose the rule.
func AppendHost(buf []byte, authority string) ([]byte, bool) {
	host, ok := cutPort(authority)
	if !ok || host == "" || len(host) > MaxHost+1 {
		return nil, false
	}
	if host[0] == '[' {
		return appendIPv6(buf, host)
	}
	if host[len(host)-1] == '.' {
		host = host[:len(host)-1]
	}
	label := 0
	for i := 0; i < len(host); i++ {
		c := host[i]
		switch {
		case 'A' <= c && c <= 'Z':
			c += 'a' - 'A'
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '-', c == '_':
		case c == '.' && label > 0:
			label = -1
		default:
			return nil, false
		}
		label++
		buf = append(buf, c)
	}
	return buf, label > 0
}

func appendIPv6(buf []byte, host string) ([]byte, bool) {
	for i := 0; i < len(host); i++ {
		c := host[i]
		switch {
		case 'A' <= c && c <= 'F':
			c += 'a' - 'A'
		case 'a' <= c && c <= 'f', '0' <= c && c <= '9', c == ':', c == '.':
		case c == '[' && i == 0, c == ']' && i == len(host)-1 && i > 1:
		default:
			return nil, false
		}
		buf = append(buf, c)
	}
	return buf, true
}

// cutPort removes ":port"; ok is false when what follows the colon is none.
func cutPort(authority string) (host string, ok bool) {
	if strings.HasPrefix(authority, "[") {
		end := strings.IndexByte(authority, ']') + 1
		return authority[:end], end > 0 && isPort(authority[end:])
	}
	host, _, _ = strings.Cut(authority, ":")
	return host, isPort(authority[len(host):])
}

// isPort accepts nothing, ":" and ":digits", as RFC 3986 section 3.2.3 does.
func isPort(s string) bool {
	if s == "" {
		return true
	}
	for i := 1; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s[0] == ':' && len(s) <= 6
}

// HostMatches compares a host in its one form with a host of the file. The
// pattern *.example.com covers every name below example.com, at any depth,
// and not example.com itself.
func HostMatches(pattern, host string) bool {
	if domain, ok := strings.CutPrefix(pattern, "*"); ok {
		return len(host) > len(domain) && strings.HasSuffix(host, domain)
	}
	return host == pattern
}
