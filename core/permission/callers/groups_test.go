package callers

import (
	"strings"
	"testing"

	"gatehouse/core/permission/pattern"
)

func TestGroupIsASegmentOnlyWhereEveryMatchSaysSo(t *testing.T) {
	paths := []string{"/", "/a", "/a/b", "/a/b/c", "/ab/c", "/x/a/b", "/a/b/c/d", "/a/", "/t/a", "/t/a/b", "/t/", "/ta", "/t/a-b"}
	for regex, want := range map[string]int{
		"/(?P<g>[^/]+)": 1, "/t/(?P<g>[^/]+)": 2, "/t/(?P<g>[^/]+)(/.*)?": 2, "/(t|a)/(?P<g>[^/]*)": 2, "/[^/]+/(?P<g>[a-z]+)/.*": 2, "^/t/(?P<g>.+)$": 0,
		"/t(/(?P<g>[^/]+))?": 0, "/.*/(?P<g>[^/]+)": 0, "/(?P<g>a|b)[^/]*": 0, "/x?(?P<g>[^/]+)": 0, "/t/(?P<g>[^/]+).*": 0, "/t/(?P<g>[^/]+)(-b)?": 0, "/(t/)?(?P<g>[^/]+)": 0,
		"/t/(?P<g>[^/]+)(/x|/y/.*)": 2, "/t/(?P<g>a(/b)?)": 0, "/(a/(?P<g>[^/]+))": 2, "/a/(?P<g>[^/]+)(/[^/]+)*": 2, "/(?P<g>[^/]+)/{1}.*": 0,
	} {
		path, err := pattern.ParsePath(regex)
		if err != nil {
			t.Logf("%s: %v", regex, err)
			continue
		}
		n, ok := SegmentOf(path, "g")
		if !ok {
			n = 0
		}
		if n != want {
			t.Errorf("%s: segment %d, want %d", regex, n, want)
		}
		re, err := path.Compile()
		if err != nil || !ok {
			continue
		}
		for _, p := range paths {
			if m := re.FindStringSubmatch(p); m != nil {
				if value := m[re.SubexpIndex("g")]; value != strings.Split(p, "/")[n] {
					t.Errorf("%s: the group of %s is %q, and segment %d is another", regex, p, value, n)
				}
			}
		}
	}
}
