package permission_test

import (
	"slices"
	"strings"
	"testing"

	"gatehouse/core"
	"gatehouse/core/permission"
	"gatehouse/core/permission/tablefile"
)

func compiled(t *testing.T, text string) *permission.Table {
	t.Helper()
	table, err := parsed(text)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return table
}

func parsed(text string) (*permission.Table, error) {
	file, err := tablefile.Parse("t.yaml", []byte(text))
	if err != nil {
		return nil, err
	}
	return permission.Compile(file)
}

const subjectsTable = `
permissions:
  a: {activities: [GET /a]}
  b: {activities: [GET /b]}
  c: {activities: [GET /c]}
roles: {r: [a, "role:s"], s: [b]}
subjects:
  spiffe://x.test/web: ["role:r"]
  spiffe://x.test/*: [c]
  spiffe://y.test/**: [a]
`

func TestSubjectIsGrantedWhatAllItsPatternsGrant(t *testing.T) {
	table := compiled(t, subjectsTable)
	for id, want := range map[string]string{
		"spiffe://x.test/web": "a b c", "spiffe://x.test/other": "c", "spiffe://x.test/a/b": "", "spiffe://y.test/a/b": "a", "spiffe://z.test/web": "", "": "",
	} {
		p := &core.Principal{Kind: core.KindSPIFFE, Subject: id}
		if got := strings.Join(table.Permissions(p), " "); got != want {
			t.Errorf("%s: %s, want %s", id, got, want)
		}
		for _, name := range []string{"a", "b", "c"} {
			if holds := table.Holds(p, name); holds != slices.Contains(strings.Fields(want), name) {
				t.Errorf("%s holds %s: %t", id, name, holds)
			}
			access := table.Match(t.Context(), &core.Call{Request: &core.Request{Method: "GET"}, Path: "/" + name})
			if allowed := access.Allows(t.Context(), nil, p) == nil; allowed != table.Holds(p, name) {
				t.Errorf("%s may GET /%s: %t", id, name, allowed)
			}
		}
	}
}

func TestSubjectOfAnotherCredentialIsGrantedNothingByItsText(t *testing.T) {
	table := compiled(t, subjectsTable)
	for _, kind := range append(core.KindNames(), "") {
		p := &core.Principal{Kind: core.Kind(kind), Subject: "spiffe://x.test/web", ClientID: "spiffe://x.test/web"}
		if granted := len(table.Permissions(p)) > 0; granted != (p.Kind == core.KindSPIFFE) {
			t.Errorf("%q: %t", kind, granted)
		}
	}
	limited := &core.Principal{Kind: core.KindSPIFFE, Subject: "spiffe://x.test/web", Limit: &core.Principal{}}
	if len(table.Permissions(limited)) > 0 {
		t.Error("a limit does not count")
	}
}

func TestMistakesInSubjectsAreReported(t *testing.T) {
	for text, want := range map[string]string{
		"spiffe://x.test/web: [nope]":                      `t.yaml:5:25: subject "spiffe://x.test/web": there is no permission "nope"`,
		"spiffe://x.test/web: [role:nope]":                 `subject "spiffe://x.test/web": there is no role "nope"`,
		"spiffe://x.test/web: [a, a]":                      `subject "spiffe://x.test/web": "a" is listed twice`,
		"spiffe://*/web: [a]":                              `t.yaml:5:3: subject "spiffe://*/web" names no trust domain`,
		"alice: [a]":                                       `subject "alice" is no pattern of SPIFFE IDs`,
		"spiffe://x.test/web: a":                           `is text where a list belongs`,
		"spiffe://x.test/w: [a]\n  spiffe://x.test/w: [a]": `spiffe://x.test/w`,
	} {
		_, err := parsed("permissions:\n  a: {activities: [GET /a]}\nroles: {r: [a]}\nsubjects:\n  " + text + "\n")
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v; want %s", text, err, want)
		}
	}
	_, err := permission.Compile(&permission.File{Subjects: []permission.Subject{{Pattern: "x"}}}, &permission.File{Name: "two", Subjects: []permission.Subject{{Pattern: "spiffe://x.test/w"}, {Pattern: "spiffe://x.test/w"}}})
	if err == nil || !strings.Contains(err.Error(), `subject "x" is no pattern`) {
		t.Error(err)
	}
}
