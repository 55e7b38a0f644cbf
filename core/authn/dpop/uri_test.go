package dpop

import (
	"strings"
	"testing"
)

// FuzzURI: a normal form is its own normal form, and says where the URI leads: to a host
// without a user name, by a path without dot segments.
func FuzzURI(f *testing.F) {
	for _, seed := range []string{"https://a/b", "http://A:80/%7e/../x?y#z", "https://[::1]:443", "https://a/%2e%2E/b", "https://u@a/", "https://a/..", "https://a/./", "https://é/", "http://::", "https://a:1:443/", "https://[::1/", "https://]/", "https://[[::1]]/"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, uri string) {
		normal, err := normalURI(uri)
		if err != nil {
			return
		}
		if again, err := normalURI(normal); err != nil || again != normal {
			t.Fatalf("%q becomes %q, which becomes %q, %v", uri, normal, again, err)
		}
		_, rest, _ := strings.Cut(normal, "://")
		_, path, found := strings.Cut(rest, "/")
		if !found || strings.ContainsAny(normal, "@?#\\ \n") && strings.ContainsAny(rest[:len(rest)-len(path)], "@?#\\ \n") {
			t.Fatalf("%q becomes %q", uri, normal)
		}
		for segment := range strings.SplitSeq(path, "/") {
			if segment == "." || segment == ".." {
				t.Fatalf("%q becomes %q", uri, normal)
			}
		}
	})
}
