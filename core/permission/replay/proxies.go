package replay

import (
	"net/netip"
	"regexp"
	"strings"

	"gatehouse/core/httpsyntax"
)

// The formats of further proxies. Each is anchored where a client cannot write: a
// line that fits none is not read, and said to be so.
var (
	// vhostLine is Apache's vhost_combined: the host with its port comes first.
	vhostLine = regexp.MustCompile(`^([^" ]+?)(?::\d+)? ([0-9A-Fa-f.:]+) - (?:(?:[^"\\]|\\.)*) \[[^\]"]*\] "((?:[^"\\]|\\.)*)" \d{3} `)
	// envoyLine is Envoy's default: the authority is the last value but one.
	envoyLine = regexp.MustCompile(`^\[[^\]" ]*\] "([^" ]+ [^" ]+) [^" ]+" \d{1,3} .*"([^"]*)" "[^"]*"$`)
	// haproxyLine is "option httplog", with or without what syslog writes before.
	haproxyLine = regexp.MustCompile(`(?:^| )([0-9A-Fa-f.:]+):\d+ \[[^\]" ]*\] [^" ]+ [^" ]+/[^" ]+ [-+0-9/]+ (?:\d{3}|-1) [^"]*"([^"]*)"$`)
	// albLine is that of AWS application load balancers, which write the whole URL.
	albLine = regexp.MustCompile(`^(?:https?|h2|wss?|grpcs) [^" ]+ [^" ]+ ([^" ]+):\d+ [^" ]+ [^" ]+ [^" ]+ [^" ]+ [^" ]+ [^" ]+ \d+ \d+ "([^" ]+) [a-z]+://([^"/? ]*)([^" ]*) [^"]*" "`)
)

func parseProxy(line string) (*Entry, error) {
	if m := vhostLine.FindStringSubmatch(line + " "); m != nil {
		return proxied(unescape(m[3]), m[2], m[1])
	}
	if m := envoyLine.FindStringSubmatch(line); m != nil {
		return proxied(m[1], "", m[2])
	}
	if m := albLine.FindStringSubmatch(line); m != nil {
		return proxied(m[2]+" "+unescape(m[4]), m[1], m[3])
	}
	if m := haproxyLine.FindStringSubmatch(line); m != nil {
		return proxied(unhash(m[2]), m[1], "")
	}
	return nil, errNoLog
}

func proxied(request, peer, host string) (*Entry, error) {
	e, err := parseRequest(request)
	if err != nil {
		return nil, err
	}
	e.Peer, _ = netip.ParseAddr(peer)
	if host != "-" {
		e.Host = host
	}
	return e, nil
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
