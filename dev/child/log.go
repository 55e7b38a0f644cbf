package child

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"
)

// LogTo is an [Spec.Output] that writes a process's lines to a log. A line in the
// form of [slog.TextHandler] keeps its time, its level and its attributes; any other
// is a message at level INFO.
func LogTo(log *slog.Logger, name string) func(pid int, line string) {
	return func(pid int, line string) {
		record, ok := parseRecord(line)
		if !ok {
			record = slog.NewRecord(time.Now(), slog.LevelInfo, line, 0)
		}
		record.AddAttrs(slog.String("process", fmt.Sprintf("%s:%d", name, pid)))
		if ctx := context.Background(); log.Enabled(ctx, record.Level) {
			_ = log.Handler().Handle(ctx, record)
		}
	}
}

// parseRecord reads a line of [slog.TextHandler]: time, level, msg and attributes.
func parseRecord(line string) (record slog.Record, ok bool) {
	attributes, ok := parseAttributes(line)
	if !ok || len(attributes) < 3 || attributes[0].Key != slog.TimeKey || attributes[1].Key != slog.LevelKey || attributes[2].Key != slog.MessageKey {
		return record, false
	}
	at, err := time.Parse(time.RFC3339, attributes[0].Value.String())
	var level slog.Level
	if err != nil || level.UnmarshalText([]byte(attributes[1].Value.String())) != nil {
		return record, false
	}
	record = slog.NewRecord(at, level, attributes[2].Value.String(), 0)
	record.AddAttrs(attributes[3:]...)
	return record, true
}

// Message reads what a plugin has the gateway log: a message with attributes in the form
// of [slog.TextHandler], without time and level. Any other text is the message.
func Message(text string) (message string, attributes []any) {
	parsed, ok := parseAttributes(text)
	if !ok || len(parsed) == 0 || parsed[0].Key != slog.MessageKey {
		return text, nil
	}
	for _, a := range parsed[1:] {
		attributes = append(attributes, a)
	}
	return parsed[0].Value.String(), attributes
}

// parseAttributes reads key=value, several of them.
func parseAttributes(line string) (attributes []slog.Attr, ok bool) {
	for rest := line; rest != ""; {
		var key, value string
		if key, value, rest, ok = cutAttribute(rest); !ok {
			return nil, false
		}
		attributes = append(attributes, slog.String(key, value))
	}
	return attributes, true
}

// cutAttribute takes key=value, where either may be quoted, from the front of a
// line.
func cutAttribute(line string) (key, value, rest string, ok bool) {
	key, rest, ok = cutWord(line, '=')
	if !ok || !strings.HasPrefix(rest, "=") {
		return "", "", "", false
	}
	value, rest, ok = cutWord(rest[1:], ' ')
	return key, value, strings.TrimPrefix(rest, " "), ok
}

// cutWord takes a quoted word, or what stands before the end.
func cutWord(text string, end byte) (word, rest string, ok bool) {
	if !strings.HasPrefix(text, `"`) {
		if i := strings.IndexByte(text, end); i >= 0 {
			return text[:i], text[i:], true
		}
		return text, "", true
	}
	quoted, err := strconv.QuotedPrefix(text)
	if err != nil {
		return "", "", false
	}
	word, err = strconv.Unquote(quoted)
	return word, text[len(quoted):], err == nil
}
