package schema

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// validator returns what is wrong with a value, or "".
type validator func(value any) string

// validatorOrder is the order in which Kong runs them.
var validatorOrder = []string{
	"eq", "ne", "not_one_of", "one_of", "gt", "timestamp", "uuid", "is_regex", "between",
	"len_eq", "len_min", "len_max", "starts_with", "not_match", "match_none", "match", "match_all", "match_any",
	"contains", "mutually_exclusive_subsets",
}

func isValidator(name string) bool { return slices.Contains(validatorOrder, name) }

func (p *parser) validators(path string, def map[string]any) []validator {
	var all []validator
	for _, name := range validatorOrder {
		arg, ok := def[name]
		if !ok || arg == nil {
			continue // eq and ne null are flags of the field
		}
		if v := p.validator(path+"."+name, name, arg); v != nil {
			all = append(all, v)
		}
	}
	return all
}

func (p *parser) validator(at, name string, arg any) validator {
	switch name {
	case "eq":
		return func(value any) string { return failUnless(sameScalar(value, arg), "value must be %v", arg) }
	case "ne":
		return func(value any) string { return failUnless(!sameScalar(value, arg), "value must not be %v", arg) }
	case "one_of":
		options := p.list(at, arg)
		return func(value any) string {
			return failUnless(contains(options, value), "expected one of: %s", listing(options))
		}
	case "not_one_of":
		options := p.list(at, arg)
		return func(value any) string {
			return failUnless(!contains(options, value), "must not be one of: %s", listing(options))
		}
	case "contains":
		return func(value any) string {
			list, _ := asList(value)
			return failUnless(contains(list, arg), "expected to contain: %v", arg)
		}
	case "mutually_exclusive_subsets":
		return p.exclusiveSubsets(at, arg)
	case "gt", "between", "timestamp":
		return p.numberValidator(at, name, arg)
	case "len_eq", "len_min", "len_max":
		return p.lengthValidator(at, name, arg)
	default:
		return p.stringValidator(at, name, arg)
	}
}

func failUnless(ok bool, format string, args ...any) string {
	if ok {
		return ""
	}
	return fmt.Sprintf(format, args...)
}

func listing(options []any) string {
	texts := make([]string, len(options))
	for i, option := range options {
		texts[i] = fmt.Sprint(option)
	}
	return strings.Join(texts, ", ")
}

func (p *parser) numberValidator(at, name string, arg any) validator {
	switch name {
	case "gt":
		limit := p.number(at, arg)
		return func(value any) string {
			n, _ := value.(float64)
			return failUnless(n > limit, "value must be greater than %v", arg)
		}
	case "between":
		limits := p.list(at, arg)
		if len(limits) != 2 {
			p.fail(at, "length must be 2")
			return nil
		}
		low, high := p.number(at, limits[0]), p.number(at, limits[1])
		return func(value any) string {
			n, _ := value.(float64)
			return failUnless(low <= n && n <= high, "value should be between %.0f and %.0f", low, high)
		}
	default: // timestamp
		p.boolean(at, arg)
		return func(value any) string {
			n, _ := value.(float64)
			return failUnless(n > 0, "expected a valid timestamp")
		}
	}
}

func (p *parser) lengthValidator(at, name string, arg any) validator {
	n := p.number(at, arg)
	return func(value any) string {
		length := lengthOf(value)
		switch name {
		case "len_eq":
			return failUnless(length == n, "length must be %.0f", n)
		case "len_min":
			return failUnless(length >= n, "%s", lengthMessage("at least", n))
		default:
			return failUnless(length <= n, "%s", lengthMessage("at most", n))
		}
	}
}

func lengthMessage(bound string, n float64) string {
	return "length must be " + bound + " " + strconv.FormatFloat(n, 'f', 0, 64)
}

func lengthOf(value any) float64 {
	switch value := value.(type) {
	case string:
		return float64(len(value))
	case []any:
		return float64(len(value))
	case map[string]any:
		return float64(len(value))
	}
	return 0
}

var uuidForm = regexp.MustCompile(`(?i)^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`)

func (p *parser) stringValidator(at, name string, arg any) validator {
	switch name {
	case "uuid":
		p.boolean(at, arg)
		return onText(func(s string) string { return failUnless(uuidForm.MatchString(s), "expected a valid UUID") })
	case "is_regex":
		p.boolean(at, arg)
		return onText(func(s string) string {
			_, err := regexp.Compile(s)
			return failUnless(err == nil, "not a valid regex: %s", s)
		})
	case "starts_with":
		prefix := p.str(at, arg)
		return onText(func(s string) string {
			return failUnless(strings.HasPrefix(s, prefix), "should start with: %s", prefix)
		})
	case "match":
		pattern := p.pattern(at, arg)
		return onText(func(s string) string { return failUnless(pattern.MatchString(s), "invalid value: %s", s) })
	case "not_match":
		pattern := p.pattern(at, arg)
		return onText(func(s string) string { return failUnless(!pattern.MatchString(s), "invalid value: %s", s) })
	case "match_any":
		return p.matchAny(at, arg)
	default: // match_all, match_none
		return p.matchEach(at, arg, name == "match_all")
	}
}

func onText(check func(string) string) validator {
	return func(value any) string {
		text, ok := value.(string)
		if !ok {
			return ""
		}
		return check(text)
	}
}

// matchEach wants every listed pattern to match, or none.
func (p *parser) matchEach(at string, arg any, wanted bool) validator {
	type rule struct {
		pattern *regexp.Regexp
		err     string
	}
	var rules []rule
	for i, item := range p.list(at, arg) {
		def, _ := item.(map[string]any)
		p.only(index(at, i), def, "pattern", "err")
		text, _ := def["err"].(string)
		rules = append(rules, rule{p.pattern(index(at, i)+".pattern", def["pattern"]), text})
	}
	return onText(func(s string) string {
		for _, r := range rules {
			if r.pattern.MatchString(s) != wanted {
				return orText(r.err, "invalid value: "+s)
			}
		}
		return ""
	})
}

func (p *parser) matchAny(at string, arg any) validator {
	def, _ := arg.(map[string]any)
	p.only(at, def, "patterns", "err")
	text, _ := def["err"].(string)
	var patterns []*regexp.Regexp
	for i, item := range p.list(at+".patterns", def["patterns"]) {
		patterns = append(patterns, p.pattern(index(at+".patterns", i), item))
	}
	return onText(func(s string) string {
		for _, pattern := range patterns {
			if pattern.MatchString(s) {
				return ""
			}
		}
		return orText(text, "invalid value: "+s)
	})
}

func (p *parser) pattern(at string, arg any) *regexp.Regexp {
	pattern, err := compileLuaPattern(p.str(at, arg))
	if err != nil {
		p.fail(at, "%v", err)
		return regexp.MustCompile(`$^`)
	}
	return pattern
}

// only refuses keys that are not named.
func (p *parser) only(at string, def map[string]any, names ...string) {
	for _, key := range slices.Sorted(maps.Keys(def)) {
		if !slices.Contains(names, key) {
			p.fail(join(at, key), msgUnknown)
		}
	}
}

func (p *parser) exclusiveSubsets(at string, arg any) validator {
	var subsets [][]any
	for i, item := range p.list(at, arg) {
		subsets = append(subsets, p.list(index(at, i), item))
	}
	return func(value any) string {
		list, _ := asList(value)
		var touched []string
		for _, subset := range subsets {
			if slices.ContainsFunc(list, func(item any) bool { return contains(subset, item) }) {
				touched = append(touched, "("+quotedAny(subset)+")")
			}
		}
		return failUnless(len(touched) < 2, "these sets are mutually exclusive: %s", strings.Join(touched, ", "))
	}
}

func quotedAny(words []any) string {
	texts := make([]string, len(words))
	for i, word := range words {
		texts[i] = fmt.Sprint(word)
	}
	return quoted(texts)
}

func quoted(words []string) string { return "'" + strings.Join(words, "', '") + "'" }
