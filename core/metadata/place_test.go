package metadata

import "testing"

func TestMetadataOfTheLongestResourceCounts(t *testing.T) {
	for path, want := range map[string]string{
		"/private": "p", "/private/x": "p", "/privates": "", "/private/deep": "d", "/private/deep/x": "d", "/private/deeper": "p", "/": "",
	} {
		if got := (Places{{Path: "/private", Metadata: "p"}, {Path: "/private/deep/", Metadata: "d"}}).Of(path); got != want {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
	if got := (Places{{Path: "/", Metadata: "root"}, {Path: "/a", Metadata: "a"}}).Of("/b"); got != "root" {
		t.Errorf("below the root: %q", got)
	}
}
