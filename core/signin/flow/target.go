package flow

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"gatehouse/core"
)

// maxTarget is the length of an address to return to; a longer one is not remembered.
const maxTarget = 2000

// target is where a browser returns: a page of the gate's own origin or of one that is
// allowed. An address has one reading or it is refused: it goes to the browser byte for
// byte.
func (f *Flow) target(text string) (string, error) {
	if text == "" || len(text) > maxTarget {
		return f.origin + f.options.Home, nil
	}
	odd := func(c rune) bool { return c <= ' ' || c >= 0x7f || c == '\\' }
	if strings.ContainsFunc(text, odd) {
		return "", errors.New("it holds a character that browsers do not read in one way")
	}
	origin, path := f.origin, text
	if text[0] != '/' {
		var err error
		if origin, path, err = splitOrigin(text); err != nil {
			return "", err
		}
	}
	switch {
	case strings.HasPrefix(path, "//"):
		return "", errors.New("its path begins with two slashes")
	case origin != f.origin && !f.options.Returns(origin):
		return "", fmt.Errorf("its origin %.80q is not one of those to which browsers may return", origin)
	case origin == f.origin && f.isOwn(path): // which would lead on and on
		return f.origin + f.options.Home, nil
	}
	return origin + path, nil
}

// splitOrigin takes an address apart as it stands. The origin is in lower case and has no
// usual port.
func splitOrigin(text string) (origin, path string, err error) {
	scheme, rest, found := strings.Cut(text, "://")
	if scheme = strings.ToLower(scheme); !found || scheme != "https" && scheme != "http" {
		return "", "", errors.New("it is neither a path nor an address of http or https")
	}
	end := strings.IndexAny(rest, "/?#")
	if end < 0 {
		end = len(rest)
	}
	host, path := strings.ToLower(rest[:end]), rest[end:]
	odd := func(c rune) bool {
		return !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || strings.ContainsRune("-._:[]", c))
	}
	if host == "" || strings.ContainsFunc(host, odd) {
		return "", "", errors.New("its host is no plain one")
	}
	host = strings.TrimSuffix(host, map[string]string{"https": ":443", "http": ":80"}[scheme])
	if path == "" || path[0] != '/' {
		path = "/" + path
	}
	return scheme + "://" + host, path, nil
}

// isOwn reports whether a path is one of the endpoints, however it is written.
func (f *Flow) isOwn(path string) bool {
	path, _, _ = strings.Cut(path, "#")
	canonical, err := core.Canonical(path, core.PathOptions{})
	if err != nil {
		return false // the gate refuses it anyhow
	}
	return slices.ContainsFunc(f.Endpoints(), func(e core.Endpoint) bool { return e.Path == canonical })
}
