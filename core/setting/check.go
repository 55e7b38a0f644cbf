package setting

import (
	"fmt"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// Checker checks decoded settings and collects every problem.
type Checker struct {
	problems []Problem
	// unread are the settings whose values could not be read. Nothing is said of
	// them a second time.
	unread []Problem
}

// Add adds a problem.
func (c *Checker) Add(path, format string, args ...any) {
	if !slices.ContainsFunc(c.unread, func(m Problem) bool { return within(path, m.Path) }) {
		c.problems = append(c.problems, Problem{Path: path, Text: fmt.Sprintf(format, args...)})
	}
}

// within tells whether a path is that of a setting or of something in it.
func within(path, setting string) bool {
	rest, ok := strings.CutPrefix(path, setting)
	return ok && setting != "" && (rest == "" || rest[0] == '.' || rest[0] == '[')
}

// section checks what the tags say, for every field of every present section.
func (c *Checker) section(path string, s reflect.Value) {
	for i := range s.NumField() {
		field := s.Type().Field(i)
		c.field(Join(path, Key(field)), field, s.Field(i))
	}
}

func (c *Checker) field(path string, field reflect.StructField, value reflect.Value) {
	if field.Tag.Get("required") == "true" && value.IsZero() {
		c.Add(path, "is required: %s", field.Tag.Get("doc"))
		return
	}
	switch value.Kind() {
	case reflect.Pointer:
		if !value.IsNil() {
			c.section(path, value.Elem())
		}
	case reflect.Struct:
		c.section(path, value)
	case reflect.String:
		c.text(path, field, value.String())
	case reflect.Int:
		c.between(path, field, float64(value.Int()))
	case reflect.Float64:
		c.between(path, field, value.Float())
	case reflect.Slice:
		c.filled(path, field, value)
		for i := range value.Len() {
			item := path + "[" + strconv.Itoa(i) + "]"
			if value.Index(i).Kind() == reflect.Struct {
				c.section(item, value.Index(i))
			} else {
				c.text(item, field, value.Index(i).String())
			}
		}
	}
}

// filled refuses an empty list where it would be read as the default.
func (c *Checker) filled(path string, field reflect.StructField, list reflect.Value) {
	normal, ok := field.Tag.Lookup("default")
	if least, _ := strconv.Atoi(field.Tag.Get("len_min")); ok && list.Len() < least {
		c.Add(path, "is an empty list; leave it out for the default (%s)", strings.ReplaceAll(normal, ",", ", "))
	}
}

func (c *Checker) text(path string, field reflect.StructField, text string) {
	if text == "" && field.Type.Kind() != reflect.Slice {
		return
	}
	if allowed, ok := field.Tag.Lookup("one_of"); ok && !slices.Contains(strings.Split(allowed, ","), text) {
		c.Add(path, "must be one of %s", strings.ReplaceAll(allowed, ",", ", "))
	}
	if field.Tag.Get("starts_with") == "http" {
		c.URL(path, text)
	}
	if text == "" {
		c.Add(path, "is empty")
	}
}

func (c *Checker) between(path string, field reflect.StructField, number float64) {
	limits, ok := field.Tag.Lookup("between")
	if !ok {
		return
	}
	low, high, _ := strings.Cut(limits, ",")
	lowest, _ := strconv.ParseFloat(low, 64)
	highest, _ := strconv.ParseFloat(high, 64)
	if number < lowest || number > highest {
		c.Add(path, "must be between %s and %s", low, high)
	}
}

// URL checks for a complete http or https URL without a password.
func (c *Checker) URL(path, text string) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		c.Add(path, "must be a complete http or https URL")
		return
	}
	if u.User != nil {
		c.Add(path, "must not hold a user name or password")
	}
}

// Mentions reports whether there is a problem at one of the paths or below.
func (c *Checker) Mentions(paths ...string) bool {
	return slices.ContainsFunc(c.problems, func(m Problem) bool {
		return slices.ContainsFunc(paths, func(path string) bool { return within(m.Path, path) })
	})
}

// Problems are those found so far.
func (c *Checker) Problems() []Problem { return c.problems }
