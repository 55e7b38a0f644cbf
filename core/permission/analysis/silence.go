package analysis

import (
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"gatehouse/core/permission"
	"gatehouse/core/permission/report"
)

// A finding is silenced next to its rule, for a reason:
//
//	# lint:ignore crosses-segments: the whole tree belongs to the importer
//	- POST /import/.*
//	- POST /legacy/.*   # lint:ignore crosses-segments: going away in May
var (
	ignoreComment = regexp.MustCompile(`(?:^|\s)#\s*lint:ignore\b(.*)$`)
	ignoreForm    = regexp.MustCompile(`^\s+([a-z-]+(?:\s*,\s*[a-z-]+)*)\s*:\s*(\S.*)$`)
	commentLine   = regexp.MustCompile(`^\s*(?:#.*)?$`)
)

// ignore is a comment that silences findings of a line.
type ignore struct {
	place  report.Place
	rule   string
	reason string
	line   int // that it is about
	used   bool
}

// silence parts the findings by the comments of the files.
func silence(findings []Finding, texts map[string][]byte, files []*permission.File) *Report {
	report := &Report{}
	var ignores []*ignore
	for _, f := range files {
		found, malformed := ignoresOf(f.Name, string(texts[f.Name]))
		ignores = append(ignores, found...)
		report.Findings = append(report.Findings, malformed...)
	}
	for _, f := range findings {
		if i := slices.IndexFunc(ignores, func(i *ignore) bool { return i.covers(&f) }); i >= 0 {
			ignores[i].used = true
			f.Reason = ignores[i].reason
			report.Silenced = append(report.Silenced, f)
			continue
		}
		report.Findings = append(report.Findings, f)
	}
	for _, i := range ignores {
		if !i.used {
			report.Findings = append(report.Findings, Finding{Rule: "lint-ignore", Place: i.place,
				Text: "nothing here is found by " + i.rule + "; remove the comment"})
		}
	}
	slices.SortStableFunc(report.Findings, byPlace)
	slices.SortStableFunc(report.Silenced, byPlace)
	return report
}

func (i *ignore) covers(f *Finding) bool {
	return i.rule == f.Rule && (i.place.File == f.File && i.line == f.Line || i.place.File == f.home.File && i.line == f.home.Line)
}

// ignoresOf reads the comments of one file.
func ignoresOf(name, text string) (found []*ignore, malformed []Finding) {
	lines := strings.Split(text, "\n")
	for at, line := range lines {
		m := ignoreComment.FindStringSubmatchIndex(line)
		if m == nil {
			continue
		}
		hash := m[0] + strings.IndexByte(line[m[0]:], '#')
		place := report.Place{File: name, Line: at + 1, Column: 1 + utf8.RuneCountInString(line[:hash])}
		rules, reason, problem := parseIgnore(strings.TrimRight(line[m[2]:m[3]], "\r"))
		if problem != "" {
			malformed = append(malformed, Finding{Rule: "lint-ignore", Place: place, Text: problem})
			continue
		}
		about := at
		for about < len(lines)-1 && commentLine.MatchString(lines[about]) {
			about++
		}
		for _, rule := range rules {
			found = append(found, &ignore{place: place, rule: rule, reason: reason, line: about + 1})
		}
	}
	return found, malformed
}

func parseIgnore(text string) (rules []string, reason, problem string) {
	m := ignoreForm.FindStringSubmatch(text)
	if m == nil {
		return nil, "", "the comment has no rule or no reason; write # lint:ignore RULE: REASON"
	}
	for rule := range strings.SplitSeq(m[1], ",") {
		rule = strings.TrimSpace(rule)
		known := func(r LintRule) bool { return r.Name == rule }
		if !slices.ContainsFunc(LintRules, known) {
			return nil, "", "there is no rule " + quoted(rule) + "; gatehouse lint --rules lists them"
		}
		rules = append(rules, rule)
	}
	return rules, m[2], ""
}
