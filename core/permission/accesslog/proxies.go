package accesslog

import (
	"cmp"
	"net/netip"
	"regexp"
	"strings"

	"gatehouse/core/httpsyntax"
)

// The formats of further proxies. Each is anchored where a client cannot write: a
// line that fits none is not read, and said to be so.
var (
	// vhostLine is Apache's vhost_combined: the host with its port comes first.
	vhostLine = regexp.MustCompile(`^([^" ]+?)(?::\d+)? ([0-9A-Fa-f.:]+) - (?:(?:[^"\\]|\\.)*) \[([^\]"]*)\] "((?:[^"\\]|\\.)*)" (\d{3}) `)
	// envoyLine is the default of Envoy, and that of Istio, which has more behind it:
	// the authority is the last value but one between quotes.
	envoyLine = regexp.MustCompile(`^\[([^\]" ]*)\] "([^" ]+ [^" ]+) [^" ]+" (\d{1,3}) .*"([^"]*)" "[^"]*"(?: [^"]*)?$`)
	// haproxyLine is "option httplog" or "option httpslog", with or without what
	// syslog writes before.
	haproxyLine = regexp.MustCompile(`(?:^| )([0-9A-Fa-f.:]+):\d+ \[([^\]" ]*)\] [^" ]+ [^" ]+/[^" ]+ [-+0-9/]+ (\d{3}|-1) [^"]*"([^"]*)"(?: [^" ]+/[^" ]+ [^" ]+)?$`)
	// albLine is that of AWS application load balancers, which write the whole URL.
	albLine = regexp.MustCompile(`^(?:https?|h2|wss?|grpcs) ([^" ]+) [^" ]+ ([^" ]+):\d+ [^" ]+ [^" ]+ [^" ]+ [^" ]+ ([^" ]+) [^" ]+ \d+ \d+ "([^" ]+) [a-z]+://([^"/? ]*)([^" ]*) [^"]*" "`)
)

func parseProxy(line string) (*Entry, error) {
	if m := vhostLine.FindStringSubmatch(line + " "); m != nil {
		return proxied(unescape(m[4]), m[2], m[1], m[3], m[5])
	}
	if m := envoyLine.FindStringSubmatch(line); m != nil {
		return proxied(m[2], "", m[4], m[1], m[3])
	}
	if m := albLine.FindStringSubmatch(line); m != nil {
		return proxied(m[4]+" "+unescape(m[6]), m[2], m[5], m[1], m[3])
	}
	if m := haproxyLine.FindStringSubmatch(line); m != nil {
		return haproxied(unhash(m[4]), m[1], m[2], m[3])
	}
	return nil, errNoLog
}

func proxied(request, peer, host, at, status string) (*Entry, error) {
	e, err := parseRequest(request)
	if err != nil {
		return nil, err
	}
	e.answered(at, status)
	e.Peer, _ = netip.ParseAddr(peer)
	if host != "-" {
		e.Host = host
	}
	return e, nil
}

// absolute is how HAProxy writes a request of HTTP/2 or later: with the authority, which
// the client sent beside the path.
var absolute = regexp.MustCompile(`^([^ ]+) https?://([^/? ]*)([^ ]*) (HTTP/[23][.0-9]*)$`)

func haproxied(request, peer, at, status string) (*Entry, error) {
	if m := absolute.FindStringSubmatch(request); m != nil {
		return proxied(m[1]+" "+cmp.Or(m[3], "/")+" "+m[4], peer, m[2], at, status)
	}
	return proxied(request, peer, "", at, status)
}

// unhash undoes how HAProxy escapes: #XX, the # itself included.
func unhash(text string) string {
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		if text[i] == '#' && hexAt(text, i+1, 2) {
			b.WriteByte(httpsyntax.HexByte(text[i+1], text[i+2]))
			i += 2
			continue
		}
		b.WriteByte(text[i])
	}
	return b.String()
}
