// Package replay asks two permission tables about the requests of an access
// log, and says which of them the newer table would decide otherwise.
//
// A log says what was called and hardly ever by whom, so every request is
// decided for a number of assumed callers. Memory is bounded whatever the log
// holds: lines are read one by one, and differences are grouped by the
// activities that decide.
package replay

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode"

	"gatehouse/core"
	"gatehouse/core/audit"
	"gatehouse/core/httpsyntax"
	"gatehouse/core/permission"
	"gatehouse/core/permission/accesslog"
	"gatehouse/core/permission/ask"
	"gatehouse/core/permission/inspect"
	"gatehouse/core/permission/mcp"
)

// Options of a comparison.
type Options struct {
	Old, New *inspect.Inspector
	// Alone tells that Old allows everything, to show what New refuses.
	Alone bool
	// Callers that are assumed for each request.
	Callers []Caller
	// Log says how it is read. Callers are not used with a field of users.
	Log accesslog.Options
	// Users gives the roles of the users in that field. A user who is not in
	// it, or everybody where it is nil, has the role of that name.
	Users map[string][]string
	// Host is assumed where the log does not say. Where it is empty, a host that no
	// table names is.
	Host string
	Path core.PathOptions
	// MaxSamples is how many requests are kept of each group, MaxGroups how
	// many groups; 3 and 1000 if zero.
	MaxSamples, MaxGroups int
	Now                   func() time.Time
}

// Caller is who is assumed to make the requests.
type Caller struct {
	Name string
	// Principal is nil for a caller without a credential.
	Principal *core.Principal
	// Stronger are the same caller with better credentials.
	Stronger []*core.Principal
	// Described says that the principal is all that there is to know of the caller.
	Described bool
	// recorded says that it is the one of an audit record, who may have an actor.
	recorded bool
}

// Outcome is what a table decides about a caller.
type Outcome string

// The outcomes.
const (
	Denied  Outcome = "denied"
	Allowed Outcome = "allowed"
	// Stronger: only with another kind of credential, or a recent sign-in
	// with a high assurance level.
	Stronger Outcome = "allowed for a strong sign-in only"
	// asked is what the decision point says, which no log holds.
	asked Outcome = "asked"
)

// Report is the outcome of a comparison.
type Report struct {
	// Lines is what was read; Requests those of them that hold a request.
	Lines, Requests int
	// Different counts requests that at least one caller would get another
	// outcome to, LetIn and ShutOut those by direction; one may be both.
	Different, LetIn, ShutOut int
	// Groups are ordered by how many requests they stand for.
	Groups []*Group
	// Ungrouped counts the different requests for which there was no room.
	Ungrouped int
	// Refused are requests that a gate refuses whatever the table says.
	Refused []*Refused
	// Skipped are lines without a request.
	Skipped []*accesslog.Skipped
	// Conditions counts requests that an activity with a condition decides. Unsure
	// counts those of all requests that other requirements decide in the newer table,
	// or the same ones for other grants, without a difference for an assumed caller:
	// what a log does not say, as what a decision point answered, may make one.
	Conditions, Unsure int
	// Hostless counts requests without a host, where a table names hosts and none
	// was given: they were decided as if on a host that no table names.
	Hostless int
	// Tools are calls of the Model Context Protocol, of which no log names the tool: they are
	// not compared.
	Tools int
}

// Complete reports whether every request of the log was compared as it was made. A
// line of a client that sent no HTTP request has none.
func (r *Report) Complete() bool {
	return !accesslog.Unread(r.Skipped) && r.Unsure == 0 && r.Hostless == 0 && r.Tools == 0
}

// Group is requests that the same activities decide, with the same change.
type Group struct {
	Method   string
	Old, New []permission.OwnedActivity
	Changes  []Change
	Requests int
	Samples  []string
}

// Change is a new outcome for some callers.
type Change struct {
	Old, New Outcome
	Callers  []string
}

// Refused is requests that are refused for one reason.
type Refused struct {
	Reason   string
	Requests int
	Samples  []string
}

// Run reads a log to its end.
func Run(log io.Reader, o Options) (*Report, error) {
	o.MaxSamples = cmp.Or(o.MaxSamples, 3)
	o.MaxGroups = cmp.Or(o.MaxGroups, 1000)
	if o.Now == nil {
		o.Now = time.Now
	}
	c := &comparison{
		Options: o, known: map[string]difference{}, alike: map[string]bool{},
		namesHosts: o.Old.NamesHosts() || o.New.NamesHosts(),
		groups:     map[string]*Group{}, refused: map[string]*Refused{}, skipped: accesslog.SkippedLines{},
	}
	err := accesslog.Read(log, o.Log, c.entry)
	return c.finish(), err
}

type comparison struct {
	Options
	// known holds outcomes by the activities that decide, and alike whether their
	// ways are the same in both tables.
	known map[string]difference
	alike map[string]bool
	// namesHosts reports whether a table decides by hosts.
	namesHosts bool

	report  Report
	groups  map[string]*Group
	refused map[string]*Refused
	skipped accesslog.SkippedLines
}

func (c *comparison) entry(e *accesslog.Entry, err error) {
	c.report.Lines++
	if err != nil {
		c.skipped.Add(c.report.Lines, err)
		return
	}
	c.report.Requests++
	call := e.Call(c.Host)
	if c.namesHosts && e.Host == "" && c.Host == "" {
		c.report.Hostless++
	}
	if call.Path, err = core.Canonical(e.Target, c.Path); err != nil {
		c.refuse(call, err)
		return
	}
	if call.Method == mcp.HTTPMethod && (c.Old.IsEndpoint(call.Path) || c.New.IsEndpoint(call.Path)) && e.MCP.Method == "" {
		c.report.Tools++
		return
	}
	c.compare(call, c.callers(e))
}

// refuse keeps the requests that no table is asked about. The reasons are
// those of core.Canonical, which are few.
func (c *comparison) refuse(call *core.Call, err error) {
	var path *httpsyntax.PathError
	reason := err.Error()
	if errors.As(err, &path) {
		reason = path.Reason
	}
	r := c.refused[reason]
	if r == nil {
		r = &Refused{Reason: reason}
		c.refused[reason] = r
	}
	r.Requests++
	r.Samples = sample(r.Samples, call, c.MaxSamples)
}

// callers of a request.
func (c *comparison) callers(e *accesslog.Entry) []Caller {
	if e.Record != nil {
		return c.recorded(e.Record)
	}
	if c.Log.UserField == "" {
		return c.Callers
	}
	if e.User == nil {
		return []Caller{Anonymous()}
	}
	roles := e.Roles(c.Users)
	name := "a caller without roles"
	if len(roles) > 0 {
		name = "role " + strings.Join(roles, " and ")
	}
	return []Caller{assume(name, core.Principal{Roles: roles}, c.Now())}
}

// nobodyKnown are the reasons of records whose caller was looked for and not found.
var nobodyKnown = []string{"no_credential", "invalid_credential", "anonymous", "credential_ignored"}

// recorded is the caller of an audit record, or all whom the tables tell apart where it does not hold
// everything.
func (c *comparison) recorded(r *audit.Record) []Caller {
	p := r.Principal()
	switch {
	case p == nil && slices.Contains(nobodyKnown, r.Reason):
		return []Caller{Anonymous()}
	case p == nil: // who called was not looked at
		return c.Callers
	case !r.Wholly() || r.Caller.Actor != nil && len(r.Caller.Actor.Before) > 0 && c.chains():
		return c.Callers
	}
	if !p.AuthenticatedAt.IsZero() { // as long ago as it was
		p.AuthenticatedAt = c.Now().Add(p.AuthenticatedAt.Sub(r.Time))
	}
	return []Caller{{Name: recordedName(p), Principal: p, Described: true, recorded: true}}
}

// chains reports whether a table asks for those who acted before, whom a record names and does
// not describe.
func (c *comparison) chains() bool {
	_, was := c.Old.Actors()
	_, is := c.New.Actors()
	return was || is
}

// recordedName is by what a table knows a caller: requests of callers with the same name stand
// together.
func recordedName(p *core.Principal) string {
	var names []string
	for _, sort := range []struct {
		one   string
		names []string
	}{{"role", p.Roles}, {"scope", p.Scopes}, {"permission", p.Permissions}} {
		if len(sort.names) > 0 {
			names = append(names, sort.one+" "+strings.Join(sort.names, " and "))
		}
	}
	switch {
	case p.Kind == core.KindSPIFFE:
		names = []string{p.Subject}
	case names == nil:
		names = []string{"a caller without roles"}
	}
	if p.Actor != nil {
		names = append(names, "through "+p.Actor.String())
	}
	return printableName(strings.Join(names, ", "))
}

// printableName escapes what acts on a terminal.
func printableName(name string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return unicode.ReplacementChar
		}
		return r
	}, name)
}

func (c *comparison) compare(call *core.Call, callers []Caller) {
	older, newer := side(c.Old, call), side(c.New, call)
	if older.access == nil && newer.access == nil {
		return
	}
	d := c.outcomes(older, newer, callers)
	if len(d.changes) == 0 {
		if d.open || !c.exact(older, newer, callers) {
			c.report.Unsure++
		}
		return
	}
	c.report.Different++
	if d.letsIn {
		c.report.LetIn++
	}
	if d.shutsOut {
		c.report.ShutOut++
	}
	c.group(call, older, newer, d.changes)
}

// difference is how the outcomes of one call differ.
type difference struct {
	changes          []Change
	letsIn, shutsOut bool
	// open says that answers of a decision point may make a further one.
	open bool
}

// outcomes are the same for all calls that the same activities decide, unless
// one of them looks at the call, or the callers depend on the line.
func (c *comparison) outcomes(older, newer *decider, callers []Caller) difference {
	if conditional(older.rules()) || conditional(newer.rules()) {
		c.report.Conditions++
		return compareOutcomes(older, newer, callers)
	}
	if c.Log.UserField != "" || len(callers) == 1 {
		return compareOutcomes(older, newer, callers)
	}
	key := deciding(older, newer)
	d, known := c.known[key]
	if !known {
		d = compareOutcomes(older, newer, callers)
		if len(c.known) < maxKnown {
			c.known[key] = d
		}
	}
	return d
}

// deciding names the activities that decide a call in both tables.
func deciding(older, newer *decider) string {
	return fmt.Sprint(permission.Deciding(older.access), permission.Deciding(newer.access))
}

// exact reports whether no caller at all can get another outcome, where none of the
// assumed ones does. Without requirements one name decides, and each name was tried.
func (c *comparison) exact(older, newer *decider, callers []Caller) bool {
	key := deciding(older, newer)
	alike, known := c.alike[key]
	if !known {
		alike = older.ways() == newer.ways()
		if len(c.alike) < maxKnown {
			c.alike[key] = alike
		}
	}
	if alike {
		return true
	}
	if !c.Alone && older.access != nil && newer.access != nil && older.access.Public() != newer.access.Public() {
		return false // a credential that does not hold is looked at in one of them
	}
	if !(len(callers) == 1 && callers[0].recorded) && !c.actorsAreTried() {
		return false
	}
	rules := slices.Concat(older.rules(), newer.rules())
	described := func(c Caller) bool { return c.Described }
	switch known := func(c Caller) bool { return c.Principal != nil }; {
	case slices.ContainsFunc(callers, func(c Caller) bool { return !described(c) }):
		return !slices.ContainsFunc(rules, func(r permission.OwnedActivity) bool { return !r.Require.Empty() })
	case !slices.ContainsFunc(callers, known):
		rules = slices.Concat(older.open(), newer.open())
	}
	// Of a caller who is described, only what the log lacks is unknown.
	return !conditional(rules)
}

// actorsAreTried reports whether the actors that the tables tell apart are among the callers.
// Chains of several never are, and a log does not say who acted.
func (c *comparison) actorsAreTried() bool {
	was, chained := c.Old.Actors()
	is, chain := c.New.Actors()
	return chained == chain && (c.Log.UserField == "" || len(was)+len(is) == 0)
}

// maxKnown bounds how many combinations of activities are remembered.
const maxKnown = 10_000

func compareOutcomes(older, newer *decider, callers []Caller) (d difference) {
	for i := range callers {
		was, is := older.outcome(&callers[i]), newer.outcome(&callers[i])
		if was == is {
			continue
		}
		if was == asked || is == asked {
			d.open = true
			continue
		}
		d.letsIn = d.letsIn || rank[is] > rank[was]
		d.shutsOut = d.shutsOut || rank[is] < rank[was]
		at := slices.IndexFunc(d.changes, func(c Change) bool { return c.Old == was && c.New == is })
		if at < 0 {
			at = len(d.changes)
			d.changes = append(d.changes, Change{Old: was, New: is})
		}
		if c := &d.changes[at]; !slices.Contains(c.Callers, callers[i].Name) { // examples of one pattern have one name
			c.Callers = append(c.Callers, callers[i].Name)
		}
	}
	return d
}

var rank = map[Outcome]int{Denied: 0, Stronger: 1, Allowed: 2}

// LetsIn reports whether a change opens a request.
func (c *Change) LetsIn() bool { return rank[c.New] > rank[c.Old] }

// decider decides one call by one table.
type decider struct {
	table  *inspect.Inspector
	call   *core.Call
	access core.Access // nil when nothing covers the call
}

func side(table *inspect.Inspector, call *core.Call) *decider {
	return &decider{table, call, table.Match(context.Background(), call)}
}

// rules are the activities that decide the call.
func (d *decider) rules() []permission.OwnedActivity {
	all := d.table.Activities()
	var rules []permission.OwnedActivity
	for _, i := range permission.Deciding(d.access) {
		rules = append(rules, all[i])
	}
	return rules
}

// conditional reports whether an activity looks at the call, or has a decision point asked,
// whose answer no log holds.
func conditional(rules []permission.OwnedActivity) bool {
	return slices.ContainsFunc(rules, func(r permission.OwnedActivity) bool { return r.Require.Conditional() })
}

// ways is equal where the same callers may make a call, whoever they are.
func (d *decider) ways() string {
	ways := map[string][]string{}
	for _, r := range d.rules() {
		who := []string{r.Section.String()}
		if r.Section == permission.InPermission {
			who = d.grantors(r.Permission)
		}
		demand := r.Demand()
		ways[demand.Key()] = append(ways[demand.Key()], who...)
	}
	actors, chain := d.table.Actors()
	lines := []string{fmt.Sprint(chain, actors)}
	for demand, who := range ways {
		slices.Sort(who)
		lines = append(lines, fmt.Sprintf("%s %q", demand, slices.Compact(who)))
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// open are the rules by which a caller without a credential may get through.
func (d *decider) open() []permission.OwnedActivity {
	return slices.DeleteFunc(d.rules(), func(r permission.OwnedActivity) bool {
		return r.Section == permission.InAuthenticated || r.Section == permission.InPermission && !d.table.Holds(nil, r.Permission)
	})
}

func (d *decider) grantors(name string) []string {
	g, _ := d.table.Grantors(name)
	who := []string{"permission " + name}
	for _, role := range g.Roles {
		who = append(who, "role "+role)
	}
	for _, scope := range g.Scopes {
		who = append(who, "scope "+scope)
	}
	for _, pattern := range g.Subjects {
		who = append(who, "subject "+pattern)
	}
	for _, pattern := range g.Actors {
		who = append(who, "actor "+pattern)
	}
	if d.table.Holds(nil, name) {
		who = append(who, "anybody")
	}
	return who
}

func (d *decider) outcome(c *Caller) Outcome {
	outcome := d.of(c.Principal)
	for _, p := range c.Stronger {
		switch with := d.of(p); {
		case outcome != Denied:
			return outcome
		case with == Allowed:
			outcome = Stronger
		default:
			outcome = with
		}
	}
	if outcome == Denied && !c.Described && slices.ContainsFunc(d.rules(), asks) {
		return asked // about a subject or a claim that an assumed caller has not
	}
	return outcome
}

func asks(r permission.OwnedActivity) bool { return len(r.Require.Asks) > 0 }

// of is Allowed, Denied, or asked.
func (d *decider) of(p *core.Principal) Outcome {
	switch {
	case d.access == nil:
		return Denied
	case d.access.Public():
		return Allowed
	}
	refusal := error(nil)
	if p == nil {
		refusal = d.access.(core.AnonymousAccess).AllowsAnonymous(context.Background(), d.call)
	} else {
		refusal = d.access.Allows(context.Background(), d.call, p)
	}
	if _, asks := refusal.(*ask.Needed); asks {
		return asked
	}
	if refusal != nil {
		return Denied
	}
	return Allowed
}

func (c *comparison) group(call *core.Call, older, newer *decider, changes []Change) {
	method := call.Method
	key := fmt.Sprintf("%q %v", method, changes)
	was, is := older.rules(), newer.rules()
	for _, rules := range [][]permission.OwnedActivity{was, is} {
		key += " |"
		for _, r := range rules {
			key += " " + r.Place.String()
		}
	}
	g := c.groups[key]
	if g == nil {
		if len(c.groups) >= c.MaxGroups {
			c.report.Ungrouped++
			return
		}
		g = &Group{Method: method, Old: was, New: is, Changes: changes}
		c.groups[key] = g
	}
	g.Requests++
	g.Samples = sample(g.Samples, call, c.MaxSamples)
}

// sample keeps the first few requests that differ from each other.
func sample(samples []string, call *core.Call, most int) []string {
	if len(samples) >= most {
		return samples
	}
	const longest = 200
	text := call.Method + " " + printable(shortened(call.Target))
	if len(text) > longest {
		text = strings.ToValidUTF8(text[:longest], "") + "…"
	}
	if slices.Contains(samples, text) {
		return samples
	}
	return append(samples, text)
}

// longestShown is how long a value of a query may be that a sample shows. Tokens are
// longer, and logs of gateways hold those that clients put into a query.
const longestShown = 16

// shortened leaves out long values of the query.
func shortened(target string) string {
	path, query, found := strings.Cut(target, "?")
	if !found {
		return target
	}
	pairs := strings.Split(query, "&")
	for i, pair := range pairs {
		if name, value, _ := strings.Cut(pair, "="); len(value) > longestShown {
			pairs[i] = name + "=…"
		} else if len(pair) > 4*longestShown {
			pairs[i] = "…"
		}
	}
	return path + "?" + strings.Join(pairs, "&")
}

// printable keeps what a client wrote from acting on a terminal.
func printable(target string) string {
	var b strings.Builder
	for i := 0; i < len(target); i++ {
		if strings.HasPrefix(target[i:], "…") {
			b.WriteString("…")
			i += len("…") - 1
		} else if c := target[i]; c <= ' ' || c >= 0x7f {
			fmt.Fprintf(&b, `\x%02X`, c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

func (c *comparison) finish() *Report {
	r := &c.report
	r.Groups = slices.SortedFunc(maps.Values(c.groups), func(a, b *Group) int {
		return cmp.Or(cmp.Compare(b.Requests, a.Requests), cmp.Compare(a.Method, b.Method), slices.Compare(a.Samples, b.Samples))
	})
	r.Refused = slices.SortedFunc(maps.Values(c.refused), func(a, b *Refused) int {
		return cmp.Or(cmp.Compare(b.Requests, a.Requests), cmp.Compare(a.Reason, b.Reason))
	})
	r.Skipped = c.skipped.List()
	return r
}

// --- callers

// Anonymous is a caller without a credential.
func Anonymous() Caller { return Caller{Name: "anonymous", Described: true} }

// Callers are those that are assumed where the log does not say who called: one without
// a credential, one with nothing but a valid credential, and one for each role,
// scope, pattern of subjects and permission of either table.
func Callers(older, newer *permission.Table, now time.Time) []Caller {
	callers := []Caller{Anonymous(), assume("any valid credential", core.Principal{}, now)}
	oldPermissions, oldRoles, oldScopes := older.Names()
	newPermissions, newRoles, newScopes := newer.Names()
	for _, role := range union(oldRoles, newRoles) {
		callers = append(callers, assume("role "+role, core.Principal{Roles: []string{role}}, now))
	}
	for _, scope := range union(oldScopes, newScopes) {
		callers = append(callers, assume("scope "+scope, core.Principal{Scopes: []string{scope}}, now))
	}
	subjects := permission.SubjectExamples(older, newer)
	for _, pattern := range slices.Sorted(maps.Keys(subjects)) {
		for _, p := range subjects[pattern] {
			p.Expiry = now.Add(time.Hour)
			callers = append(callers, Caller{Name: "subject " + pattern, Principal: p})
		}
	}
	callers = append(callers, delegated(older, newer, now)...)
	for _, name := range union(oldPermissions, newPermissions) {
		callers = append(callers, assume("permission "+name, core.Principal{Permissions: []string{name}}, now))
	}
	return callers
}

// delegated are callers by actors whose subjects may do everything.
func delegated(older, newer *permission.Table, now time.Time) (callers []Caller) {
	actors := permission.ActorExamples(nil, older, newer)
	for _, pattern := range slices.Sorted(maps.Keys(actors)) {
		for _, p := range actors[pattern] {
			callers = append(callers, assume("actor "+pattern, *p, now))
		}
	}
	return callers
}

func union(a, b []string) []string {
	all := slices.Concat(a, b)
	slices.Sort(all)
	return slices.Compact(all)
}

// assume makes a caller whose token says nothing about how its user signed in,
// and the same caller after the strongest sign-in there is, with each proof of possession.
func assume(name string, p core.Principal, now time.Time) Caller {
	p.Expiry = now.Add(time.Hour)
	weak := p
	weak.Kind = core.KindJWT
	c := Caller{Name: name, Principal: &weak}
	for _, kind := range core.Kinds() {
		if p.Actor != nil && !kind.Delegated {
			continue
		}
		strong := p
		strong.Kind, strong.AAL, strong.AuthenticatedAt = kind.Kind, "aal3", now
		if !kind.Scopes {
			strong.Scopes = nil
		}
		c.Stronger = append(c.Stronger, &strong)
		for _, proof := range kind.Proofs {
			c.Stronger = append(c.Stronger, strong.Proven(proof))
		}
	}
	return c
}
