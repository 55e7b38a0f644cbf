package analysis

import (
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"

	"gatehouse/core/permission"
	"gatehouse/core/permission/automaton"
	"gatehouse/core/permission/mcp"
	"gatehouse/core/permission/pattern"
	"gatehouse/core/permission/variant"
)

// Call is a concrete request, the witness of a claim.
type Call struct {
	Method string
	// Host is empty where the host makes no difference.
	Host string
	// Path is the canonical path; Target stands for it on a request line.
	Path string
}

// Target is what to write on a request line.
func (c *Call) Target() string { return Target(c.Path) }

func (c *Call) String() string {
	text := c.Method + " " + c.Target()
	if c.Host != "" {
		text += " on " + c.Host
	}
	return text
}

// errNoWitness is a fault of this package: the automata and the regex engine
// must never disagree.
var errNoWitness = errors.New("a witness was found that the regex does not match; please report this table")

// Area is the calls that an activity covers, as far as paths go.
type Area struct {
	permission.OwnedActivity
	// paths is nil when the regex is too large to decide about.
	Paths  *automaton.Language
	Regex  *regexp.Regexp
	Tree   *syntax.Regexp // of regex
	prefix string
	// Guard is set where the area is no activity: the table refuses its calls, as
	// variants of those of the guard, unless an activity that demands at least as
	// much covers them.
	Guard *Area
}

// Areas prepares activities for comparison. Behind them stand the areas that the
// table refuses. Equal regexes share their automata.
func Areas(rules []permission.OwnedActivity) ([]*Area, error) {
	known := map[string]*Area{}
	list := make([]*Area, len(rules))
	for i, r := range rules {
		a := &Area{OwnedActivity: r}
		if same := known[r.Path]; same != nil {
			a.Paths, a.Regex, a.Tree, a.prefix = same.Paths, same.Regex, same.Tree, same.prefix
		} else if err := a.compile(); err != nil {
			return nil, fmt.Errorf("%s: path %q: %w", r.PathPlace, r.Path, err)
		}
		known[r.Path] = a
		list[i] = a
	}
	return appendRefused(list)
}

// appendRefused adds the variants that each guard has the table refuse.
func appendRefused(list []*Area) ([]*Area, error) {
	type key struct {
		rules *variant.Rules
		path  string
	}
	known := map[key]*Area{}
	for _, guard := range list {
		if guard.Variants == nil {
			continue
		}
		refused := &Area{OwnedActivity: guard.OwnedActivity, Guard: guard}
		k := key{guard.Variants, guard.Path}
		if same := known[k]; same != nil {
			refused.Paths, refused.Regex, refused.Tree, refused.prefix = same.Paths, same.Regex, same.Tree, same.prefix
		} else if err := refused.compileVariants(); err != nil {
			return nil, fmt.Errorf("%s: variants of path %q: %w", guard.PathPlace, guard.Path, err)
		}
		known[k] = refused
		list = append(list, refused)
	}
	return list, nil
}

func (a *Area) compileVariants() error {
	path, err := a.Seen()
	if err != nil {
		return err
	}
	all := a.Variants.Of(path)
	if a.Regex, err = regexp.Compile(`\A(?:` + all.Text + `)\z`); err != nil {
		return err
	}
	a.Tree, a.prefix = all.Tree, literalPrefix(all.Tree)
	if a.Guard.Paths == nil {
		return nil
	}
	own := a.Guard.Paths
	if a.MCP != nil {
		own = automaton.MustCompile(path.Text)
	}
	if a.Paths, err = Canonical(all.Tree); err == nil {
		a.Paths, err = a.Paths.Minus(own)
	}
	if errors.Is(err, automaton.ErrTooLarge) {
		a.Paths, err = nil, nil
	}
	return err
}

func (a *Area) compile() (err error) {
	if a.Regex, err = regexp.Compile(`\A(?:` + a.Path + `)\z`); err != nil {
		return err
	}
	path, err := a.Pattern()
	if err != nil {
		return err
	}
	a.Tree, a.prefix = path.Tree, literalPrefix(path.Tree)
	a.Paths, err = a.covered()
	if errors.Is(err, automaton.ErrTooLarge) {
		return nil
	}
	return err
}

// covered are the paths of calls that the regex covers.
func (a *Area) covered() (*automaton.Language, error) {
	if a.MCP == nil {
		paths, err := Canonical(a.Tree)
		if except := a.Excepted(); err == nil && len(except) > 0 {
			paths, err = paths.Minus(literals(except))
		}
		return paths, err
	}
	all, err := automaton.Compile(a.Tree)
	if err != nil {
		return nil, err
	}
	return all.And(CallPaths())
}

// Excepted are the endpoints of the Model Context Protocol that the regex matches and the
// activity does not cover.
func (a *Area) Excepted() []string {
	return slices.DeleteFunc(slices.Clone(a.NotAt), func(path string) bool { return !a.Regex.MatchString(path) })
}

func literals(paths []string) *automaton.Language {
	quoted := make([]string, len(paths))
	for i, path := range paths {
		quoted[i] = regexp.QuoteMeta(path)
	}
	return automaton.MustCompile(strings.Join(quoted, "|"))
}

// Seen is a regex of the paths of the requests that the activity covers.
func (a *Area) Seen() (*pattern.Path, error) {
	path, err := a.Pattern()
	return a.MCP.Seen(path), err
}

// Canonical is the language of a regex among the canonical paths.
func Canonical(tree *syntax.Regexp) (*automaton.Language, error) {
	all, err := automaton.Compile(tree)
	if err != nil {
		return nil, err
	}
	return all.And(CanonicalPaths())
}

// literalPrefix is what every match begins with.
func literalPrefix(re *syntax.Regexp) string {
	switch re.Op {
	case syntax.OpLiteral:
		if re.Flags&syntax.FoldCase == 0 {
			return string(re.Rune)
		}
	case syntax.OpCapture:
		return literalPrefix(re.Sub[0])
	case syntax.OpConcat:
		prefix := ""
		for _, sub := range re.Sub {
			if sub.Op == syntax.OpBeginText || sub.Op == syntax.OpBeginLine {
				continue
			}
			prefix += literalPrefix(sub)
			if sub.Op != syntax.OpLiteral || sub.Flags&syntax.FoldCase != 0 {
				break
			}
		}
		return prefix
	}
	return ""
}

// Near reports, at little cost, whether two activities may share a call.
func (a *Area) Near(b *Area) bool {
	return (strings.HasPrefix(a.prefix, b.prefix) || strings.HasPrefix(b.prefix, a.prefix)) &&
		len(sharedMethods(a, b)) > 0 && sharedHosts(a, b)
}

// Check holds a witness against the regex engine.
func (c *Call) Check(covering ...*Area) error {
	for _, a := range covering {
		if !a.holds(c.Path) {
			return fmt.Errorf("%s: %s: %w", a.Place, c, errNoWitness)
		}
	}
	return nil
}

// holds reports whether a path is one of the area.
func (a *Area) holds(path string) bool {
	if !a.Regex.MatchString(path) {
		return false
	}
	if a.Guard == nil {
		return mcp.IsPath(path) == (a.MCP != nil) && !slices.Contains(a.NotAt, path)
	}
	return !mcp.IsPath(path) && !a.Guard.holds(path) && (a.MCP == nil || a.MCP.Endpoint != path)
}

// --- methods

// commonMethods are shown as examples of a method that an activity does not
// name, the best known first. The last are there so that one is always left.
var commonMethods = []string{"GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "PROPFIND", "REPORT", "MKCOL", "OTHER"}

func anyMethod(a *Area) bool { return a.Methods[0] == permission.AnyMethod }

func (a *Area) CoversMethod(m string) bool { return anyMethod(a) || slices.Contains(a.Methods, m) }

// sharedMethods lists the methods that both activities cover and at least one
// names, or an example where both cover all.
func sharedMethods(a, b *Area) []string {
	switch {
	case anyMethod(a) && anyMethod(b):
		return commonMethods[:1]
	case anyMethod(a):
		return b.Methods
	case anyMethod(b):
		return a.Methods
	}
	var shared []string
	for _, m := range a.Methods {
		if slices.Contains(b.Methods, m) {
			shared = append(shared, m)
		}
	}
	return shared
}

// MethodClasses lists one method for each class of methods that the
// activities tell apart within those that a covers.
func MethodClasses(a *Area, others []*Area) []string {
	if !anyMethod(a) {
		return a.Methods
	}
	var named []string
	for _, o := range others {
		if !anyMethod(o) {
			named = append(named, o.Methods...)
		}
	}
	slices.Sort(named)
	named = slices.Compact(named)
	for _, m := range commonMethods {
		if !slices.Contains(named, m) {
			return append([]string{m}, named...)
		}
	}
	return named
}

// MethodsOf lists one method for each class of methods that the activities and the names
// tell apart; the first is one that none of them names.
func MethodsOf(list []*Area, names ...string) []string {
	all := &Area{OwnedActivity: permission.OwnedActivity{Activity: &permission.Activity{Methods: []string{permission.AnyMethod}}}}
	named := &Area{OwnedActivity: permission.OwnedActivity{Activity: &permission.Activity{Methods: append([]string{""}, names...)}}}
	return slices.DeleteFunc(MethodClasses(all, append(slices.Clip(list), named)), func(m string) bool { return m == "" })
}

// --- hosts

func (a *Area) CoversHost(host string) bool {
	return len(a.Hosts) == 0 || slices.ContainsFunc(a.Hosts, func(p string) bool { return pattern.HostMatches(p, host) })
}

// Covers reports whether the activity covers a call.
func (a *Area) Covers(c *Call) bool {
	return a.CoversMethod(c.Method) && a.CoversHost(c.Host) && a.holds(c.Path)
}

func sharedHosts(a, b *Area) bool {
	return len(a.Hosts) == 0 || len(b.Hosts) == 0 || sharedHost(a, b) != ""
}

// sharedHost is a host that both activities cover, or nothing where neither
// names one.
func sharedHost(a, b *Area) string {
	for _, host := range HostClasses([]*Area{a, b}) {
		if host != otherHost && a.CoversHost(host) && b.CoversHost(host) {
			return host
		}
	}
	return ""
}

// otherHost is an example of a host that no activity names.
const otherHost = "other.example"

// HostClasses lists one host for each class of hosts that the activities tell
// apart. A host is told by its name or by the longest domain above it.
func HostClasses(list []*Area) []string {
	var patterns []string
	for _, a := range list {
		patterns = append(patterns, a.Hosts...)
	}
	if len(patterns) == 0 {
		return []string{""}
	}
	slices.Sort(patterns)
	patterns = slices.Compact(patterns)
	classes := []string{}
	for _, p := range patterns {
		if !strings.HasPrefix(p, "*") {
			classes = append(classes, p)
		}
	}
	for _, p := range patterns {
		if domain, ok := strings.CutPrefix(p, "*"); ok {
			classes = append(classes, below(domain, patterns))
		}
	}
	return append(classes, unnamed(patterns))
}

// unnamed is an example of a host that no pattern covers.
func unnamed(patterns []string) string {
	for _, host := range []string{otherHost, "other.test", "other.invalid"} {
		if !slices.ContainsFunc(patterns, func(p string) bool { return pattern.HostMatches(p, host) }) {
			return host
		}
	}
	return "elsewhere.localhost"
}

// below names a host right below a domain that no longer pattern covers.
func below(domain string, patterns []string) string {
	for _, label := range []string{"other", "x", "y", "z", "any-other", "yet-another-host"} {
		host := label + domain
		taken := func(p string) bool { return len(p) > len(domain)+1 && pattern.HostMatches(p, host) }
		if !slices.ContainsFunc(patterns, taken) {
			return host
		}
	}
	return "one-more-host" + domain
}

// WithCalls adds to the areas of a table what their activities cover at those endpoints of the
// Model Context Protocol that only another table names: every call there, whatever its tool,
// so that the calls of both tables can be compared.
func WithCalls(list []*Area, others, own []string) ([]*Area, error) {
	all := list
	for _, endpoint := range others {
		if slices.Contains(own, endpoint) {
			continue
		}
		for _, a := range list {
			if a.Guard != nil || a.MCP != nil || a.Paths == nil || !a.CoversMethod(mcp.HTTPMethod) || !a.holds(endpoint) {
				continue
			}
			calls, err := a.callsAt(endpoint)
			if err != nil {
				return nil, err
			}
			all = append(all, calls)
		}
	}
	return all, nil
}

// callsAt is what an activity covers at an endpoint that it takes for any other path.
func (a *Area) callsAt(endpoint string) (*Area, error) {
	one := *a.Activity
	one.Methods, one.Path = []string{mcp.HTTPMethod}, mcp.AnyCall(endpoint)
	one.MCP = &mcp.Pattern{Endpoint: endpoint, Method: mcp.AnyMethod}
	calls := &Area{OwnedActivity: a.OwnedActivity}
	calls.Activity = &one
	return calls, calls.compile()
}
