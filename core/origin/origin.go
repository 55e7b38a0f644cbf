// Package origin compares origins of web pages (RFC 6454) with those that a
// configuration lists.
package origin

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"gatehouse/core/httpsyntax"
)

// List are origins as browsers write them, such as https://app.example.com.
// https://*.example.com stands for those of all subdomains.
type List []string

// Has compares byte for byte: browsers write an origin in one way.
func (l List) Has(origin string) bool {
	return slices.ContainsFunc(l, func(entry string) bool { return covers(entry, origin) })
}

func covers(entry, origin string) bool {
	scheme, domain, pattern := strings.Cut(entry, "://*.")
	if !pattern {
		return origin == entry
	}
	host, ok := strings.CutPrefix(origin, scheme+"://")
	labels, below := strings.CutSuffix(host, "."+domain)
	return ok && below && labels == strings.ToLower(labels) && isHost(labels)
}

// Check checks one entry.
func Check(entry string) error {
	scheme, host, found := strings.Cut(entry, "://")
	host, pattern := strings.CutPrefix(host, "*.")
	name, port, withPort := strings.Cut(host, ":")
	switch {
	case entry == "null":
		return errors.New("null is the origin of sandboxed frames and files of anybody; it cannot be allowed")
	case !found || scheme == "" || entry != strings.ToLower(entry):
		return fmt.Errorf("%.80q is no origin; write it as browsers do, such as https://app.example.com, in lower case", entry)
	case strings.HasPrefix(host, "["):
		return checkAddress(entry, host)
	case !isHost(name):
		return fmt.Errorf("%.80q: after the scheme only a host and a port stand, without a path or a slash", entry)
	case withPort && !isPort(port):
		return fmt.Errorf("%.80q: the port is not a number", entry)
	case scheme == "https" && port == "443" || scheme == "http" && port == "80":
		return fmt.Errorf("%.80q: browsers leave the usual port out", entry)
	case pattern && !strings.Contains(name, "."):
		return fmt.Errorf("%.80q stands for a whole top-level domain; name more of it", entry)
	}
	return nil
}

func checkAddress(entry, host string) error {
	address, port, _ := strings.Cut(strings.TrimPrefix(host, "["), "]")
	if _, err := netip.ParseAddr(address); err != nil || port != "" && !isPort(strings.TrimPrefix(port, ":")) {
		return fmt.Errorf("%.80q: the host is no address", entry)
	}
	return nil
}

func isPort(text string) bool {
	n, err := strconv.ParseUint(text, 10, 16)
	return err == nil && n > 0 && strconv.FormatUint(n, 10) == text
}

// isHost admits labels of letters, digits, "-" and "_", none of them empty.
func isHost(text string) bool {
	for label := range strings.SplitSeq(text, ".") {
		odd := func(c rune) bool { return c >= 0x80 || !httpsyntax.IsAlphanumeric(byte(c)) && c != '-' && c != '_' }
		if label == "" || strings.ContainsFunc(label, odd) {
			return false
		}
	}
	return true
}
