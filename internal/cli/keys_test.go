package cli

import (
	"bytes"
	"os"
	"regexp"
	"strings"
	"testing"
)

var keyCommand = regexp.MustCompile(`(?m)^gatehouse (keys .*)$`)

// The guide makes a key, lists it and rotates it.
func TestKeyCommandsOfTheGuideWork(t *testing.T) {
	guide, err := os.ReadFile("../../docs/upstream-tokens.md")
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(t.TempDir())
	commands := keyCommand.FindAllSubmatch(guide, -1)
	if len(commands) != 3 {
		t.Errorf("%d commands", len(commands))
	}
	for _, c := range commands {
		var out bytes.Buffer
		if status := Main(strings.Fields(string(c[1])), strings.NewReader(""), &out, &out); status != exitYes {
			t.Errorf("%s: exit status %d\n%s", c[1], status, &out)
		}
	}
}
