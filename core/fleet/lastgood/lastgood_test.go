package lastgood

import (
	"os"
	"strings"
	"testing"
	"time"
)

func TestCopyOfANewerVersionIsNeitherReadNorChanged(t *testing.T) {
	c := In(t.TempDir(), "classic", "db")
	if err := c.Write(Copy{Texts: [][]byte{[]byte("public: [GET /]")}}, time.Now()); err != nil {
		t.Fatal(err)
	}
	good, err := os.ReadFile(c.Path())
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"a newer format":                strings.Replace(string(good), `"format":1`, `"format":2`, 1),
		"a newer format, further":       strings.Replace(string(good), `"format":1`, `"format":2,"shiny":{}`, 1),
		"a newer format, texts gone":    `{"format":2,"written":"2030-01-01T00:00:00Z"}`,
		"a newer format, other shape":   `{"format":2,"written":0,"texts":{"a":"b"}}`,
		"a much newer format, in lists": `{"texts":[1],"format":99}`,
	} {
		if err := os.WriteFile(c.Path(), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		kept, err := c.Read(1)
		if kept != nil || err == nil || !strings.Contains(err.Error(), "was written by a newer version of Gatehouse") || !strings.Contains(err.Error(), "update this node") || !strings.Contains(err.Error(), c.Path()) {
			t.Errorf("%s: %v, %v", name, kept, err)
		}
		if left, err := os.ReadFile(c.Path()); err != nil || string(left) != text {
			t.Errorf("%s: the file is now %s: %v", name, left, err)
		}
	}
}
