package kept

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"gatehouse/core/account"
	"gatehouse/core/permission/tablefile"
)

func keep(t *testing.T, tables *Tables, v account.Table, text string) {
	t.Helper()
	files, _, err := tablefile.ParseAll(tablefile.Text{Name: "a.yaml", Content: []byte(text)})
	if err != nil {
		t.Fatal(err)
	}
	if err := tables.Keep(v, files); err != nil {
		t.Fatal(err)
	}
}

func version(i int) account.Table {
	return account.Table{Source: "a.yaml", Version: fmt.Sprint(i)}
}

func TestTableIsReadBackByItsVersion(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "tables")
	tables := New(Options{Dir: dir, MaxKept: 10, MaxAge: time.Hour, Now: time.Now})
	keep(t, tables, version(1), "permissions: {a: {activities: [GET /a]}}\nroles: {r: [a]}")
	keep(t, tables, version(2), "public: [GET /b]")
	texts, err := Read(dir, version(1))
	if err != nil || len(texts) != 1 || texts[0].Name != "a.yaml" {
		t.Fatalf("%v, %v", texts, err)
	}
	files, _, err := tablefile.ParseAll(texts...)
	if err != nil || len(files[0].Permissions) != 1 || len(files[0].Roles) != 1 {
		t.Errorf("%s: %v", texts[0].Content, err)
	}
	for _, v := range []account.Table{version(3), {Source: "b.yaml", Version: "1"}, {Source: "../a.yaml", Version: "../../1"}} {
		if _, err := Read(dir, v); !errors.Is(err, ErrNone) {
			t.Errorf("%v: %v", v, err)
		}
	}
	info, err := os.Stat(filepath.Join(dir, name(version(1))))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
}

func TestTablesAreBoundedByNumberAndAgeAndTheOneInForceStays(t *testing.T) {
	dir, now := t.TempDir(), time.Now()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	tables := New(Options{Dir: dir, MaxKept: 3, MaxAge: time.Hour, Now: func() time.Time { return now }})
	has := func(want ...int) {
		t.Helper()
		for i := range 8 {
			_, err := Read(dir, version(i))
			wanted := false
			for _, w := range want {
				wanted = wanted || w == i
			}
			if wanted != (err == nil) {
				t.Errorf("table %d: %v, want %v", i, err, want)
			}
		}
	}
	for i := range 5 {
		keep(t, tables, version(i), "public: [GET /a]")
		now = now.Add(time.Minute)
	}
	has(2, 3, 4)
	now = now.Add(50 * time.Minute)
	keep(t, tables, version(5), "public: [GET /a]") // table 4 was in force until now
	has(3, 4, 5)
	now = now.Add(2 * time.Hour)
	keep(t, tables, version(5), "public: [GET /a]")
	has(5)
}

func TestListNamesWhatIsKeptAndNothingElse(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "tables")
	now := time.Now().Truncate(time.Second)
	tables := New(Options{Dir: dir, MaxKept: 10, MaxAge: time.Hour, Now: func() time.Time { return now }})
	keep(t, tables, version(1), "public: [GET /a]")
	now = now.Add(time.Minute)
	keep(t, tables, account.Table{Source: `b "source".yaml`, Version: "source"}, "public: [GET /b]")
	for file, text := range map[string]string{
		"table-x.json": `{"format":1,"source":"a.yaml","version":"9"}`, name(version(7)): `{"source":7}`, name(version(8)): `{`, "other.json": "{}", // of others, or damaged
	} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	all, err := List(dir)
	if err != nil || len(all) != 2 || all[0].Source != `b "source".yaml` || all[0].Version != "source" || all[1].Table != version(1) || !all[0].Last.Equal(now) {
		t.Errorf("%+v, %v", all, err)
	}
	if _, err := List(filepath.Join(dir, "none")); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}
