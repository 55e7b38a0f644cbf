package cli

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestCommandOfACounterexampleShowsIt runs the commands that prove prints in its script:
// the gate of each lets the call pass.
func TestCommandOfACounterexampleShowsIt(t *testing.T) {
	script, err := os.ReadFile("testdata/script/prove.txtar")
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(t.TempDir())
	for _, file := range strings.Split(string(script), "\n-- ")[1:] {
		name, text, _ := strings.Cut(file, " --\n")
		writeDoc(t, name, text+"\n")
	}
	var printed bytes.Buffer
	if status := Main([]string{"prove", "--output", "json", "wrong.test.yaml"}, strings.NewReader(""), &printed, os.Stderr); status != exitNo {
		t.Fatalf("status %d: %s", status, &printed)
	}
	var answers struct {
		Properties []struct{ Why, Command string }
	}
	if err := json.Unmarshal(printed.Bytes(), &answers); err != nil || len(answers.Properties) < 5 {
		t.Fatalf("%v: %s", err, &printed)
	}
	for _, p := range answers.Properties {
		claims, command, piped := strings.Cut(p.Command, " | ")
		if !piped {
			claims, command = "", p.Command
		}
		words := shellWord.FindAllString(command, -1)
		for i := range words {
			words[i] = strings.Trim(words[i], "'")
		}
		input := strings.Trim(strings.TrimPrefix(claims, "echo "), "'")
		var shown bytes.Buffer
		if status := Main(words[1:], strings.NewReader(input), &shown, &shown); status != exitYes {
			t.Errorf("%s: %s ends with %d: %s", p.Why, filepath.ToSlash(p.Command), status, &shown)
		}
	}
}
