package front

import (
	"slices"
	"testing"
)

func TestHeadersSetAsNginxDoes(t *testing.T) {
	base := Headers{{"A", "1"}, {"x-uSER", "2"}, {"X_User", "3"}, {"X-User", "4"}, {"B", "5"}}
	for _, c := range []struct {
		values []string
		want   Headers
	}{
		{[]string{"u"}, Headers{{"A", "1"}, {"x-uSER", "u"}, {"X_User", "3"}, {"B", "5"}}},
		{[]string{"u", "v"}, Headers{{"A", "1"}, {"x-uSER", "u"}, {"X_User", "3"}, {"B", "5"}, {"X-User", "v"}}},
		{nil, Headers{{"A", "1"}, {"X_User", "3"}, {"B", "5"}}},
		{[]string{""}, Headers{{"A", "1"}, {"x-uSER", ""}, {"X_User", "3"}, {"B", "5"}}},
		{[]string{"a\r\nB: c\x00\x7f"}, Headers{{"A", "1"}, {"x-uSER", "a%0D%0AB: c%00%7F"}, {"X_User", "3"}, {"B", "5"}}},
	} {
		h := base.Clone()
		h.Set("X-User", c.values...)
		if !slices.Equal(h, c.want) {
			t.Errorf("%q: %v, want %v", c.values, h, c.want)
		}
	}
	h := base.Clone()
	h.Set("New", "n")
	if !slices.Equal(h, append(base.Clone(), Field{"New", "n"})) {
		t.Errorf("%v", h)
	}
}

// FuzzDecodeURI: the decoded path never keeps a dot segment or a doubled slash,
// and never leaves the root.
func FuzzDecodeURI(f *testing.F) {
	for _, seed := range []string{"/a/../b", "/%2e%2e/x", "//%2F//", "/a%", "/.%2e/..%2f", "/a?b#c", "/.", "/a/.?"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		if raw == "" || raw[0] != '/' {
			return
		}
		uri, _, _, ok := decodeURI(raw)
		if !ok {
			return
		}
		if uri == "" || uri[0] != '/' {
			t.Errorf("%q became %q", raw, uri)
		}
		if again, _, _, ok := decodeURI(escapeForTest(uri)); !ok || again != uri {
			t.Errorf("%q became %q, then %q", raw, uri, again)
		}
	})
}

func escapeForTest(uri string) string {
	var out []byte
	for i := range len(uri) {
		if c := uri[i]; c == '%' || c == '?' || c == '#' {
			out = append(out, '%', upperHex[c>>4], upperHex[c&15])
		} else {
			out = append(out, c)
		}
	}
	return string(out)
}
