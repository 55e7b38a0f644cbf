package core

import "testing"

func TestMetadataOfTheLongestResourceCounts(t *testing.T) {
	for path, want := range map[string]string{
		"/private": "p", "/private/x": "p", "/privates": "", "/private/deep": "d", "/private/deep/x": "d", "/private/deeper": "p", "/": "",
	} {
		if got := metadataOf([]Resource{{"/private", "p"}, {"/private/deep/", "d"}}, path); got != want {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
	if got := metadataOf([]Resource{{"/", "root"}, {"/a", "a"}}, "/b"); got != "root" {
		t.Errorf("below the root: %q", got)
	}
}
