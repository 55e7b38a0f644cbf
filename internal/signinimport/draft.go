// Package signinimport turns the configurations of other programs that sign people in
// (Kong's and APISIX's openid-connect, oauth2-proxy) into one of Gatehouse.
//
// What is made is never more open than what it is made of. A setting that has no
// counterpart, or means something else, is a note; one that restricts who gets in, and
// cannot be said, closes the gate until somebody has decided.
package signinimport

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"gatehouse/core/config"
	"gatehouse/core/permission"
	"gatehouse/core/permission/tablefile"
)

// Draft is a configuration that is being put together.
type Draft struct {
	// Notes are what has no counterpart, or means something else.
	Notes []string
	// Exports are the environment variables that the configuration refers to, each
	// with what has to be in it.
	Exports []Export

	settings section
	// restrictions are conditions that every caller has to meet.
	restrictions []string
	require      section
	// scopes are alternatives, of each of which all are needed.
	scopes [][]string
	public []activity
	// optional says that calls without a credential pass.
	optional bool
	// closed are the settings by which nobody gets in.
	closed []string
}

// Export is an environment variable.
type Export struct{ Name, What string }

// section is a mapping whose keys keep no order.
type section map[string]any

// sub returns the mapping of a name, and makes it where there is none.
func (s section) sub(name string) section {
	inner, ok := s[name].(section)
	if !ok {
		inner = section{}
		s[name] = inner
	}
	return inner
}

// set puts a value at a name unless it is empty.
func (s section) set(name string, value any) {
	switch v := value.(type) {
	case string:
		if v == "" {
			return
		}
	case []string:
		if len(v) == 0 {
			return
		}
	}
	s[name] = value
}

type activity struct {
	Methods []string `yaml:"methods,flow"`
	Path    string   `yaml:"path"`
	// Override opens what another section closes.
	Override bool    `yaml:"override,omitempty"`
	Require  section `yaml:"require,omitempty"`
}

func newDraft() *Draft { return &Draft{settings: section{}, require: section{}} }

// note adds a note about a setting, once.
func (d *Draft) note(name, format string, args ...any) {
	text := name + ": " + fmt.Sprintf(format, args...)
	if !slices.Contains(d.Notes, text) {
		d.Notes = append(d.Notes, text)
	}
}

// close lets nobody in, because of a restriction that cannot be said.
func (d *Draft) close(name, format string, args ...any) {
	d.note(name, format+"; nobody gets in until you have decided", args...)
	d.closed = append(d.closed, name)
}

// export refers to an environment variable for a secret.
func (d *Draft) export(name, what string) string {
	if !slices.ContainsFunc(d.Exports, func(e Export) bool { return e.Name == name }) {
		d.Exports = append(d.Exports, Export{name, what})
	}
	return "$env://" + name
}

// order is that of the sections of the configuration.
var order = []string{"realm", "login", "jwt", "introspection", "token_cookie", "token_headers", "redis", "hide_credentials", "upstream_headers", "strip_headers", "authenticated_groups_claim", "permission_table"}

// maxCondition is the length of a condition (docs/permission-tables.md).
const maxCondition = 2048

// YAML writes the configuration, and makes sure that it loads.
func (d *Draft) YAML(heading string) ([]byte, error) {
	if len(d.condition()) > maxCondition {
		d.close("who may come in", "the conditions are longer than %d bytes; grant roles instead", maxCondition)
		d.restrictions = nil
	}
	table, err := d.table()
	if err != nil {
		return nil, err
	}
	d.settings["permission_table"] = table
	root := &yaml.Node{Kind: yaml.MappingNode}
	for _, name := range order {
		value, ok := d.settings[name]
		if !ok {
			continue
		}
		var node yaml.Node
		if err := node.Encode(value); err != nil {
			return nil, err
		}
		root.Content = append(root.Content, &yaml.Node{Kind: yaml.ScalarNode, Value: name}, &node)
	}
	var out bytes.Buffer
	out.WriteString(d.head(heading))
	encoder := yaml.NewEncoder(&out)
	encoder.SetIndent(2)
	if err := encoder.Encode(root); err != nil {
		return nil, err
	}
	_, err = config.Load(out.Bytes())
	if err == nil {
		err = compiles(table)
	}
	if err != nil {
		return nil, fmt.Errorf("the configuration that was made does not load: %w", err)
	}
	return out.Bytes(), nil
}

func compiles(table string) error {
	file, err := tablefile.Parse("permission_table", []byte(table))
	if err == nil {
		_, err = permission.Compile(file)
	}
	return err
}

// head are the comments on top. A text of the imported file cannot end a comment.
func (d *Draft) head(heading string) string {
	lines := []string{heading}
	if len(d.Exports) > 0 {
		lines = append(lines, "", "Export before use:")
		for _, e := range d.Exports {
			lines = append(lines, "- "+e.Name+": "+e.What)
		}
	}
	if len(d.Notes) > 0 {
		lines = append(lines, "", "To be looked at before this configuration is used:")
		for _, n := range d.Notes {
			lines = append(lines, "- "+n)
		}
	}
	var b strings.Builder
	for _, line := range lines {
		b.WriteString(strings.TrimRight("# "+OneLine(line), " ") + "\n")
	}
	return b.String()
}

// OneLine replaces what could end a line, or move a terminal's cursor.
func OneLine(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 || r == '\u2028' || r == '\u2029' {
			return ' '
		}
		return r
	}, text)
}

// everybody is the permission that opens the site, where it is not enough to have a
// credential.
const everybody = "site:access"

// table writes the permission table.
func (d *Draft) table() (string, error) {
	t := struct {
		Public        []activity                       `yaml:"public,omitempty"`
		Optional      []activity                       `yaml:"optional,omitempty"`
		Authenticated []activity                       `yaml:"authenticated,omitempty"`
		Permissions   map[string]map[string][]activity `yaml:"permissions,omitempty"`
	}{Public: d.public}
	site := d.site()
	switch {
	case len(d.closed) > 0:
		t.Permissions = map[string]map[string][]activity{everybody: {"activities": site}}
	case d.optional:
		t.Optional = site
	default:
		t.Authenticated = site
	}
	var text strings.Builder
	encoder := yaml.NewEncoder(&text)
	encoder.SetIndent(2)
	err := encoder.Encode(t)
	return text.String(), err
}

// condition is what every caller has to meet; empty: nothing.
func (d *Draft) condition() string { return strings.Join(d.restrictions, " && ") }

// site are the activities of all calls: one for each alternative.
func (d *Draft) site() []activity {
	base := section{}
	for name, value := range d.require {
		base[name] = value
	}
	base.set("when", d.condition())
	if len(d.scopes) == 0 {
		return []activity{{Methods: []string{"ANY"}, Path: "/.*", Require: base}}
	}
	var all []activity
	for _, scopes := range d.scopes {
		with := section{"all_scopes": scopes}
		for name, value := range base {
			with[name] = value
		}
		all = append(all, activity{Methods: []string{"ANY"}, Path: "/.*", Require: with})
	}
	return all
}

// oneOf is a condition that one value is, or that a list holds, one of some texts. A claim
// that is missing, or of another type, fails.
func oneOf(claim string, wanted []string) string {
	return "(type(" + claim + ") == list ? " + claim + ".exists(x, x in " + listOf(wanted) + ") : " + claim + " in " + listOf(wanted) + ")"
}

// listOf is a list of texts.
func listOf(texts []string) string {
	quoted := make([]string, len(texts))
	for i, text := range texts {
		quoted[i] = quote(text)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}

// allOf is a condition that a list holds all of some texts.
func allOf(claim string, wanted []string) string {
	var parts []string
	for _, text := range wanted {
		parts = append(parts, oneOf(claim, []string{text}))
	}
	if len(parts) == 1 {
		return parts[0]
	}
	return "(" + strings.Join(parts, " && ") + ")"
}

// raw is a claim by the path to it, as a condition reads it.
func raw(path ...string) string {
	text := "raw"
	for _, step := range path {
		if identifier.MatchString(step) {
			text += "." + step
		} else {
			text += "[" + quote(step) + "]"
		}
	}
	return text
}

// identifier is a name that needs no quotes. All reserved words of the language are short.
var identifier = regexp.MustCompile(`^(aud|tid|hd|scp|[a-z_]+_[a-z_]+|roles|groups|scope|email|permissions)$`)

// quote writes a text of the Common Expression Language.
func quote(text string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range text {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r < ' ' || r == 0x7f:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}
