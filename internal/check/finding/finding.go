// Package finding collects what a check finds: by rule, with its place, once, and
// parted by the comments that accept warnings.
package finding

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"gatehouse/core/permission/analysis/lint"
	"gatehouse/internal/check/document"
)

// Severity is how bad a finding is.
type Severity string

// Severities. A note is about what could not be checked, or what to know.
const (
	Error   Severity = "error"
	Warning Severity = "warning"
	Note    Severity = "note"
)

// Finding is one thing found in a file.
type Finding struct {
	Rule     string
	Severity Severity
	document.Place
	// Text is what it is and what to do.
	Text string
	// Reason is why a finding is accepted, where it is.
	Reason string
}

// Collector collects findings and the files that they are about.
type Collector struct {
	allow []string
	found []Finding
	// texts are the files that were read, order their names.
	texts map[string]string
	order []string
	seen  map[string]bool
}

// NewCollector makes a collector that leaves out the findings of some rules.
func NewCollector(allow []string) *Collector {
	return &Collector{allow: allow, texts: map[string]string{}, seen: map[string]bool{}}
}

// Read notes a file, whose comments count and whose findings come in this order.
func (c *Collector) Read(name, content string) *document.Text {
	if _, known := c.texts[name]; !known {
		c.order = append(c.order, name)
	}
	c.texts[name] = content
	return &document.Text{File: name, Content: content}
}

// Known returns a file that was read.
func (c *Collector) Known(name string) (*document.Text, bool) {
	content, known := c.texts[name]
	return &document.Text{File: name, Content: content}, known
}

// First reports whether a text comes for the first time.
func (c *Collector) First(parts ...string) bool {
	key := strings.Join(parts, "\x00")
	if c.seen[key] {
		return false
	}
	c.seen[key] = true
	return true
}

// Add notes a finding once, however many routes share what it is about.
func (c *Collector) Add(rule string, at document.Place, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if slices.Contains(c.allow, rule) || !c.First("finding", rule, at.String(), text) {
		return
	}
	c.found = append(c.found, Finding{Rule: rule, Severity: ruleNamed(rule).Severity, Place: at, Text: text})
}

// Errors is how many errors there are.
func (c *Collector) Errors() int {
	n := 0
	for _, f := range c.found {
		if f.Severity == Error {
			n++
		}
	}
	return n
}

// Sorted parts the findings by the comments of the files, in the order of files
// and lines. A comment that accepts nothing is a finding as well.
func (c *Collector) Sorted() (findings, silenced []Finding) {
	var ignores []*lint.Ignore
	for _, name := range c.order {
		found, malformed := lint.Ignores("check", name, c.texts[name], isAnyRule)
		for _, m := range malformed {
			c.Add("lint-ignore", document.Place(m.Place), "%s", m.Text)
		}
		ignores = append(ignores, found...)
	}
	used := map[*lint.Ignore]bool{}
	for _, f := range c.found {
		covers := func(i *lint.Ignore) bool {
			return i.Rule == f.Rule && i.Place.File == f.File && i.Line == f.Line && f.Severity == Warning
		}
		if i := slices.IndexFunc(ignores, covers); i >= 0 {
			used[ignores[i]], f.Reason = true, ignores[i].Reason
			silenced = append(silenced, f)
			continue
		}
		findings = append(findings, f)
	}
	for _, i := range ignores {
		if !used[i] && isRule(i.Rule) {
			findings = append(findings, Finding{Rule: "lint-ignore", Severity: Warning, Place: document.Place(i.Place),
				Text: "no warning here is of the rule " + i.Rule + "; remove the comment"})
		}
	}
	slices.SortStableFunc(findings, c.byPlace)
	slices.SortStableFunc(silenced, c.byPlace)
	return findings, silenced
}

// byPlace orders findings as the files are given, and what these name behind.
func (c *Collector) byPlace(a, b Finding) int {
	rank := func(f Finding) int { return slices.Index(c.order, f.File) }
	return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
}
