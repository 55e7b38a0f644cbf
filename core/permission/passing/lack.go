package passing

import (
	"fmt"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"

	"gatehouse/core"
	"gatehouse/core/permission/analysis"
	"gatehouse/core/permission/automaton"
	"gatehouse/core/permission/callers"
	"gatehouse/core/permission/condition"
	"gatehouse/core/permission/formula"
	"gatehouse/core/permission/mcp"
	"gatehouse/core/permission/pattern"
	"gatehouse/core/permission/subject"
)

// MaxUnclear bounds for how many sets of calls an answer may stay open before it is given up.
const MaxUnclear = 100

// Lack asks whether somebody passes some calls, which the same activities decide, and lacks
// something.
type Lack struct {
	*World
	// Call is one of them, and Unnamed says that nothing names its host.
	Call    analysis.Call
	Unnamed bool
	// By says who passes, and Before who passes what the answer is compared with; nil where
	// that is no table.
	By, Before *Passage
	// Who are the callers that the question is about. The zero value is nobody.
	Who formula.Formula
	// Needed is what they may lack.
	Needed callers.Requirement
	// Meanings read the path beside those that decide.
	Meanings []*Meaning
	// Actors are patterns that the needed tells apart, and Actor is the one who acts; nil for
	// anyone, or nobody.
	Actors []*subject.Pattern
	Actor  *core.Actor
	// Inside are paths that all of the calls have, and Outside some of which none has.
	Inside, Outside func() []*automaton.Language
	// Has reports whether a caller has what is needed.
	Has func(*Witness) bool

	// Witness shows that somebody lacks it. Reason is why that cannot be told; where both are
	// empty, nobody does. Unclear counts the sets of calls about which it cannot.
	Witness *Witness
	Reason  string
	Unclear int

	asked   bool // that formula is made
	formula formula.Formula
	inexact []string
	// refusal is why the last example did not pass.
	refusal error
}

// Possible asks at little cost: Unsatisfiable is that nobody passes and lacks anything.
// Show looks further where the answer is another one.
func (l *Lack) Possible() formula.Answer {
	l.ask()
	_, answer := formula.Solve(l.formula)
	if answer == formula.TooLarge {
		l.tooLarge()
	}
	return answer
}

func (l *Lack) tooLarge() {
	l.Unclear++
	l.doubt("the formula of %s is too large", l.Call.String())
}

// doubt notes the first reason why the answer stays open.
func (l *Lack) doubt(format string, args ...any) {
	if l.Reason == "" {
		l.Reason = fmt.Sprintf(format, args...)
	}
}

// ask makes the formula: it holds for callers who pass and lack what is needed.
func (l *Lack) ask() {
	if l.asked {
		return
	}
	l.asked = true
	l.inexact = slices.Concat(l.Needed.Inexact, l.By.inexact)
	l.Meanings = append(slices.Clip(l.Meanings), l.By.meanings...)
	given := formula.And(l.Needed.Given, l.By.Given)
	if l.Before != nil {
		l.inexact, l.Meanings = append(l.inexact, l.Before.inexact...), append(l.Meanings, l.Before.meanings...)
	}
	said := formula.And(l.By.Met, l.Who, given)
	l.formula = formula.And(said, formula.Not(l.Needed.Met), l.request(said))
	if mcp.IsPath(l.Call.Path) { // all calls of the class are at one endpoint
		l.formula = formula.And(l.formula, l.onPath(l.Call.Path))
	}
	l.formula = formula.And(l.formula, l.Accepted.Given(l.formula))
}

// request says of the method and the host what the call tells, where that is asked.
func (l *Lack) request(said formula.Formula) formula.Formula {
	all := formula.Always
	for _, t := range formula.NamesOf(said, l.Needed.Met).Terms {
		switch t {
		case condition.Method:
			all = formula.And(all, formula.Equals(t, text(l.Call.Method)))
		case condition.Host:
			is := formula.Equals(t, text(hostName(&l.Call)))
			if l.Unnamed { // it may be none that can be read
				is = formula.Or(is, formula.Not(formula.Present(t)))
			}
			all = formula.And(all, is)
		}
	}
	return all
}

// anyHost stands for a host that nothing names. A text that is no host matches nothing
// where a table names hosts, so that none is never an example of any.
const anyHost = "any-other-host.invalid"

func hostName(c *analysis.Call) string {
	if c.Host == "" {
		return anyHost
	}
	return c.Host
}

// callOf is a call as a table sees it.
func callOf(c analysis.Call) *core.Call {
	r := asRequest(&c, &core.Request{Host: hostName(&c)})
	return &core.Call{Request: r, Path: seenPath(c.Path)}
}

func text(s string) formula.Value { return formula.Value{Type: formula.Text, Text: s} }

// Key is equal for questions with the same formula, as long as what is needed and who is
// asked about are the same.
func (l *Lack) Key() string {
	l.ask()
	key := l.By.key()
	if l.Before != nil {
		key += l.Before.key()
	}
	for _, t := range formula.NamesOf(l.formula).Terms {
		if t == condition.Method || t == condition.Host {
			key += " " + l.Call.Method + " " + l.Call.Host
			break
		}
	}
	return key
}

// Show looks for a caller on the call's own path, and where that shows nothing divides the
// calls by the values of path groups.
func (l *Lack) Show() error {
	if l.shown(l.Call.Path) {
		return nil
	}
	segments, others := l.groups()
	switch {
	case mcp.IsPath(l.Call.Path), len(segments) == 0 && len(others) == 0:
		l.notShown()
	case len(others) > 0:
		l.Unclear++
		l.doubt("%s: the group %s is not always one whole segment of the path", l.Call.String(), others[0])
	default:
		return l.divide(segments)
	}
	return nil
}

// notShown says why a caller who seems to pass does not.
func (l *Lack) notShown() {
	l.Unclear++
	switch {
	case len(l.inexact) > 0:
		l.doubt("%s: nothing is known of %s but its text", l.Call.String(), l.inexact[0])
	case l.refusal != nil:
		l.doubt("%s: somebody seems to pass, and the gate refuses the example: %v", l.Call.String(), l.refusal)
	default:
		l.doubt("%s: somebody seems to pass, of whom there is no example", l.Call.String())
	}
}

// groups are the terms of path groups that the formula has: whole segments, and the names
// of others.
func (l *Lack) groups() (segments []formula.Term, others []string) {
	for _, t := range formula.NamesOf(l.formula).Terms {
		switch is, name := callers.GroupTerm(t); {
		case is && name != "":
			others = append(others, name)
		case is:
			segments = append(segments, t)
		}
	}
	return segments, others
}

// onPath says of all groups what a path has in them.
func (l *Lack) onPath(path string) formula.Formula {
	all := formula.Always
	for _, m := range l.Meanings {
		all = formula.And(all, m.onPath(path))
	}
	return all
}

func (m *Meaning) onPath(path string) formula.Formula {
	all := formula.Always
	if m.condition == nil {
		return all
	}
	values := m.condition.Groups(seenPath(path))
	for _, name := range m.condition.ReadGroups() {
		t := callers.Group(m.path)(name)
		if value, present := values[name]; present {
			all = formula.And(all, formula.Equals(t, text(value)))
		} else {
			all = formula.And(all, formula.Not(formula.Present(t)))
		}
	}
	return all
}

// divide tells the paths apart by what stands in segments, and answers for each part.
func (l *Lack) divide(segments []formula.Term) error {
	values := l.values(segments)
	outside := l.Outside()
	languages := slices.Clone(outside)
	for _, v := range values {
		one, err := v.language()
		if err != nil {
			return err
		}
		languages = append(languages, one)
	}
	return automaton.Explore(l.Inside(), languages, func(members []int, path string) bool {
		if len(members) > 0 && members[0] < len(outside) {
			return true
		}
		is := formula.Always
		for n, v := range values {
			f := formula.Equals(v.term, text(v.value))
			if !slices.Contains(members, n+len(outside)) {
				f = formula.Not(f)
			}
			is = formula.And(is, f)
		}
		l.part(path, is, segments)
		return l.Witness == nil && l.Unclear <= MaxUnclear && l.ctx.Err() == nil
	})
}

// part answers for the paths with some values in their segments.
func (l *Lack) part(path string, is formula.Formula, segments []formula.Term) {
	for _, t := range segments {
		is = formula.And(is, formula.Present(t))
	}
	switch _, answer := formula.Solve(formula.And(l.formula, is)); {
	case answer == formula.Unsatisfiable || l.shown(path):
	case answer == formula.TooLarge:
		l.tooLarge()
	default:
		l.notShown()
	}
}

// valued is a segment that has a value.
type valued struct {
	term  formula.Term
	value string
}

// language are the paths on which that is so.
func (v valued) language() (*automaton.Language, error) {
	tree, err := syntax.Parse(fmt.Sprintf(`(?:/[^/]*){%d}/%s(?s:/.*)?`, callers.SegmentNumber(v.term)-1, regexp.QuoteMeta(v.value)), syntax.Perl)
	if err != nil {
		return nil, automaton.ErrTooLarge
	}
	return automaton.Compile(tree)
}

// values are those of segments that the formula names; where several segments take part,
// also some that let them be the same and different.
func (l *Lack) values(segments []formula.Term) (all []valued) {
	names := formula.NamesOf(l.formula)
	for _, t := range segments {
		list := slices.Clone(names.Values[t])
		if len(segments) > 1 {
			list = append(list, text("one"), text("two"))
		}
		for _, v := range list {
			is := valued{t, v.Text}
			if v.Type == formula.Text && len(v.Text) <= pattern.MaxPath && !strings.Contains(v.Text, "/") && !slices.Contains(all, is) {
				all = append(all, is)
			}
		}
	}
	return all
}

// Compared are the texts that formulas compare methods and hosts with. Reads says that they read one of the two.
func Compared(said []formula.Formula) (methods, hosts []string, reads bool) {
	names := formula.NamesOf(said...)
	for _, v := range names.Values[condition.Method] {
		if v.Type == formula.Text && v.Text != "" && !strings.ContainsFunc(v.Text, notOfMethod) {
			methods = append(methods, v.Text)
		}
	}
	for _, v := range names.Values[condition.Host] {
		if v.Type == formula.Text && condition.IsHost(v.Text) {
			hosts = append(hosts, v.Text)
		}
	}
	return methods, hosts, slices.Contains(names.Terms, condition.Method) || slices.Contains(names.Terms, condition.Host)
}

// notOfMethod is true of characters that no method has (RFC 9110 section 5.6.2).
func notOfMethod(r rune) bool {
	return r <= ' ' || r > '~' || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, r)
}
