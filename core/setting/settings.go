// Package setting reads structs from YAML and JSON by the tags of their fields,
// which are the one source of names, defaults, checks, JSON Schemas and
// references:
//
//	config      the name of the setting
//	doc         what it means
//	default     its value where it is absent; of lists and maps, separated by commas
//	required    "true": must be set
//	one_of      the values that it may have, separated by commas
//	between     the least and the greatest number
//	starts_with "http": a complete http or https URL
//	len_min     the least length, for schemas
//	secret      "true": a [Secret]
//	file        "true": the path of a file that is read, see [Files]
package setting

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"
)

// Seconds is a duration as Kong's and APISIX's users write it: a number.
type Seconds float64

// Duration converts to Go's unit.
func (s Seconds) Duration() time.Duration { return time.Duration(float64(s) * float64(time.Second)) }

// Secret is a value that is never printed.
type Secret string

// String hides the secret from every %v and %s.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return "[secret]"
}

// GoString hides the secret from %#v.
func (s Secret) GoString() string { return s.String() }

// MarshalText hides the secret from JSON and YAML.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Problem is one thing wrong with a configuration.
type Problem struct {
	// Path of the field, such as jwt.issuers[0].issuer; empty for the whole.
	Path string
	// Text says what is wrong and what to do.
	Text string
	// meant are the settings that the text names, for a key that is none.
	meant []string
}

// Below is the problem as one of a whole in which the settings stand at a path.
func (m Problem) Below(path string) Problem {
	if path == "" {
		return m
	}
	m.Path = strings.TrimSuffix(path+"."+m.Path, ".")
	if len(m.meant) > 0 {
		whole := make([]string, len(m.meant))
		for i, setting := range m.meant {
			whole[i] = Join(path, setting)
		}
		m.Text = strings.Replace(m.Text, Alternatives(m.meant), Alternatives(whole), 1)
		m.meant = whole
	}
	return m
}

func (m Problem) String() string {
	if m.Path == "" {
		return m.Text
	}
	return m.Path + ": " + m.Text
}

// Error holds every problem of a configuration.
type Error struct {
	// Source is the file, or empty for a configuration given inline.
	Source   string
	Problems []Problem
}

// Loggable tells hosts that the text holds no secret: values of settings are
// never printed.
func (*Error) Loggable() {}

func (e *Error) Error() string {
	text := fmt.Sprintf("configuration has %d mistake(s)", len(e.Problems))
	if e.Source != "" {
		text = e.Source + ": " + text
	}
	for _, m := range e.Problems {
		text += "\n  " + m.String()
	}
	return text
}

// ErrorOf is an *Error with problems in the order of their paths, or nil if there
// are none.
func ErrorOf(source string, problems []Problem) error {
	if len(problems) == 0 {
		return nil
	}
	slices.SortStableFunc(problems, func(a, b Problem) int { return strings.Compare(a.Path, b.Path) })
	return &Error{source, problems}
}

// Key is the name of the setting in a field.
func Key(field reflect.StructField) string { return field.Tag.Get("config") }

// Join is the path of a setting below another one.
func Join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}
