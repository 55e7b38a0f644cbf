package cli

import (
	"errors"
	"strings"
	"testing"
)

func TestEveryCommandHasAnExample(t *testing.T) {
	for _, c := range rootCommand().Commands() {
		if c.Short == "" || c.Example == "" {
			t.Errorf("%s lacks a short description or an example", c.CommandPath())
		}
	}
}

func TestCompletionIsWrittenForEachShell(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		var script, complaint strings.Builder
		if status := Main([]string{"completion", shell}, strings.NewReader(""), &script, &complaint); status != exitOK || !strings.Contains(script.String(), "gatehouse-dev") {
			t.Errorf("%s: status %d, %s", shell, status, complaint.String())
		}
	}
}

// TestMissingPluginBinarySaysWhatToDo starts the gateways without the binaries
// that make build puts beside the program.
func TestMissingPluginBinarySaysWhatToDo(t *testing.T) {
	for _, gateway := range []string{"kong", "apisix"} {
		var complaint strings.Builder
		status := Main([]string{gateway, "--config", "none.yaml"}, strings.NewReader(""), &complaint, &complaint)
		if status != exitError || !strings.Contains(complaint.String(), "build it with make build or name another") {
			t.Errorf("%s: status %d, %s", gateway, status, complaint.String())
		}
	}
}

// A file of a real gateway has more than the local one runs: the error says how to go on,
// and that works.
func TestRealisticFileSaysHowItIsRun(t *testing.T) {
	for text, c := range map[string]struct{ skips, advises bool }{
		"plugin 'cors' not enabled; the local gateway runs the plugin 'gatehouse'": {false, true},
		"consumers: not supported by the local gateway":                            {false, true},
		"consumers: not supported by the local gateway ":                           {true, false},
		"no such file": {false, false},
	} {
		err := withAdvice(errors.New(text), c.skips)
		if advised := strings.Contains(err.Error(), "--skip-unsupported"); advised != c.advises || !strings.HasPrefix(err.Error(), text) {
			t.Errorf("%v: %v", c, err)
		}
	}
	if err := withAdvice(nil, false); err != nil {
		t.Error(err)
	}
}
