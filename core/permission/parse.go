package permission

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// Load reads, merges and compiles table files.
func Load(paths ...string) (*Table, error) {
	files, err := ReadFiles(paths...)
	if err != nil {
		return nil, err
	}
	return Compile(files...)
}

// ReadFiles reads table files and gives the problems of all of them at once.
func ReadFiles(paths ...string) ([]*File, error) {
	_, files, err := digestFiles(paths)
	return files, err
}

// digestFiles also returns a digest of what the files hold.
func digestFiles(paths []string) (sum [sha256.Size]byte, files []*File, err error) {
	digest := sha256.New()
	var unreadable []error
	var problems Problems
	for _, path := range paths {
		content, err := readContent(path)
		if err != nil {
			unreadable = append(unreadable, err)
			continue
		}
		fmt.Fprintf(digest, "%d ", len(content))
		digest.Write(content)
		file, err := Parse(path, content)
		var found Problems
		if errors.As(err, &found) {
			problems = append(problems, found...)
		}
		files = append(files, file)
	}
	digest.Sum(sum[:0])
	if len(problems) > 0 {
		return sum, nil, errors.Join(append(unreadable, problems)...)
	}
	return sum, files, errors.Join(unreadable...)
}

// readContent reads no more of a file than shows that it is too large.
func readContent(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("permission table: %w", err)
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, MaxFile+1))
	if err != nil {
		return nil, fmt.Errorf("permission table: %w", err)
	}
	return content, nil
}

// Parse reads one table file. The name is what problems are reported under,
// normally the path. The error, if any, is a Problems that holds every
// mistake of the file.
func Parse(name string, content []byte) (*File, error) {
	p := &parser{file: &File{Name: name}}
	if root := p.document(content); root != nil {
		p.table(root)
	}
	if err := p.report.err(); err != nil {
		return nil, err
	}
	return p.file, nil
}

// parser turns YAML nodes into a File and collects what is wrong with them.
type parser struct {
	report report
	file   *File
}

func (p *parser) at(n *yaml.Node) Place { return Place{p.file.Name, n.Line, n.Column} }

func (p *parser) refuse(n *yaml.Node, format string, args ...any) {
	p.report.add(p.at(n), format, args...)
}

// document checks what concerns the file as a whole and returns its root.
func (p *parser) document(content []byte) *yaml.Node {
	start := Place{p.file.Name, 1, 1}
	switch {
	case len(content) > MaxFile:
		p.report.add(start, "the file is larger than %d MiB; split it into several files", MaxFile>>20)
		return nil
	case !utf8.Valid(content):
		p.report.add(invalidUTF8(p.file.Name, content), "the file is not valid UTF-8; save it as UTF-8")
		return nil
	}
	decoder := yaml.NewDecoder(bytes.NewReader(content))
	var doc yaml.Node
	switch err := decoder.Decode(&doc); {
	case errors.Is(err, io.EOF):
		p.report.add(start, "the table is empty; give it permissions, authenticated or public")
		return nil
	case err != nil:
		p.syntax(err)
		return nil
	}
	var second yaml.Node
	if err := decoder.Decode(&second); err == nil {
		p.refuse(&second, "a second YAML document; a table file holds one, so put this into a file of its own")
		return nil
	} else if !errors.Is(err, io.EOF) {
		p.syntax(err)
		return nil
	}
	if !p.plainYAML(&doc) {
		return nil
	}
	return doc.Content[0]
}

func invalidUTF8(file string, content []byte) Place {
	valid := content
	for len(valid) > 0 {
		r, size := utf8.DecodeRune(valid)
		if r == utf8.RuneError && size == 1 {
			break
		}
		valid = valid[size:]
	}
	before := content[:len(content)-len(valid)]
	line := 1 + bytes.Count(before, []byte("\n"))
	column := 1 + utf8.RuneCount(before[1+bytes.LastIndexByte(before, '\n'):])
	return Place{file, line, column}
}

var yamlError = regexp.MustCompile(`^yaml: (?:line (\d+): )?`)

// syntax reports what the YAML library could not read. It names the line and
// stops at the first mistake.
func (p *parser) syntax(err error) {
	text := err.Error()
	line := 1
	if m := yamlError.FindStringSubmatch(text); m != nil {
		text = text[len(m[0]):]
		if n, err := strconv.Atoi(m[1]); err == nil {
			line = n
		}
	}
	p.report.add(Place{p.file.Name, line, 1}, "not valid YAML: %s; indent with spaces and quote values that hold any of : # [ ] { } , & * ! | > %% @", text)
}

// plainYAML refuses the corners of YAML that make a text mean something other
// than it seems to: aliases (which can also make a small file huge), merge
// keys and tags.
func (p *parser) plainYAML(n *yaml.Node) bool {
	plain := true
	switch {
	case n.Kind == yaml.AliasNode:
		p.refuse(n, "the alias *%s is not accepted; write the value out", n.Value)
		return false
	case n.Anchor != "":
		p.refuse(n, "the anchor &%s is not accepted; write the value out where it is needed", n.Anchor)
		plain = false
	case n.Style&yaml.TaggedStyle != 0:
		p.refuse(n, "the tag %s is not accepted; leave it out", n.Tag)
		plain = false
	case n.Kind == yaml.ScalarNode && n.Tag == "!!merge":
		p.refuse(n, "the merge key << is not accepted; write the keys out")
		plain = false
	}
	for _, child := range n.Content {
		plain = p.plainYAML(child) && plain
	}
	return plain
}

// --- the parts of a table

func (p *parser) table(root *yaml.Node) {
	const what = "the table"
	if root.Tag == "!!null" || root.Kind == yaml.MappingNode && len(root.Content) == 0 {
		p.refuse(root, "the table is empty; give it permissions, authenticated or public")
		return
	}
	for _, e := range p.fixed(root, what, tableKeys) {
		switch e.name {
		case "permissions":
			for _, e := range p.named(e.value, "permissions", "permission") {
				p.permission(e)
			}
		case "roles":
			for _, e := range p.named(e.value, "roles", "role") {
				p.role(e)
			}
		case "scopes":
			for _, e := range p.named(e.value, "scopes", "scope") {
				p.scope(e)
			}
		case "implicit_scopes":
			if on, ok := p.boolean(e.value, "implicit_scopes"); ok {
				p.file.ImplicitScopes = &Switch{p.at(e.value), on}
			}
		case "authenticated":
			p.file.Authenticated = p.activities(e.value, "authenticated", overridableKeys)
		case "public":
			p.file.Public = p.activities(e.value, "public", publicKeys)
		}
	}
}

func (p *parser) permission(e entry) {
	what := "permission " + quoted(e.name)
	if !p.scopeToken(e.key, what) {
		return
	}
	if strings.HasPrefix(e.name, rolePrefix) {
		p.refuse(e.key, "%s: a name may not begin with %q, which includes a role in a role; choose another name", what, rolePrefix)
		return
	}
	permission := Permission{Place: p.at(e.key), Name: e.name}
	for _, e := range p.fixed(e.value, what, permissionKeys) {
		switch e.name {
		case "description":
			permission.Description, _ = p.text(e.value, what+": description")
		case "activities":
			permission.Activities = p.activities(e.value, what, activityKeys)
		}
	}
	p.file.Permissions = append(p.file.Permissions, permission)
}

func (p *parser) role(e entry) {
	what := "role " + quoted(e.name)
	if !p.roleName(e.key, what, e.name) {
		return
	}
	role := Role{Place: p.at(e.key), Name: e.name}
	for _, item := range p.words(e.value, what, "permissions, or role:NAME to include a role") {
		name, isRole := strings.CutPrefix(item.name, rolePrefix)
		if isRole && !p.roleName(item.value, what+": "+quoted(item.name), name) {
			continue
		}
		role.Grants = append(role.Grants, Grant{p.at(item.value), name, isRole})
	}
	p.file.Roles = append(p.file.Roles, role)
}

func (p *parser) scope(e entry) {
	what := "scope " + quoted(e.name)
	if !p.scopeToken(e.key, what) {
		return
	}
	scope := Scope{Place: p.at(e.key), Name: e.name}
	for _, item := range p.words(e.value, what, "permissions") {
		if strings.HasPrefix(item.name, rolePrefix) {
			p.refuse(item.value, "%s: %q is a role, and a scope grants permissions only; list the permissions", what, item.name)
			continue
		}
		scope.Grants = append(scope.Grants, Grant{Place: p.at(item.value), Name: item.name})
	}
	p.file.Scopes = append(p.file.Scopes, scope)
}

// --- activities

func (p *parser) activities(n *yaml.Node, what string, long keys) []Activity {
	var list []Activity
	for _, item := range p.items(n, what, `activities such as "GET /users"`) {
		a := Activity{Place: p.at(item)}
		ok := false
		switch item.Kind {
		case yaml.MappingNode:
			ok = p.longActivity(item, what, long, &a)
		case yaml.ScalarNode:
			ok = p.shortActivity(item, what, &a)
		default:
			p.refuse(item, `%s: an activity is written as "GET /users", or as a mapping with the keys methods and path`, what)
		}
		if ok {
			list = append(list, a)
		}
	}
	return list
}

// shortActivity reads "GET,HEAD /users/[^/]+".
func (p *parser) shortActivity(n *yaml.Node, what string, a *Activity) bool {
	line, ok := p.text(n, what+": an activity")
	if !ok {
		return false
	}
	owner := what
	what += ": activity " + quoted(line)
	methods, path, _ := strings.Cut(line, " ")
	path = strings.TrimLeft(path, " ")
	switch {
	case strings.ContainsAny(line, "\t\r\n"):
		p.refuse(n, "%s holds a tab or a line break; put methods and path on one line with a space between", what)
		return false
	case strings.HasPrefix(methods, "/"):
		p.refuse(n, "%s names no method; write the methods first, as in %s", what, quoted("GET "+line))
		return false
	case strings.HasSuffix(methods, ",") || strings.HasPrefix(path, ","):
		p.refuse(n, `%s has a space between methods; write them as "GET,HEAD"`, what)
		return false
	case strings.TrimSpace(path) == "":
		p.refuse(n, "%s has no path; write methods and path, as in \"GET /users\"", what)
		return false
	case strings.Contains(path, " "):
		p.refuse(n, "%s has more than a list of methods and a path; a path regex that holds a space needs the long form with the keys methods and path", what)
		return false
	}
	a.Methods = p.methods(strings.Split(methods, ","), what, func(int) *yaml.Node { return n })
	a.Path = path
	a.PathPlace = a.Place
	if n.Style == 0 {
		a.PathPlace.Column += utf8.RuneCountInString(line[:len(line)-len(path)])
	}
	return p.path(a, owner) && a.Methods != nil
}

func (p *parser) longActivity(n *yaml.Node, what string, known keys, a *Activity) bool {
	ok := true
	var when *yaml.Node
	owner := what
	what += ": activity"
	for _, e := range p.fixed(n, what, known) {
		switch e.name {
		case "methods":
			words := p.texts(e.value, what+": methods", "methods such as GET")
			names := make([]string, len(words))
			for i := range words {
				names[i] = words[i].name
			}
			a.Methods = p.methods(names, what, func(i int) *yaml.Node { return words[i].value })
			if len(words) == 0 && e.value.Kind == yaml.SequenceNode {
				p.refuse(e.value, "%s: methods is empty; list at least one, or ANY for every method", what)
			}
			ok = ok && a.Methods != nil
		case "path":
			path, isText := p.text(e.value, what+": path")
			a.Path, a.PathPlace = path, p.at(e.value)
			ok = isText && p.path(a, owner) && ok
		case "hosts":
			a.Hosts = p.hosts(e.value, what)
			ok = ok && a.Hosts != nil
		case "require":
			a.Require, when = p.requirements(e.value, what)
		case "override":
			a.Override, _ = p.boolean(e.value, what+": override")
		}
	}
	if a.Require.When != "" && a.pattern != nil {
		p.condition(a, what+": require: when", when)
	}
	return ok && a.Methods != nil && a.pattern != nil
}

var methodForm = regexp.MustCompile("^" + methodPattern + "$")

// methods checks a list of methods and returns it, or nil when it does not hold.
func (p *parser) methods(names []string, what string, node func(int) *yaml.Node) []string {
	ok := len(names) > 0
	for i, m := range names {
		problem := ""
		switch {
		case m == "":
			problem = "an empty method; write a method such as GET"
		case m == "*":
			problem = `the method "*" is not accepted; write ANY for every method`
		case slices.Contains(names[:i], m):
			problem = fmt.Sprintf("method %s is listed twice; remove one", m)
		case m == AnyMethod && len(names) > 1:
			problem = "ANY stands for every method; remove the other methods"
		case !methodForm.MatchString(m) && methodForm.MatchString(strings.ToUpper(m)):
			problem = fmt.Sprintf("method %q is not in upper case; methods are case-sensitive (RFC 9110 section 9.1), so write %s", m, strings.ToUpper(m))
		case !methodForm.MatchString(m):
			problem = fmt.Sprintf("%q is not a method; use upper-case letters, digits and '-'", m)
		}
		if problem != "" {
			p.refuse(node(i), "%s: %s", what, problem)
			ok = false
		}
	}
	if !ok {
		return nil
	}
	return names
}

func (p *parser) path(a *Activity, what string) bool {
	var err error
	if a.pattern, err = parsePattern(a.Path); err != nil {
		p.report.add(a.PathPlace, "%s: path %s", what, err)
	}
	return err == nil
}

func (p *parser) hosts(n *yaml.Node, what string) []string {
	var hosts []string
	ok := true
	words := p.words(n, what+": hosts", "host names")
	for _, w := range words {
		if problem := checkHostPattern(w.name); problem != "" {
			p.refuse(w.value, "%s: host %s %s", what, quoted(w.name), problem)
			ok = false
		}
		hosts = append(hosts, w.name)
	}
	if len(words) == 0 && n.Kind == yaml.SequenceNode {
		p.refuse(n, "%s: hosts is empty; list at least one host, or leave the key out for every host", what)
	}
	if !ok {
		return nil
	}
	return hosts
}

// requirements also returns the node of the condition, which can be checked
// only when the path is known.
func (p *parser) requirements(n *yaml.Node, what string) (r Requirements, when *yaml.Node) {
	what += ": require"
	entries := p.fixed(n, what, requireKeys)
	if n.Kind == yaml.MappingNode && len(n.Content) == 0 {
		p.refuse(n, "%s is empty; name a requirement or leave the key out", what)
	}
	for _, e := range entries {
		what := what + ": " + e.name
		switch e.name {
		case "all_scopes":
			r.AllScopes = p.scopeList(e.value, what)
		case "any_scope":
			r.AnyScope = p.scopeList(e.value, what)
		case "aal":
			r.AAL = p.oneOf(e.value, what, assuranceLevels)
		case "max_age":
			r.MaxAge = p.duration(e.value, what)
		case "credentials":
			for _, w := range p.nonEmptyWords(e.value, what, "kinds of authentication") {
				r.Credentials = append(r.Credentials, p.oneOf(w.value, what, credentialKinds))
			}
		case "when":
			r.When, when = p.conditionText(e.value, what), e.value
		}
	}
	return r, when
}

func (p *parser) conditionText(n *yaml.Node, what string) string {
	text, ok := p.text(n, what)
	switch {
	case ok && strings.TrimSpace(text) == "":
		p.refuse(n, "%s is empty; write a condition or leave the key out", what)
	case len(text) > maxWhen:
		p.refuse(n, "%s is longer than %d bytes; shorten it, or move the rule into the service", what, maxWhen)
	default:
		return text
	}
	return ""
}

func (p *parser) scopeList(n *yaml.Node, what string) []string {
	var scopes []string
	for _, w := range p.nonEmptyWords(n, what, "scopes") {
		if p.scopeToken(w.value, what+" "+quoted(w.name)) {
			scopes = append(scopes, w.name)
		}
	}
	return scopes
}

func (p *parser) condition(a *Activity, what string, n *yaml.Node) {
	condition, problems := compileCondition(a.Require.When, a.pattern.groups)
	for _, problem := range problems {
		at := p.at(n)
		switch {
		case n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0 || problem.line > 0:
			// The YAML library does not tell how a block is indented.
		case n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) != 0:
			at.Column += 1 + problem.column
		default:
			at.Column += problem.column
		}
		p.report.add(at, "%s: %s", what, problem.text)
	}
	a.Require.condition = condition
}

// --- names

// scopeToken checks a name that travels in a scope list: the characters of
// RFC 6749 section 3.3, without the comma that separates names in a header.
func (p *parser) scopeToken(n *yaml.Node, what string) bool {
	if len(n.Value) > maxName {
		p.refuse(n, "%s is longer than %d bytes; shorten it", what, maxName)
		return false
	}
	odd := func(r rune) bool { return r <= ' ' || r >= 0x7f || r == '"' || r == '\\' || r == ',' }
	if n.Value == "" || strings.ContainsFunc(n.Value, odd) {
		p.refuse(n, `%s is not a name that a scope may have (RFC 6749 section 3.3); use visible ASCII characters other than " \ and ,`, what)
		return false
	}
	return true
}

// roleName checks the name of a role, which comes from a directory and may
// hold spaces and letters of any script.
func (p *parser) roleName(n *yaml.Node, what, name string) bool {
	switch {
	case name == "" || strings.TrimSpace(name) != name:
		p.refuse(n, "%s names no role, or one with white space around it; write the name as it is", what)
	case len(name) > maxName:
		p.refuse(n, "%s is longer than %d bytes; shorten it", what, maxName)
	case strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }):
		p.refuse(n, "%s holds a character that cannot be printed; remove it", what)
	default:
		return true
	}
	return false
}

// --- YAML nodes

// entry is a key of a mapping, or an item of a list of words, with its value.
type entry struct {
	name       string
	key, value *yaml.Node
}

// fixed returns the entries of a mapping whose keys are known.
func (p *parser) fixed(n *yaml.Node, what string, known keys) []entry {
	names := known.names()
	var entries []entry
	for _, e := range p.mapping(n, what, "the keys "+strings.Join(names, ", ")) {
		if !slices.Contains(names, e.name) {
			p.refuse(e.key, "%s: unknown key %s%s; known keys are %s", what, quoted(e.name), didYouMean(e.name, names), strings.Join(names, ", "))
			continue
		}
		entries = append(entries, e)
	}
	for _, k := range known {
		missing := !slices.ContainsFunc(entries, func(e entry) bool { return e.name == k.name })
		if k.required && missing && n.Kind == yaml.MappingNode {
			p.refuse(n, "%s has no key %s; add it", what, k.name)
		}
	}
	return entries
}

// named returns the entries of a mapping whose keys are chosen by the author.
func (p *parser) named(n *yaml.Node, what, kind string) []entry {
	return p.mapping(n, what, "names of a "+kind+" with their content")
}

func (p *parser) mapping(n *yaml.Node, what, content string) []entry {
	if n.Kind != yaml.MappingNode {
		p.refuse(n, "%s is %s where a mapping belongs; give it %s", what, kindOf(n), content)
		return nil
	}
	first := make(map[string]*yaml.Node, len(n.Content)/2)
	entries := make([]entry, 0, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		if k.Kind != yaml.ScalarNode || k.Tag != "!!str" {
			p.refuse(k, "%s: a key is %s where text belongs; put it in quotes", what, kindOf(k))
			continue
		}
		if before, twice := first[k.Value]; twice {
			p.refuse(k, "%s: %s is defined twice, first at %s; keep one", what, quoted(k.Value), p.at(before))
			continue
		}
		first[k.Value] = k
		entries = append(entries, entry{k.Value, k, v})
	}
	return entries
}

func (p *parser) items(n *yaml.Node, what, content string) []*yaml.Node {
	if n.Kind != yaml.SequenceNode {
		p.refuse(n, "%s is %s where a list belongs; list %s", what, kindOf(n), content)
		return nil
	}
	return n.Content
}

// texts returns the items of a list of texts.
func (p *parser) texts(n *yaml.Node, what, content string) []entry {
	var texts []entry
	for _, item := range p.items(n, what, content) {
		if value, ok := p.text(item, what+": an entry"); ok {
			texts = append(texts, entry{name: value, value: item})
		}
	}
	return texts
}

// words returns the items of a list of texts, each of which may occur once.
func (p *parser) words(n *yaml.Node, what, content string) []entry {
	var words []entry
	first := map[string]*yaml.Node{}
	for _, e := range p.texts(n, what, content) {
		if before, twice := first[e.name]; twice {
			p.refuse(e.value, "%s: %s is listed twice, first at %s; remove one", what, quoted(e.name), p.at(before))
			continue
		}
		first[e.name] = e.value
		words = append(words, e)
	}
	return words
}

func (p *parser) nonEmptyWords(n *yaml.Node, what, content string) []entry {
	if n.Kind == yaml.SequenceNode && len(n.Content) == 0 {
		p.refuse(n, "%s is empty; list %s or leave the key out", what, content)
	}
	return p.words(n, what, content)
}

func (p *parser) text(n *yaml.Node, what string) (string, bool) {
	if n.Kind != yaml.ScalarNode || n.Tag != "!!str" {
		p.refuse(n, "%s is %s where text belongs%s", what, kindOf(n), quoteHint(n))
		return "", false
	}
	return n.Value, true
}

func quoteHint(n *yaml.Node) string {
	if n.Kind == yaml.ScalarNode && n.Tag != "!!null" {
		return "; put it in quotes"
	}
	return "; write a text"
}

func (p *parser) boolean(n *yaml.Node, what string) (on, ok bool) {
	if n.Kind == yaml.ScalarNode && n.Tag == "!!bool" {
		return strings.EqualFold(n.Value, "true"), true
	}
	p.refuse(n, "%s is %s; write true or false", what, kindOf(n))
	return false, false
}

func (p *parser) oneOf(n *yaml.Node, what string, words []string) string {
	word, ok := p.text(n, what)
	if ok && !slices.Contains(words, word) {
		p.refuse(n, "%s: %s is not known%s; use one of %s", what, quoted(word), didYouMean(word, words), strings.Join(words, ", "))
		return ""
	}
	return word
}

func (p *parser) duration(n *yaml.Node, what string) time.Duration {
	const form = "write a duration of whole seconds such as 90s, 15m or 12h"
	if n.Kind != yaml.ScalarNode {
		p.refuse(n, "%s is %s; %s", what, kindOf(n), form)
		return 0
	}
	d, err := time.ParseDuration(n.Value)
	if err != nil || d < time.Second || d%time.Second != 0 {
		p.refuse(n, "%s: %s is not an age; %s", what, quoted(n.Value), form)
		return 0
	}
	return d
}

// kindOf names what a node is, in the words of a YAML author.
func kindOf(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	}
	switch n.Tag {
	case "!!null":
		return "empty"
	case "!!bool":
		return "true or false"
	case "!!int", "!!float":
		return "a number"
	case "!!timestamp":
		return "a date"
	}
	return "text"
}

// maxQuoted bounds what a message repeats of a file.
const maxQuoted = 80

// quoted puts a text of the file between quotes. A backslash stays as it is,
// because a regex whose backslashes are doubled is not what the author wrote.
func quoted(s string) string {
	if len(s) > maxQuoted {
		s = strings.ToValidUTF8(s[:maxQuoted], "") + "…"
	}
	if strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) || r == '"' }) {
		return strconv.Quote(s)
	}
	return `"` + s + `"`
}
