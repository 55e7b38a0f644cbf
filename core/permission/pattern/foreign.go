package pattern

import (
	"cmp"
	"fmt"
	"regexp"
	"strings"

	"gatehouse/core/permission/report"
)

// checkForeign refuses what other routers and gateways write for a path. Much of it is
// a valid regex that matches nothing, or only the text itself. The error says what to
// write.
func checkForeign(text string) error {
	for _, find := range []func(text, masked string) string{url, location, variable, query, parameter, template, fileRoute} {
		if problem := find(text, mask(text)); problem != "" {
			return fmt.Errorf("%s %s", report.Quote(text), problem)
		}
	}
	return nil
}

// mask hides what a regex quotes, with its places kept: escaped characters, classes and
// the heads of groups.
func mask(text string) string {
	masked := []byte(text)
	hide := func(from, to int) {
		for i := from; i < min(to, len(masked)); i++ {
			masked[i] = hidden
		}
	}
	for i := 0; i < len(text); {
		end := i + 1
		switch {
		case text[i] == '\\':
			end = i + 2
			hide(i, end)
		case text[i] == '[':
			end = classEnd(text, i)
			hide(i, end)
		case strings.HasPrefix(text[i:], "(?"):
			if at := strings.IndexAny(text[i:], ">:)"); at >= 0 {
				end = i + at + 1
			}
			hide(i, end)
		}
		i = end
	}
	return string(masked)
}

const hidden = '\x00'

// classEnd is the place behind a class that begins at a place.
func classEnd(text string, start int) int {
	i := start + 1
	if i < len(text) && text[i] == '^' {
		i++
	}
	for first := true; i < len(text); first = false {
		switch {
		case text[i] == '\\':
			i++
		case strings.HasPrefix(text[i:], "[:"):
			if at := strings.Index(text[i:], ":]"); at >= 0 {
				i += at + 1
			}
		case text[i] == ']' && !first:
			return i + 1
		}
		i++
	}
	return len(text)
}

var (
	complete = regexp.MustCompile(`^\^?(?:[A-Za-z][A-Za-z0-9+.-]*\??|<[^>]*>|\([^)]*\)):(?:\\?/){2}(<[^>]*>|[^/\\]*(?:\\\.[^/\\]*)*)(.*)$`)
	bare     = regexp.MustCompile(`^\^?/{0,2}((?:\*\.)?(?:[A-Za-z0-9-]+\\?\.)+[A-Za-z]{2,}(?::[0-9]+)?|[A-Za-z0-9-]+:[0-9]+)(/.*)$`)
)

// url finds a whole URL, and a host without a scheme.
func url(text, _ string) string {
	parts := complete.FindStringSubmatch(text)
	if parts == nil && (!strings.HasPrefix(text, "/") || strings.HasPrefix(text, "//")) {
		parts = bare.FindStringSubmatch(text)
	}
	switch {
	case parts != nil:
		path := cmp.Or(strings.ReplaceAll(parts[2], `\/`, "/"), "/")
		return fmt.Sprintf("names a host; write the path %s, and the host under hosts: [%s]", path, plainHost(parts[1]))
	case strings.HasPrefix(text, "//"):
		return "begins with a double slash, which no request may; write " + text[1:]
	}
	return ""
}

// plainHost is a host without what makes it a regex.
func plainHost(host string) string {
	host = strings.NewReplacer(`\.`, ".", `\`, "").Replace(host)
	if at := strings.LastIndexByte(host, ':'); at >= 0 {
		host = host[:at] // a port, which hosts do not have
	}
	if CheckHost(host) != "" {
		return "api.example.com"
	}
	return host
}

// location finds the modifiers of nginx.
func location(text, _ string) string {
	for _, modifier := range []string{"^~", "~*", "~", "="} {
		path, found := strings.CutPrefix(text, modifier)
		if path = strings.TrimSpace(path); found && path != "" {
			return fmt.Sprintf("begins with %s, a modifier of nginx's location; write %s", modifier, asWhole(path, modifier))
		}
	}
	return ""
}

// asWhole is what a location matches as a regex for the whole path.
func asWhole(path, modifier string) string {
	switch modifier {
	case "=":
		return path
	case "^~":
		return path + ".*"
	}
	if from, anchored := strings.CutPrefix(path, "^"); anchored {
		path = from
	} else {
		path = "/.*" + strings.TrimPrefix(path, "/")
	}
	if upTo, anchored := strings.CutSuffix(path, "$"); anchored {
		path = upTo
	} else {
		path += ".*"
	}
	if modifier == "~*" {
		return "(?i:" + path + ")"
	}
	return path
}

var inQuery = regexp.MustCompile(`(?:[A-Za-z0-9_/-]|\\)(\?)([A-Za-z_][A-Za-z0-9_.-]*)=`)

// query finds "?name=", which as a regex makes the character before it optional.
func query(text, masked string) string {
	for _, at := range inQuery.FindAllStringSubmatchIndex(text, -1) {
		if escaped := text[at[0]] == '\\'; escaped || masked[at[2]] == '?' {
			return fmt.Sprintf("holds the query %s, and a query takes no part in a match; leave it out, and state a condition on query[%q]", report.Quote(text[at[2]:]), text[at[4]:at[5]])
		}
	}
	return ""
}

// template finds <int:id>, {id:[0-9]+} and the like.
func template(text, masked string) string {
	for _, pair := range []string{"{}", "<>"} {
		open, closing := pair[0], pair[1]
		for start := 0; start < len(masked); start++ {
			if masked[start] != open {
				continue
			}
			end := closed(masked, start, closing)
			if end < 0 {
				break
			}
			inner := text[start+1 : end]
			if open == '{' && isRepetition(inner, start) {
				start = end
				continue
			}
			write := replacement(inner)
			return fmt.Sprintf("holds %s, which is no placeholder in a regex; write %s, or [%c]%s for the text itself",
				report.Quote(text[start:end+1]), write, open, strings.TrimPrefix(text[start:end+1], string(open)))
		}
	}
	return ""
}

// closed finds the end of a pair, in which further pairs may stand.
func closed(masked string, start int, closing byte) int {
	depth := 0
	for i := start; i < len(masked); i++ {
		switch masked[i] {
		case masked[start]:
			depth++
		case closing:
			if depth--; depth == 0 {
				return i
			}
		}
	}
	return -1
}

var repetition = regexp.MustCompile(`^[0-9]+(,[0-9]*)?$`)

func isRepetition(inner string, start int) bool { return start > 0 && repetition.MatchString(inner) }

var (
	word     = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.-]*$`)
	rest     = regexp.MustCompile(`^(?:\*{1,2}([A-Za-z_][A-Za-z0-9_-]*)|([A-Za-z_][A-Za-z0-9_-]*)(?:\+|\*|=\*\*))$`)
	quoted   = regexp.MustCompile(`^re(?:gex)?\("([^"]*)"\):([A-Za-z_][A-Za-z0-9_]*)$`) // Werkzeug
	segments = regexp.MustCompile(`^([A-Za-z_][A-Za-z0-9_.]*)=(.+)$`)                   // google.api.http
	typed    = regexp.MustCompile(`^([A-Za-z_][A-Za-z0-9_-]*)(?:\([^)]*\))?:(.+)$`)
)

// converters are the types that routers know by a name.
var converters = map[string]string{
	"int": "[0-9]+", "long": "[0-9]+", "integer": "[0-9]+", "number": "[0-9]+", "float": `[0-9.]+`, "string": "[^/]+", "str": "[^/]+", "slug": "[A-Za-z0-9_-]+",
	"path": ".+", "any": "[^/]+", "uuid": "[0-9a-fA-F-]{36}", "guid": "[0-9a-fA-F-]{36}", "alpha": "[A-Za-z]+",
}

// replacement is the regex for what stands between the braces of a template.
func replacement(inner string) string {
	name := strings.TrimSuffix(inner, "?") // optional
	if strings.HasPrefix(inner, "{") && strings.HasSuffix(inner, "}") {
		return replacement(inner[1 : len(inner)-1])
	}
	if parts := quoted.FindStringSubmatch(name); parts != nil {
		return group(parts[2], parts[1])
	}
	if parts := segments.FindStringSubmatch(name); parts != nil {
		return group(parts[1], strings.NewReplacer("**", ".+", "*", "[^/]+").Replace(parts[2]))
	}
	if parts := rest.FindStringSubmatch(name); parts != nil {
		return group(parts[1]+parts[2], ".+")
	}
	if parts := typed.FindStringSubmatch(name); parts != nil {
		if regex, known := converters[parts[1]]; known && word.MatchString(parts[2]) {
			return group(parts[2], regex)
		}
		if regex, known := converters[parts[2]]; known {
			return group(parts[1], regex)
		}
		return group(parts[1], parts[2])
	}
	switch {
	case word.MatchString(name):
		return group(name, "[^/]+")
	case strings.Contains(name, ",") && !strings.ContainsAny(name, "[]()\\"):
		return "(" + strings.ReplaceAll(name, ",", "|") + ")"
	case name == "" || name == "**" || name == "*":
		return "[^/]+"
	}
	return name // a regex between the signs of Ory Oathkeeper
}

func group(name, regex string) string {
	return "(?P<" + strings.NewReplacer("-", "_", ".", "_").Replace(name) + ">" + regex + ")"
}

var colon = regexp.MustCompile(`(?:^|/):([A-Za-z_][A-Za-z0-9_]*)`)

// parameter finds :id and :id(\d+) where a segment begins.
func parameter(text, masked string) string {
	at := colon.FindStringSubmatchIndex(masked)
	if at == nil {
		return ""
	}
	name, behind, regex := text[at[2]:at[3]], at[3], "[^/]+"
	switch {
	case strings.HasPrefix(masked[behind:], "("):
		if end := closed(masked, behind, ')'); end >= 0 {
			regex, behind = text[behind+1:end], end+1
		}
	case strings.HasPrefix(masked[behind:], "<"):
		if end := closed(masked, behind, '>'); end >= 0 {
			regex, behind = cmp.Or(converters[text[behind+1:end]], regex), end+1
		}
	case strings.HasPrefix(masked[behind:], "*"), strings.HasPrefix(masked[behind:], "+"):
		regex, behind = ".+", behind+1
	case strings.HasPrefix(masked[behind:], "?"):
		behind++
	}
	start := at[2] - 1
	return fmt.Sprintf("holds %s, which is no placeholder in a regex; write %s, or [:]%s for the text itself", report.Quote(text[start:behind]), group(name, regex), text[start+1:behind])
}

var file = regexp.MustCompile(`(?:^|/)(\[(\[?)(\.\.\.)?([A-Za-z]{3,}|id)\](\]?))(?:/|$)`)

// fileRoute finds [id] and [...path] of routers that take paths from the names of
// files. As a regex that is a class, which matches one character.
func fileRoute(text, _ string) string {
	parts := file.FindStringSubmatch(text)
	if parts == nil {
		return ""
	}
	regex, letters := "[^/]+", strings.Split(parts[4], "")
	if parts[3] != "" {
		regex = ".+"
	}
	return fmt.Sprintf("holds %s, which matches one character; write %s for a segment, or (?:%s) for one of these characters", report.Quote(parts[1]), group(parts[4], regex), strings.Join(letters, "|"))
}

var dollar = regexp.MustCompile(`\$([A-Za-z_][A-Za-z0-9_]*)|[$#%]\{([^{}\x00]+)\}`)

// variable finds $id and ${id}.
func variable(text, masked string) string {
	at := dollar.FindStringSubmatch(masked)
	if at == nil {
		return ""
	}
	return fmt.Sprintf("holds %s, which is no placeholder in a regex; write %s, or [%c]%s for the text itself", report.Quote(at[0]), replacement(at[1]+at[2]), at[0][0], strings.NewReplacer("{", "[{]").Replace(at[0][1:]))
}
