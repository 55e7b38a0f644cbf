package pathindex

import (
	"regexp"
	"slices"

	"gatehouse/core/permission/pattern"
)

// linear is the plainest reading of entries, one after the other. The index must
// always agree with it.
type linear struct {
	entries []Entry
	paths   []*regexp.Regexp
	hosts   bool
}

func newLinear(entries []Entry) *linear {
	l := &linear{entries: entries}
	for _, e := range entries {
		l.paths = append(l.paths, regexp.MustCompile(`\A(?:`+e.Path.Text+`)\z`))
		l.hosts = l.hosts || len(e.Hosts) > 0
	}
	return l
}

func (l *linear) matched(method, authority, path string) []uint32 {
	host, isHost := pattern.AppendHost(nil, authority)
	if method == "" || path == "" || path[0] != '/' || l.hosts && !isHost {
		return nil
	}
	var matched []uint32
	for i := range l.entries {
		if l.entries[i].coversMethod(method) && l.entries[i].coversHost(string(host)) && l.paths[i].MatchString(path) {
			matched = append(matched, uint32(i))
		}
	}
	return matched
}

func (e *Entry) coversMethod(method string) bool {
	return slices.Contains(e.Methods, method) || e.Methods[0] == pattern.AnyMethod
}

func (e *Entry) coversHost(host string) bool {
	return len(e.Hosts) == 0 || slices.ContainsFunc(e.Hosts, func(p string) bool { return pattern.HostMatches(p, host) })
}
