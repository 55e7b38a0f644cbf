package signinimport

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Setting is a row of a table of settings of another program. The tables are those of
// docs/migration.md, too.
type Setting struct {
	// Names of the settings, separated by commas. A name that ends in .* stands for all
	// that is below it.
	Names string
	// Ours is what becomes of them: a setting, or why there is none. It is Markdown.
	Ours string
}

// Has reports whether the row is about a setting.
func (s Setting) Has(name string) bool {
	for one := range strings.SplitSeq(s.Names, ", ") {
		prefix, below := strings.CutSuffix(one, ".*")
		if one == name || below && (name == prefix || strings.HasPrefix(name, prefix+".")) {
			return true
		}
	}
	return false
}

// source is a configuration of another program, as it is read.
type source struct {
	*Draft
	values map[string]any
	rows   []Setting
	// defaults are values that say nothing.
	defaults map[string]any
	used     map[string]bool
	errs     []error
}

func newSource(values map[string]any, rows []Setting, defaults map[string]any) *source {
	return &source{Draft: newDraft(), values: values, rows: rows, defaults: defaults, used: map[string]bool{}}
}

// get is the value of a setting, whose name may lead into mappings; nil: there is none.
func (s *source) get(name string) any {
	s.used[name] = true
	value := any(s.values)
	for step := range strings.SplitSeq(name, ".") {
		m, ok := value.(map[string]any)
		if !ok {
			return nil
		}
		value = m[step]
	}
	return value
}

func (s *source) wrong(name, want string, value any) {
	s.errs = append(s.errs, fmt.Errorf("%s: is of the type %s; want %s", name, typeOf(value), want))
}

func typeOf(value any) string {
	switch value.(type) {
	case map[string]any:
		return "mapping"
	case []any:
		return "list"
	case string:
		return "text"
	case bool:
		return "boolean"
	}
	return "number"
}

func (s *source) text(name string) string {
	switch v := s.get(name).(type) {
	case nil:
	case string:
		return v
	default:
		s.wrong(name, "text", v)
	}
	return ""
}

// texts is a list of texts; one text is a list of it.
func (s *source) texts(name string) (list []string) {
	switch v := s.get(name).(type) {
	case nil:
	case string:
		return []string{v}
	case []any:
		for _, member := range v {
			text, ok := member.(string)
			if !ok {
				s.wrong(name, "a list of texts", member)
				return nil
			}
			list = append(list, text)
		}
	default:
		s.wrong(name, "a list of texts", v)
	}
	return list
}

// flag is a switch, with the value that it has where it is not set.
func (s *source) flag(name string, otherwise bool) bool {
	switch v := s.get(name).(type) {
	case nil:
	case bool:
		return v
	default:
		s.wrong(name, "true or false", v)
	}
	return otherwise
}

// number is a number, with the value that it has where it is not set.
func (s *source) number(name string, otherwise float64) float64 {
	switch v := s.get(name).(type) {
	case nil:
	case int:
		return float64(v)
	case int64:
		return float64(v)
	case float64:
		if !math.IsNaN(v) && !math.IsInf(v, 0) {
			return v
		}
		s.wrong(name, "a finite number", v)
	default:
		s.wrong(name, "a number", v)
	}
	return otherwise
}

// rest notes every setting that is set and was not read.
func (s *source) rest() error {
	s.restOf("", s.values)
	return errors.Join(s.errs...)
}

func (s *source) restOf(prefix string, values map[string]any) {
	names := make([]string, 0, len(values))
	for name := range values {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		value, full := values[name], prefix+name
		if s.used[full] || isEmpty(value) {
			continue
		}
		row := s.row(full)
		inner, isMapping := value.(map[string]any)
		switch {
		case isMapping && s.knowsBelow(full):
			s.restOf(full+".", inner)
		case row == nil:
			s.note(full, "is no setting that is known here; it is left out")
		case !same(s.defaults[full], value):
			s.note(full, "%s", plain(row.Ours))
		}
	}
}

// row is the one of a setting, or nil.
func (s *source) row(name string) *Setting {
	for i := range s.rows {
		if s.rows[i].Has(name) {
			return &s.rows[i]
		}
	}
	return nil
}

// knowsBelow reports whether a setting below one was read, or has a row.
func (s *source) knowsBelow(name string) bool {
	for used := range s.used {
		if strings.HasPrefix(used, name+".") {
			return true
		}
	}
	return slices.ContainsFunc(s.rows, func(row Setting) bool {
		return strings.Contains(", "+row.Names, ", "+name+".") && !row.Has(name)
	})
}

// plain is Markdown without its signs.
func plain(text string) string {
	var b strings.Builder
	for text != "" {
		before, after, found := strings.Cut(text, "](")
		b.WriteString(before)
		if !found {
			break
		}
		_, text, _ = strings.Cut(after, ")")
	}
	return strings.NewReplacer("`", "", "[", "", `\|`, "|").Replace(b.String())
}

func isEmpty(value any) bool {
	switch v := value.(type) {
	case nil:
		return true
	case string:
		return v == ""
	case []any:
		return len(v) == 0
	case map[string]any:
		for _, inner := range v {
			if !isEmpty(inner) {
				return false
			}
		}
		return true
	}
	return false
}

// same compares what a file says with a default; the order of a list says nothing.
func same(otherwise, value any) bool {
	switch o := otherwise.(type) {
	case []string:
		list, ok := value.([]any)
		if !ok || len(list) != len(o) {
			return false
		}
		for _, member := range list {
			if text, ok := member.(string); !ok || !slices.Contains(o, text) {
				return false
			}
		}
		return true
	case int:
		switch v := value.(type) {
		case int:
			return v == o
		case int64:
			return v == int64(o)
		case float64:
			return v == float64(o)
		}
		return false
	}
	return reflect.DeepEqual(otherwise, value)
}

// seconds is a duration as the configuration writes it: a whole number where it is one.
func seconds(n float64) any {
	if n == math.Trunc(n) {
		return int64(n)
	}
	return n
}

// within keeps a number in a range, with a note where it was not.
func (s *source) within(name string, n, least, most float64) float64 {
	kept := min(max(n, least), most)
	if kept != n {
		s.note(name, "is %v here, because %v to %v is what is taken", seconds(kept), seconds(least), seconds(most))
	}
	return kept
}

// secret refers to a secret: as the source itself does, or by an environment variable of
// a name. A secret is never copied.
func (s *source) secret(name, variable, what string) string {
	return s.reference(s.text(name), variable, what)
}

func (s *source) reference(text, variable, what string) string {
	switch {
	case text == "":
		return ""
	case strings.HasPrefix(strings.ToLower(text), "$env://") && variableName.MatchString(text[len("$env://"):]):
		return s.export(text[len("$env://"):], what)
	case strings.HasPrefix(text, "{vault://env/"):
		inner := strings.TrimSuffix(strings.TrimPrefix(text, "{vault://env/"), "}")
		inner = strings.ToUpper(strings.NewReplacer("-", "_").Replace(inner))
		if variableName.MatchString(inner) {
			return s.export(inner, what)
		}
	}
	return s.export(variable, what)
}

var variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// duration reads what Go writes, such as 168h0m0s.
func (s *source) duration(name string, otherwise time.Duration) time.Duration {
	switch v := s.get(name).(type) {
	case nil:
	case string:
		d, err := time.ParseDuration(v)
		if err == nil {
			return d
		}
		s.errs = append(s.errs, fmt.Errorf("%s: is no duration such as 24h", name))
	default:
		s.wrong(name, "a duration such as 24h", v)
	}
	return otherwise
}

// discovery is the URL of a discovery document, for an issuer or for the URL itself.
func discovery(issuer string) string {
	if strings.HasSuffix(issuer, wellKnown) {
		return issuer
	}
	return strings.TrimSuffix(issuer, "/") + wellKnown
}

const wellKnown = "/.well-known/openid-configuration"

// itoa writes a whole number.
func itoa(n float64) string { return strconv.FormatInt(int64(n), 10) }

// calls says how a provider is called, within some seconds; 0: as by default.
func (s *source) calls(to section, timeout float64) {
	h := to.sub("http")
	if timeout > 0 {
		h["timeout"] = seconds(timeout)
	}
	if !s.flag("ssl_verify", true) {
		s.note("ssl_verify", "certificates of the provider are verified; http.ssl_verify is for development")
	}
	if len(h) == 0 {
		delete(to, "http")
	}
}
