package finding

import (
	"net/url"
	"path/filepath"
	"slices"
	"strings"

	"gatehouse/internal/version"
)

// sarifLog is findings in the Static Analysis Results Interchange Format, which
// code hosts show beside the lines of a change.
type sarifLog struct {
	Schema  string     `json:"$schema"`
	Version string     `json:"version"`
	Runs    []sarifRun `json:"runs"`
}

type sarifRun struct {
	Tool       sarifTool     `json:"tool"`
	ColumnKind string        `json:"columnKind"`
	Results    []sarifResult `json:"results"`
}

type sarifTool struct {
	Driver sarifDriver `json:"driver"`
}

type sarifDriver struct {
	Name    string      `json:"name"`
	Version string      `json:"version"`
	Rules   []sarifRule `json:"rules"`
}

type sarifRule struct {
	ID                   string       `json:"id"`
	ShortDescription     sarifMessage `json:"shortDescription"`
	Help                 sarifMessage `json:"help"`
	HelpURI              string       `json:"helpUri,omitempty"`
	DefaultConfiguration sarifDefault `json:"defaultConfiguration"`
}

type sarifDefault struct {
	Level Severity `json:"level"`
}

type sarifMessage struct {
	Text string `json:"text"`
}

type sarifResult struct {
	RuleID       string             `json:"ruleId"`
	RuleIndex    int                `json:"ruleIndex"`
	Level        Severity           `json:"level"`
	Message      sarifMessage       `json:"message"`
	Locations    []sarifLocation    `json:"locations"`
	Suppressions []sarifSuppression `json:"suppressions,omitempty"`
}

type sarifLocation struct {
	Physical sarifPhysical `json:"physicalLocation"`
}

type sarifPhysical struct {
	Artifact sarifArtifact `json:"artifactLocation"`
	Region   sarifRegion   `json:"region"`
}

type sarifArtifact struct {
	URI string `json:"uri"`
}

type sarifRegion struct {
	StartLine   int `json:"startLine"`
	StartColumn int `json:"startColumn"`
}

type sarifSuppression struct {
	Kind          string `json:"kind"`
	Justification string `json:"justification"`
}

// SARIF is a SARIF 2.1.0 log of findings, to be written as JSON. Docs is the
// address of the folder docs for the rules' helpUri, which has to be absolute;
// empty for none.
func SARIF(findings, silenced []Finding, docs string) any {
	run := sarifRun{
		Tool:       sarifTool{sarifDriver{Name: "gatehouse check", Version: version.Version}},
		ColumnKind: "unicodeCodePoints",
		Results:    []sarifResult{},
	}
	index := map[string]int{}
	for i, rule := range Rules {
		index[rule.Name] = i
		entry := sarifRule{
			ID: rule.Name, ShortDescription: sarifMessage{rule.Doc}, Help: sarifMessage{"See docs/" + rule.page() + "."}, DefaultConfiguration: sarifDefault{rule.Severity},
		}
		if docs != "" {
			entry.HelpURI = strings.TrimSuffix(docs, "/") + "/" + rule.page()
		}
		run.Tool.Driver.Rules = append(run.Tool.Driver.Rules, entry)
	}
	for _, f := range slices.Concat(findings, silenced) {
		result := sarifResult{
			RuleID: f.Rule, RuleIndex: index[f.Rule], Level: f.Severity, Message: sarifMessage{f.Text},
			Locations: []sarifLocation{{sarifPhysical{sarifArtifact{uriOf(f.File)}, sarifRegion{f.Line, f.Column}}}},
		}
		if f.Reason != "" {
			result.Suppressions = []sarifSuppression{{"inSource", f.Reason}}
		}
		run.Results = append(run.Results, result)
	}
	return sarifLog{"https://json.schemastore.org/sarif-2.1.0.json", "2.1.0", []sarifRun{run}}
}

// uriOf writes a path as a URI (RFC 3986); a relative one is one of the
// repository.
func uriOf(path string) string {
	u := url.URL{Path: filepath.ToSlash(path)}
	if filepath.IsAbs(path) {
		u.Scheme = "file"
	}
	return u.String()
}
