package permission

import (
	"context"
	"regexp"
	"slices"

	"gatehouse/core"
)

// linear is the plainest reading of a table, one activity after the other.
// The index must always agree with it.
type linear struct {
	activities []*activity
	paths      []*regexp.Regexp
	hosts      bool
}

func newLinear(t *Table) *linear {
	l := &linear{activities: t.activities}
	for _, a := range t.activities {
		l.paths = append(l.paths, regexp.MustCompile(`\A(?:`+a.path+`)\z`))
		l.hosts = l.hosts || len(a.hosts) > 0
	}
	return l
}

func (l *linear) matched(call *core.Call) []*activity {
	host, isHost := appendHost(nil, call.Host)
	if call.Method == "" || call.Path == "" || call.Path[0] != '/' || l.hosts && !isHost {
		return nil
	}
	var matched []*activity
	for i, a := range l.activities {
		if a.coversMethod(call.Method) && a.coversHost(string(host)) && l.paths[i].MatchString(call.Path) {
			matched = append(matched, a)
		}
	}
	return matched
}

func (a *activity) coversMethod(method string) bool {
	return slices.Contains(a.methods, method) || a.methods[0] == AnyMethod
}

func (a *activity) coversHost(host string) bool {
	return len(a.hosts) == 0 || slices.ContainsFunc(a.hosts, func(pattern string) bool { return hostMatches(pattern, host) })
}

// matched is what the index finds.
func matched(t *Table, call *core.Call) []*activity {
	access, ok := t.Match(context.Background(), call).(*Access)
	if !ok {
		return nil
	}
	return access.matched
}
