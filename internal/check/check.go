// Package check reads the files that operators write, without a gateway, and
// finds every error in them at once, each with its place, and what opens a door:
// a route without the plugin, a plugin that the gateway may skip, a check that
// is switched off.
package check

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"gatehouse/core/config"
	"gatehouse/core/permission"
	"gatehouse/core/permission/analysis"
	"gatehouse/internal/check/document"
	"gatehouse/internal/offline"
)

// File is a file to check.
type File struct {
	Name    string
	Content []byte
}

// Options are what a check may be told beside the files.
type Options struct {
	// As is what the files are; empty to find out.
	As Kind
	// Roots say where the files of the gateway's machine are on this one.
	Roots offline.Roots
	// Allow are rules that find nothing.
	Allow []string
	// KongVersion is that of the Kong which is to run the files; empty where it
	// is not known.
	KongVersion string
}

// Severity is how bad a finding is.
type Severity string

// Severities. A note says what could not be checked.
const (
	Error   Severity = "error"
	Warning Severity = "warning"
	Note    Severity = "note"
)

// Finding is something that a file says.
type Finding struct {
	Rule     string
	Severity Severity
	document.Place
	// Text says what it is and what to do.
	Text string
	// Reason is why a finding is accepted, where it is.
	Reason string
}

// Gate is a configuration that a file holds or names.
type Gate struct {
	document.Place
	Config *config.Config
	// Table are the files of its permission table; nil where they are not here.
	Table []*permission.File
}

// Report is what a check found.
type Report struct {
	Findings []Finding
	// Silenced are findings that a comment at their line accepts.
	Silenced []Finding
	// Gates are the configurations without an error.
	Gates []Gate
	// Kinds tell what each of the files is.
	Kinds map[string]Kind
}

// Failed tells whether there is more than notes.
func (r *Report) Failed() bool {
	return slices.ContainsFunc(r.Findings, func(f Finding) bool { return f.Severity != Note })
}

// Files checks files that belong together: what one of them names may be in
// another.
func Files(files []File, o Options) *Report {
	c := &checker{options: o, report: &Report{Kinds: map[string]Kind{}}, seen: map[string]bool{}, texts: map[string]string{}, served: map[string][]string{}}
	if len(files) > 0 {
		c.kongVersion(o.KongVersion, document.Place{File: files[0].Name, Line: 1, Column: 1})
	}
	for _, f := range files {
		c.order = append(c.order, f.Name)
		c.texts[f.Name] = string(f.Content)
	}
	for _, f := range files {
		c.file(f.Name, o.As)
	}
	c.cluster.finish(c)
	c.own.finish(c)
	c.silence()
	return c.report
}

// checker collects what is found.
type checker struct {
	options Options
	report  *Report
	// found are the findings before comments are looked at.
	found []Finding
	// texts are the files that were read, order their names.
	texts map[string]string
	order []string
	// seen are the findings there are and the files that were followed.
	seen map[string]bool
	// served are the paths that a gate answers itself, by its file.
	served  map[string][]string
	own     endpoints
	cluster cluster
}

// first reports whether a text comes for the first time.
func (c *checker) first(parts ...string) bool {
	key := strings.Join(parts, "\x00")
	if c.seen[key] {
		return false
	}
	c.seen[key] = true
	return true
}

// add notes a finding once, however many routes share what it is about.
func (c *checker) add(rule string, at document.Place, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if slices.Contains(c.options.Allow, rule) || !c.first("finding", rule, at.String(), text) {
		return
	}
	c.found = append(c.found, Finding{Rule: rule, Severity: ruleNamed(rule).Severity, Place: at, Text: text})
}

// file reads a file as what it is.
func (c *checker) file(name string, kind Kind) {
	text := &document.Text{File: name, Content: c.texts[name]}
	nodes, problems := document.Parse(text)
	for _, p := range problems {
		c.add("syntax", p.Place, "%s", p.Text)
	}
	if len(nodes) == 0 {
		if len(problems) == 0 {
			c.add("syntax", text.Place(1, 1), "the file is empty")
		}
		return
	}
	if kind == "" {
		kind = recognise(nodes[0], text.Content)
	}
	c.report.Kinds[name] = kind
	if len(nodes) > 1 && kind != Kubernetes && kind != Unknown {
		c.add("several-documents", nodes[1].Place(), "is a second document in the file, and only the first is read; put it into a file of its own")
	}
	c.read(kind, text, nodes)
}

// read checks the documents of a file, or of a text in one.
func (c *checker) read(kind Kind, text *document.Text, nodes []document.Node) {
	root := nodes[0]
	switch kind {
	case GateConfig:
		c.gate(settings{root: root, raw: []byte(text.Content), place: root.Place()})
	case ForwardAuth:
		c.forwardAuth(root, text)
	case Kong:
		c.kong(root)
	case APISIX:
		c.apisix(root, text)
	case ADC:
		c.adc(root)
	case APISIXConfig:
		c.apisixConfig(root)
	case Kubernetes:
		for _, n := range nodes {
			c.manifest(n)
		}
	case Compose:
		c.images(root)
	case Table:
		c.tables([]*document.Text{text})
	case Expectations:
		c.expectations(text)
	default:
		c.add("unknown-kind", root.Place(), "the file is none that Gatehouse knows; say what it is with --as: %s", strings.Join(kindNames(), ", "))
	}
}

// silence parts the findings by the comments of the files.
func (c *checker) silence() {
	var ignores []*analysis.Ignore
	for _, name := range c.order {
		found, malformed := analysis.Ignores("check", name, c.texts[name], isAnyRule)
		for _, m := range malformed {
			c.add("lint-ignore", document.Place(m.Place), "%s", m.Text)
		}
		ignores = append(ignores, found...)
	}
	used := map[*analysis.Ignore]bool{}
	for _, f := range c.found {
		covers := func(i *analysis.Ignore) bool {
			return i.Rule == f.Rule && i.Place.File == f.File && i.Line == f.Line && f.Severity == Warning
		}
		if i := slices.IndexFunc(ignores, covers); i >= 0 {
			used[ignores[i]], f.Reason = true, ignores[i].Reason
			c.report.Silenced = append(c.report.Silenced, f)
			continue
		}
		c.report.Findings = append(c.report.Findings, f)
	}
	for _, i := range ignores {
		if !used[i] && isRule(i.Rule) {
			c.report.Findings = append(c.report.Findings, Finding{Rule: "lint-ignore", Severity: Warning, Place: document.Place(i.Place),
				Text: "no warning here is of the rule " + i.Rule + "; remove the comment"})
		}
	}
	slices.SortStableFunc(c.report.Findings, c.byPlace)
	slices.SortStableFunc(c.report.Silenced, c.byPlace)
}

// byPlace orders findings as the files are given, and what these name behind.
func (c *checker) byPlace(a, b Finding) int {
	rank := func(f Finding) int { return slices.Index(c.order, f.File) }
	return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
}
