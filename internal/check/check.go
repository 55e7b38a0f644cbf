// Package check reads the files that operators write, without a gateway, and
// finds every error in them at once, each with its place, and what opens a door:
// a route without the plugin, a plugin that the gateway may skip, a check that
// is switched off.
package check

import (
	"slices"
	"strings"

	"gatehouse/core/config"
	"gatehouse/core/permission"
	"gatehouse/core/permission/expectation"
	"gatehouse/internal/check/document"
	"gatehouse/internal/check/finding"
	"gatehouse/internal/check/gate"
	"gatehouse/internal/offline"

	"go.yaml.in/yaml/v3"
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

// Report is what a check found.
type Report struct {
	Findings []finding.Finding
	// Silenced are findings that a comment at their line accepts.
	Silenced []finding.Finding
	// Gates are the configurations without an error.
	Gates []gate.Gate
	// Kinds tell what each of the files is.
	Kinds map[string]Kind
}

// Failed tells whether there is more than notes.
func (r *Report) Failed() bool {
	return slices.ContainsFunc(r.Findings, func(f finding.Finding) bool { return f.Severity != finding.Note })
}

// Files checks files that belong together: what one of them names may be in
// another.
func Files(files []File, o Options) *Report {
	c := &checker{Checker: gate.New(finding.NewCollector(o.Allow), o.Roots), kinds: map[string]Kind{}, kongGates: map[*yaml.Node]string{}, logFormats: map[string]document.Pair{}}
	if len(files) > 0 {
		c.kongVersion(o.KongVersion, false, document.Place{File: files[0].Name, Line: 1, Column: 1})
	}
	for _, f := range files {
		c.Read(f.Name, string(f.Content))
	}
	for _, f := range files {
		c.file(f.Name, o.As)
	}
	for _, look := range c.later {
		look()
	}
	c.sharedCaches()
	c.cluster.finish(c)
	c.own.finish(c)
	r := &Report{Gates: c.Gates, Kinds: c.kinds}
	r.Findings, r.Silenced = c.Sorted()
	return r
}

// checker reads the files of gateways; those of a gate are read by gate.Checker.
type checker struct {
	*gate.Checker
	kinds map[string]Kind
	// later is what needs all files to be read.
	later []func()
	// kongTop are the plugins of Kong that stand on the top of a file, kongGates
	// the names of the gates of all its plugins.
	kongTop   []document.Node
	kongGates map[*yaml.Node]string
	// caches are what keeps responses, gateConfigs the gates by their names; nil where
	// one is not known.
	caches      []sharedCache
	gateConfigs map[string]*config.Config
	// everyRoute are the global rules of APISIX; closed tells that one of them
	// closes what has no Gatehouse.
	everyRoute guard
	closed     bool
	// used are the plugins of APISIX that run a gate somewhere.
	used map[string]bool
	// asksNobody says that a file for APISIX has it ask no client for a certificate.
	asksNobody bool
	// logFormats are what loggers of APISIX write wherever they are used.
	logFormats map[string]document.Pair
	own        endpoints
	cluster    cluster
}

// file reads a file as what it is.
func (c *checker) file(name string, kind Kind) {
	text, _ := c.Known(name)
	nodes, problems := document.Parse(text)
	for _, p := range problems {
		c.Add("syntax", p.Place, "%s", p.Text)
	}
	if len(nodes) == 0 {
		if len(problems) == 0 {
			c.Add("syntax", text.Place(1, 1), "the file is empty")
		}
		return
	}
	if kind == "" {
		kind = recognise(nodes[0], text.Content)
	}
	c.kinds[name] = kind
	if len(nodes) > 1 && kind != Kubernetes && kind != Unknown {
		c.Add("several-documents", nodes[1].Place(), "is a second document in the file, and only the first is read; put it into a file of its own")
	}
	c.read(kind, text, nodes)
}

// read checks the documents of a file, or of a text in one.
func (c *checker) read(kind Kind, text *document.Text, nodes []document.Node) {
	root := nodes[0]
	switch kind {
	case GateConfig:
		c.Check(gate.Settings{Root: root, Raw: []byte(text.Content), Place: root.Place()})
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
	case APISIXObject:
		c.apisixObject(root)
	case Kubernetes:
		for _, n := range nodes {
			c.manifest(n)
		}
	case Compose:
		c.images(root)
	case Table:
		c.Tables([]*document.Text{text}, permission.Options{})
	case Expectations:
		c.expectations(text)
	default:
		c.Add("unknown-kind", root.Place(), "the file is of no kind that Gatehouse recognises; name its kind with --as: %s", strings.Join(kindNames(), ", "))
	}
}

func (c *checker) expectations(text *document.Text) {
	if _, err := expectation.Parse(text.File, []byte(text.Content)); err != nil {
		c.Problems("expectations", []*document.Text{text}, err)
	}
}
