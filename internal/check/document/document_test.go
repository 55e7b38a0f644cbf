package document

import (
	"fmt"
	"strings"
	"testing"
)

// find parses a text and returns where a path leads in its first document.
func find(t *testing.T, text, path string) Pair {
	t.Helper()
	nodes, problems := Parse(&Text{File: "f", Content: text})
	if len(problems) > 0 {
		t.Fatalf("%q: %v", text, problems)
	}
	found, whole := nodes[0].Find(path)
	if !whole {
		t.Fatalf("%q has no %s", text, path)
	}
	return found
}

func TestPlacesInYAMLAndJSON(t *testing.T) {
	for _, c := range []struct{ text, path, want string }{
		{"a:\n  - b: x\n    c.d: y\n", "a[0].c.d", "f:3:10"},
		{"a: {b: [1, {é: 2}]}", "a.b[1].é", "f:1:16"},
		{"{\n\t\"a\": {\n\t\t\"b\": [1,\n\t\t{\"é\" : 2}]}}", "a.b[1].é", "f:4:10"},
		{`{"a":"\ud83d\ude00","b":true}`, "b", "f:1:25"},
		{"x: &x {k: 1}\na:\n  <<: *x\n  l: 2\n", "a.k", "f:1:11"},
		{`a: ${{ env "DECK_A" }}` + "\nb: 1", "b", "f:2:4"},
		{`{a: "${{ env "DECK_A" }}", b: 1}`, "b", "f:1:31"},
	} {
		if got := find(t, c.text, c.path).Value.Place().String(); got != c.want {
			t.Errorf("%s in %q is at %s, want %s", c.path, c.text, got, c.want)
		}
	}
}

// TestPlacesInEmbeddedTexts looks for the character @ of a text in the file.
func TestPlacesInEmbeddedTexts(t *testing.T) {
	for _, text := range []string{
		"v: {x: 'k: @'}",
		`v: "k: \"\x41\u0042\t\\ @"`,
		"v: k@",
		"a:\n  b:\n    - v: |\n        k: 1\n        l:\n          - @\n",
		"v: |2\n    k: 1\n  @: 1\n",
		"v: |-\n\n\n   k: @\n",
		"v: 'it''s @'",
		`{"v": "{\"k\": \"\ud83d\ude00 @\"}"}`,
		"{\n\t\"v\": \"k: 1\\nl: @\"}",
	} {
		nodes, problems := Parse(&Text{File: "f", Content: text})
		if len(problems) > 0 {
			t.Fatalf("%q: %v", text, problems)
		}
		n := nodes[0].Get("v")
		if n.Node == nil {
			n = nodes[0].Get("a", "b").Items()[0].Get("v")
		}
		if n.Node == nil {
			n = nodes[0].Get("v", "x")
		}
		if n.IsMap() {
			n = n.Get("x")
		}
		inner := n.Embedded()
		if got, want := inner.Place(position(inner.Content)), wantPlace(text); got != want {
			t.Errorf("%q: @ is at %v, want %v", text, got, want)
		}
	}
}

func position(text string) (line, column int) {
	before, _, _ := strings.Cut(text, "@")
	line = 1 + strings.Count(before, "\n")
	before = before[strings.LastIndexByte(before, '\n')+1:]
	return line, 1 + len([]rune(before))
}

func wantPlace(text string) Place {
	line, column := position(text)
	return Place{"f", line, column}
}

func TestTextInATextInAFile(t *testing.T) {
	file := "v: |\n  a:\n    b: |\n      k: @\n"
	nodes, _ := Parse(&Text{File: "f", Content: file})
	inner, problems := Parse(nodes[0].Get("v").Embedded())
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	// A value that begins with @ is no YAML, so only its text is looked at.
	innermost := inner[0].Get("a", "b").Embedded()
	if got, want := innermost.Place(position(innermost.Content)), wantPlace(file); got != want {
		t.Errorf("@ is at %v, want %v", got, want)
	}
}

func TestFoldedTextIsAtItsValue(t *testing.T) {
	n := find(t, "a: 1\nv: >\n  one\n  two\n", "v").Value
	if got := n.Embedded().Place(1, 5).String(); got != "f:2:4" {
		t.Errorf("at %s", got)
	}
}

// What a problem quotes of a text may be a secret.
func TestSyntaxProblemsHaveAPlaceAndQuoteNothing(t *testing.T) {
	for text, want := range map[string]string{
		"a: 1\nb: 2\na: s3cret\n":              "f:3:1 the key is already given at line 1; remove one of them",
		`{"a": 1,` + "\n" + ` "a": "s3cret"}`:  "f:2:2 the key is already given at line 1; remove one of them",
		"a: 1\nb: 's3cret":                     "f:2:1 is neither YAML nor JSON: found unexpected end of stream",
		"a: *s3cret":                           "f:1:1 is neither YAML nor JSON: unknown anchor the value referenced",
		"a: {b: 1}\n\tc: s3cret":               "f:2:1 is neither YAML nor JSON: found character that cannot start any token",
		strings.Repeat("s3cret ", MaxSize/7+1): fmt.Sprintf("f:1:1 is larger than %d bytes", MaxSize),
	} {
		_, problems := Parse(&Text{File: "f", Content: text})
		if len(problems) != 1 || problems[0].Place.String()+" "+problems[0].Text != want {
			t.Errorf("%.60q: %v, want %s", text, problems, want)
		}
	}
}

func TestUnknownValuesKeepTheirPlace(t *testing.T) {
	n := find(t, `a: {b: '${{ env "X" }}/y', c: 1}`, "a")
	if !n.Value.Get("b").IsUnknown() || n.Value.Get("c").IsUnknown() {
		t.Error("a template is not told from a value")
	}
	if n := find(t, `{"a": "${{X}}"}`, "a"); !n.Value.IsUnknown() {
		t.Error("a template in JSON is not told from a value")
	}
}

func TestAliasesThatGrowAreRefused(t *testing.T) {
	text := "a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n"
	for c := 'b'; c < 'k'; c++ {
		text += fmt.Sprintf("%c: &%c [*%c, *%c, *%c, *%c, *%c, *%c, *%c, *%c, *%c]\n", c, c, c-1, c-1, c-1, c-1, c-1, c-1, c-1, c-1, c-1)
	}
	if nodes, problems := Parse(&Text{File: "f", Content: text}); len(problems) == 0 {
		t.Errorf("%d documents were read", len(nodes))
	}
}

func FuzzEmbeddedPlacesAreInTheFile(f *testing.F) {
	f.Add("v: \"a\\u0041 b\"")
	f.Add("v: |\n  a\n   b\n")
	f.Add(`{"v": "\ud83d\u0041"}`)
	f.Fuzz(func(t *testing.T, text string) {
		nodes, _ := Parse(&Text{File: "f", Content: text})
		lines := strings.Count(text, "\n") + 1
		for _, n := range nodes {
			for _, p := range n.Pairs() {
				if p.Value.IsText() {
					inner := p.Value.Embedded()
					if at := inner.Place(1+strings.Count(inner.Content, "\n"), 1); at.Line > lines+1 || at.Line < 1 || at.Column < 1 {
						t.Errorf("%q: %v", text, at)
					}
				}
			}
		}
	})
}
