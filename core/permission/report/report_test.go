package report

import (
	"strings"
	"testing"
)

func TestClosestNameIsSuggested(t *testing.T) {
	known := []string{"users:read", "users:write", "Orders", "x"}
	for name, want := range map[string]string{
		"users:raed": "users:read", "user:read": "users:read", "orders": "Orders", "users:writ": "users:write",
		"q": "x", "": "x", "something else": "", "usrs:rdx": "",
	} {
		suggestion := DidYouMean(name, known)
		if want != "" {
			want = `; did you mean "` + want + `"?`
		}
		if suggestion != want {
			t.Errorf("%q: got %q, want %q", name, suggestion, want)
		}
	}
	if got := Closest("ab", []string{"abcd", "abc"}, 2); got != "abc" {
		t.Errorf("got %q, want the closest", got)
	}
	if got := Closest("ab", []string{"abcd"}, 1); got != "" {
		t.Errorf("got %q, which is two edits away", got)
	}
}

// What a file holds must neither fill a message nor act on a terminal.
func TestQuotedTextIsShortAndPrintable(t *testing.T) {
	for text, want := range map[string]string{
		`/\d+`: `"/\d+"`, "a\x1b[2J": `"a\x1b[2J"`, `a"b`: `"a\"b"`, "\xff": `"\xff"`, strings.Repeat("x", 100): `"` + strings.Repeat("x", 80) + `…"`,
	} {
		if got := Quote(text); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestPlaceWithoutALineIsAPath(t *testing.T) {
	if got := (Place{File: "permissions.a"}).String(); got != "permissions.a" {
		t.Errorf("got %s", got)
	}
	if got := (Place{File: "t.yaml", Line: 2, Column: 3}).String(); got != "t.yaml:2:3" {
		t.Errorf("got %s", got)
	}
}
