package lint

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

// Ignore is a comment that silences the findings of one rule on one line.
type Ignore struct {
	// Place is where the comment stands.
	Place        report.Place
	Rule, Reason string
	// Line is the one that the comment is about.
	Line int
	used bool
}

// silence parts the findings by the comments of the files.
func silence(findings []Finding, texts map[string][]byte, files []*permission.File) *Report {
	report := &Report{}
	var ignores []*Ignore
	for _, f := range files {
		found, malformed := Ignores("lint", f.Name, string(texts[f.Name]), isLintRule)
		ignores = append(ignores, found...)
		report.Findings = append(report.Findings, malformed...)
	}
	for _, f := range findings {
		if i := slices.IndexFunc(ignores, func(i *Ignore) bool { return i.covers(&f) }); i >= 0 {
			ignores[i].used = true
			f.Reason = ignores[i].Reason
			report.Silenced = append(report.Silenced, f)
			continue
		}
		report.Findings = append(report.Findings, f)
	}
	for _, i := range ignores {
		if !i.used {
			report.Findings = append(report.Findings, Finding{Rule: "lint-ignore", Place: i.Place,
				Text: "nothing here is found by " + i.Rule + "; remove the comment"})
		}
	}
	slices.SortStableFunc(report.Findings, byPlace)
	slices.SortStableFunc(report.Silenced, byPlace)
	return report
}

func isLintRule(rule string) bool {
	return slices.ContainsFunc(LintRules, func(r LintRule) bool { return r.Name == rule })
}

func (i *Ignore) covers(f *Finding) bool {
	return i.Rule == f.Rule && (i.Place.File == f.File && i.Line == f.Line || i.Place.File == f.home.File && i.Line == f.home.Line)
}

// Ignores reads the comments of one file that silence findings of a command,
// whose rules are known to isRule. A malformed comment is a finding.
func Ignores(command, name, text string, isRule func(string) bool) (found []*Ignore, malformed []Finding) {
	lines := strings.Split(text, "\n")
	for at, line := range lines {
		m := ignoreComment.FindStringSubmatchIndex(line)
		if m == nil {
			continue
		}
		hash := m[0] + strings.IndexByte(line[m[0]:], '#')
		place := report.Place{File: name, Line: at + 1, Column: 1 + utf8.RuneCountInString(line[:hash])}
		rules, reason, problem := parseIgnore(command, strings.TrimRight(line[m[2]:m[3]], "\r"), isRule)
		if problem != "" {
			malformed = append(malformed, Finding{Rule: "lint-ignore", Place: place, Text: problem})
			continue
		}
		about := at
		for about < len(lines)-1 && commentLine.MatchString(lines[about]) {
			about++
		}
		for _, rule := range rules {
			found = append(found, &Ignore{Place: place, Rule: rule, Reason: reason, Line: about + 1})
		}
	}
	return found, malformed
}

func parseIgnore(command, text string, isRule func(string) bool) (rules []string, reason, problem string) {
	m := ignoreForm.FindStringSubmatch(text)
	if m == nil {
		return nil, "", "the comment has no rule or no reason; write # lint:ignore RULE: REASON"
	}
	for rule := range strings.SplitSeq(m[1], ",") {
		rule = strings.TrimSpace(rule)
		if !isRule(rule) {
			return nil, "", "there is no rule " + quoted(rule) + "; gatehouse " + command + " --rules lists them"
		}
		rules = append(rules, rule)
	}
	return rules, m[2], ""
}
