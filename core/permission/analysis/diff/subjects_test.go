package diff

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"gatehouse/core"
	"gatehouse/core/permission"
	"gatehouse/core/permission/subject"
	"gatehouse/core/permission/tablefile"
)

func randomSubjects(t *testing.T, r *rand.Rand) (Version, string) {
	t.Helper()
	words := []string{"a", "b", "*", "a*", "*b", "a*b"}
	seen := map[string]bool{}
	var b strings.Builder
	b.WriteString("permissions:\n  p: {activities: [GET /p]}\n  q: {activities: [{methods: [GET], path: /q, require: {credentials: [spiffe]}}]}\n  s: {activities: [{methods: [GET], path: /s, require: {any_scope: [x]}}]}\nroles: {both: [p, q]}\nsubjects:\n  spiffe://z.test/z: []\n")
	for range r.IntN(4) {
		pattern := "spiffe://" + []string{"a.test", "b.test"}[r.IntN(2)] + "/" + words[r.IntN(len(words))]
		switch r.IntN(4) {
		case 0:
			pattern += "/" + words[r.IntN(len(words))]
		case 1:
			pattern += "/**"
		}
		if !seen[pattern] {
			fmt.Fprintf(&b, "  %s: [%s]\n", pattern, []string{"p", "q", "s", "role:both"}[r.IntN(4)])
		}
		seen[pattern] = true
	}
	file, err := tablefile.Parse("t.yaml", []byte(b.String()))
	if err != nil {
		t.Fatal(err)
	}
	table, err := permission.Compile(file)
	if err != nil {
		t.Fatal(err)
	}
	return Version{Table: table, Files: []*permission.File{file}}, b.String()
}

// Whoever gains or loses a call is in a pattern that is said to, and of each pattern that is
// said to somebody does.
func TestWorkloadsThatGainOrLoseCallsAreFound(t *testing.T) {
	var ids []string
	words := []string{"a", "b", "ab", "aab", "abb", "c", "cab", "abc", "aXb", "zz"}
	for _, domain := range []string{"a.test", "b.test"} {
		for _, one := range words {
			ids = append(ids, "spiffe://"+domain+"/"+one)
			for _, two := range words {
				ids = append(ids, "spiffe://"+domain+"/"+one+"/"+two, "spiffe://"+domain+"/"+one+"/"+two+"/z")
			}
		}
	}
	r := rand.New(rand.NewPCG(12, 4))
	changes := 0
	for range 120 {
		older, oldText := randomSubjects(t, r)
		newer, newText := randomSubjects(t, r)
		d, err := Diff(older, newer)
		if err != nil {
			t.Fatal(err)
		}
		said := map[string]bool{}
		for _, c := range d.Changes {
			pattern, err := subject.Parse(c.Who.Name)
			if err != nil || c.Who.Kind != BySubject {
				t.Fatalf("%s %s", c.Who, c.Direction)
			}
			changes++
			found := false
			for _, id := range ids {
				if pattern.Matches(id) && changed(t, older, newer, id, c.Witness.Path) == c.Direction {
					found, said[fmt.Sprint(id, c.Witness.Path, c.Direction)] = true, true
				}
			}
			if !found {
				t.Fatalf("%s %s of %s, and nobody does\n%s\n%s", c.Who, c.Direction, c.Witness.Path, oldText, newText)
			}
		}
		for _, id := range ids {
			for _, path := range []string{"/p", "/q", "/s"} {
				if direction := changed(t, older, newer, id, path); direction != "" && !said[fmt.Sprint(id, path, direction)] {
					t.Fatalf("%s %s of %s is not told\n%s\n%s", id, direction, path, oldText, newText)
				}
			}
		}
	}
	if changes < 80 {
		t.Errorf("only %d changes", changes)
	}
}

func changed(t *testing.T, older, newer Version, id, path string) Direction {
	t.Helper()
	may := func(v Version) bool {
		call := &core.Call{Request: &core.Request{Method: "GET"}, Path: path}
		return v.Table.Match(t.Context(), call).Allows(t.Context(), call, &core.Principal{Kind: core.KindSPIFFE, Subject: id}) == nil
	}
	switch was, is := may(older), may(newer); {
	case is && !was:
		return LetsIn
	case was && !is:
		return ShutsOut
	}
	return ""
}
