package tablefile

import (
	"bytes"
	"flag"
	"fmt"
	"gatehouse/core/permission"
	"gatehouse/core/permission/report"
	"gatehouse/core/permission/strictyaml"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write what the code says now as what is wanted")

// golden compares with a file, or writes it.
func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s is stale (go test -update):\ngot\n%s\nwant\n%s", file, got, want)
	}
}

// TestEveryProblemIsReportedAtItsPlace compares the exact text of every problem
// that a file can have by itself.
func TestEveryProblemIsReportedAtItsPlace(t *testing.T) {
	files, err := filepath.Glob("testdata/problems/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal("no test data", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			content, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			_, err = Parse("t.yaml", content)
			if err == nil {
				t.Fatal("no problem is reported")
			}
			golden(t, strings.TrimSuffix(file, ".yaml")+".txt", err.Error()+"\n")
		})
	}
}

// compileText parses each text as file 1.yaml, 2.yaml, … and compiles them.
func compileText(texts ...string) (*permission.Table, error) {
	var files []*permission.File
	for i, text := range texts {
		f, err := Parse(fmt.Sprint(i+1, ".yaml"), []byte(text))
		if err != nil {
			return nil, err
		}
		files = append(files, f)
	}
	return permission.Compile(files...)
}

func TestConflictsNameBothPlaces(t *testing.T) {
	for _, tt := range []struct {
		name  string
		files []string
		want  string
	}{
		{"permission", []string{"permissions: {a: {}}", "permissions: {a: {}}"},
			`2.yaml:1:15: permission "a" is defined twice, first at 1.yaml:1:15; keep one, or give one of them another name`},
		{"role", []string{"permissions: {a: {}}\nroles: {r: [a]}", "roles: {r: [a]}"},
			`2.yaml:1:9: role "r" is defined twice, first at 1.yaml:2:9; keep one, or give one of them another name`},
		{"scope", []string{"scopes: {s: []}", "scopes: {s: []}"},
			`2.yaml:1:10: scope "s" is defined twice, first at 1.yaml:1:10; keep one, or give one of them another name`},
		{"implicit scopes", []string{"implicit_scopes: true", "implicit_scopes: true", "implicit_scopes: false"},
			`3.yaml:1:18: implicit_scopes is false here and true at 2.yaml:1:18; it holds for the whole table, so state it once`},
		{"unknown permission", []string{"permissions: {users:read: {}}\nroles:\n  r: [users:raed, q]\nscopes:\n  s: [user:read]"},
			`1.yaml:3:7: role "r": there is no permission "users:raed"; did you mean "users:read"?; define it or remove it here
1.yaml:3:19: role "r": there is no permission "q"; define it or remove it here
1.yaml:5:7: scope "s": there is no permission "user:read"; did you mean "users:read"?; define it or remove it here`},
		{"role without prefix", []string{"roles: {clerk: [], boss: [clerk]}"},
			`1.yaml:1:27: role "boss": there is no permission "clerk"; to include the role write "role:clerk"; define it or remove it here`},
		{"unknown role", []string{"roles: {clerk: [], boss: [role:clerc]}"},
			`1.yaml:1:27: role "boss": there is no role "clerc"; did you mean "clerk"?; define it or remove it here`},
		{"cycle", []string{"roles:\n  a: [role:b]\n  b: [role:c]\n  c: [role:b]\n  d: [role:d]"},
			`1.yaml:4:7: role "b" includes itself: b -> c -> b; remove one of the inclusions
1.yaml:5:7: role "d" includes itself: d -> d; remove one of the inclusions`},
		{"cycle over files", []string{"roles: {a: [role:b]}", "roles: {b: [role:a]}"},
			`2.yaml:1:13: role "a" includes itself: a -> b -> a; remove one of the inclusions`},
		{"anonymous", []string{"anonymous: {}", "anonymous: {invalid_credential: ignore}"},
			`2.yaml:1:1: anonymous is defined twice, first at 1.yaml:1:1; it holds for the whole table, so keep one`},
		{"role and permission of anonymous", []string{"permissions: {users:read: {}}\nroles: {guest: []}", "anonymous: {permissions: [users:reed, guest], roles: [gest, role:guest, users:read]}"},
			`2.yaml:1:27: anonymous: there is no permission "users:reed"; did you mean "users:read"?; define it or remove it here
2.yaml:1:39: anonymous: there is no permission "guest"; to include the role list it under roles; define it or remove it here
2.yaml:1:55: anonymous: there is no role "gest"; did you mean "guest"?; define it or remove it here
2.yaml:1:61: anonymous: there is no role "role:guest"; did you mean "guest"?; define it or remove it here
2.yaml:1:73: anonymous: there is no role "users:read"; define it or remove it here`},
		{"methods", []string{manyMethods(64)},
			`1.yaml:65:5: method M63 is one too many; a table may name 63 different methods`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := compileText(tt.files...)
			if err == nil || err.Error() != tt.want {
				t.Errorf("got\n%v\nwant\n%s", err, tt.want)
			}
		})
	}
}

func manyMethods(n int) string {
	var b strings.Builder
	b.WriteString("public:\n")
	for i := range n {
		fmt.Fprintf(&b, "  - M%d /\n", i)
	}
	return b.String()
}

func TestAHugeFileIsRefusedUnread(t *testing.T) {
	_, err := Parse("t.yaml", bytes.Repeat([]byte("# 50 MB of nothing\n"), 50<<20/19))
	if want := "t.yaml:1:1: the file is larger than 16 MiB; split it into several files"; err == nil || err.Error() != want {
		t.Errorf("got %v", err)
	}
	file := filepath.Join(t.TempDir(), "huge.yaml")
	if err := os.WriteFile(file, make([]byte, strictyaml.MaxFile+1), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Read(file); err == nil || err.Error() != file+":1:1: the file is larger than 16 MiB; split it into several files" {
		t.Errorf("got %v", err)
	}
}

func TestAReportEnds(t *testing.T) {
	_, err := Parse("t.yaml", []byte("public:\n"+strings.Repeat("  - get /a\n", 1000)))
	lines := strings.Split(err.Error(), "\n")
	if len(lines) != 101 || lines[100] != "t.yaml:101:5: 900 more problems are not shown; mend these first" {
		t.Errorf("%d lines, the last %s", len(lines), lines[len(lines)-1])
	}
}

func TestAnAliasBombIsRefused(t *testing.T) {
	bomb := "a: &a [x,x,x,x,x,x,x,x,x]\n"
	for c := 'b'; c < 'z'; c++ {
		bomb += fmt.Sprintf("%c: &%c [*%c,*%c,*%c,*%c,*%c,*%c,*%c,*%c]\n", c, c, c-1, c-1, c-1, c-1, c-1, c-1, c-1, c-1)
	}
	_, err := Parse("t.yaml", []byte(bomb))
	if err == nil || !strings.HasPrefix(err.Error(), "t.yaml:1:4: the anchor &a is not accepted; write the value out where it is needed\n") {
		t.Errorf("got %v", err)
	}
}

func TestAMissingFileIsNamed(t *testing.T) {
	_, _, err := Read("testdata/nowhere.yaml")
	if want := "permission table: open testdata/nowhere.yaml: no such file or directory"; err == nil || err.Error() != want {
		t.Errorf("got %v", err)
	}
}

// FuzzParseGivesATableOrPlaces: what Parse accepts compiles, or says why not
// at a place in the file; nothing else comes out.
func FuzzParseGivesATableOrPlaces(f *testing.F) {
	f.Add([]byte(plainest(f)))
	files, _ := filepath.Glob("testdata/problems/*.yaml")
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(content)
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		file, err := Parse("t.yaml", content)
		if err == nil {
			_, err = permission.Compile(file)
		}
		if err == nil {
			return
		}
		problems, ok := err.(report.Problems)
		if !ok {
			t.Fatalf("%T: %v", err, err)
		}
		lines := 1 + bytes.Count(content, []byte("\n"))
		for _, p := range problems {
			if p.File != "t.yaml" || p.Line < 1 || p.Line > lines+1 || p.Column < 1 || p.Text == "" {
				t.Errorf("problem without a place: %+v", p)
			}
		}
	})
}
