package child_test

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"gatehouse/dev/child"
)

// relay returns what a log has after a process printed a line.
func relay(line string, level slog.Level) string {
	var out bytes.Buffer
	child.LogTo(slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: level})), "plugin")(7, line)
	return out.String()
}

func TestLineOfAPluginKeepsItsLevelAndIsQuotedOnce(t *testing.T) {
	var printed bytes.Buffer
	slog.New(slog.NewTextHandler(&printed, nil)).With("gate", "a b").WithGroup("request").
		Error(`a "file" does not load`, "path", `C:\x`, "line", 7, "empty", "", "a key", "=")
	line := strings.TrimSuffix(printed.String(), "\n")
	if got, want := relay(line, slog.LevelInfo), line+" process=plugin:7\n"; got != want {
		t.Errorf("got  %swant %s", got, want)
	}
}

func TestOtherLinesOfAPluginAreMessages(t *testing.T) {
	for _, line := range []string{
		"panic: boom", "goroutine 1 [running]:", `msg="no time" level=INFO`, "time=now level=INFO msg=x",
		"time=2026-01-02T03:04:05.000Z level=LOUD msg=x", `time=2026-01-02T03:04:05.000Z level=INFO msg="cut`,
	} {
		if got := relay(line, slog.LevelInfo); !strings.Contains(got, " level=INFO msg=") || !strings.HasSuffix(got, " process=plugin:7\n") || strings.Count(got, "time=") > 1+strings.Count(line, "time=") {
			t.Errorf("%q became %q", line, got)
		}
	}
}

func TestLevelsOfTheGatewaysLogApplyToThePlugin(t *testing.T) {
	const line = "time=2026-01-02T03:04:05.000Z level=INFO msg=x"
	if got := relay(line, slog.LevelWarn); got != "" {
		t.Errorf("got %q", got)
	}
}

// A plugin's errors are in the gateway's log, too, by a call of the plugin.
func TestMessageThatAPluginHasLoggedIsQuotedOnce(t *testing.T) {
	for text, want := range map[string]string{
		`msg="did not load" files=[/a.yaml] error="1 mistake(s)\n  x is \"y\""`: `msg="did not load" files=[/a.yaml] error="1 mistake(s)\n  x is \"y\""`,
		"hello":             "msg=hello",
		`a "b" c`:           `msg="a \"b\" c"`,
		`level=INFO msg=x`:  `msg="level=INFO msg=x"`,
		`msg="not complete`: `msg="msg=\"not complete"`,
		"":                  `msg=""`,
	} {
		var out bytes.Buffer
		message, attributes := child.Message(text)
		slog.New(slog.NewTextHandler(&out, nil)).Error(message, attributes...)
		if _, got, _ := strings.Cut(strings.TrimSpace(out.String()), "level=ERROR "); got != want {
			t.Errorf("%s became %s, want %s", text, got, want)
		}
	}
}
