package why

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"gatehouse/core"
	"gatehouse/core/audit"
	"gatehouse/core/permission"
	"gatehouse/core/permission/report"
	"gatehouse/internal/cli/tables"
	"gatehouse/internal/cli/terminal"
	"gatehouse/internal/why"
)

// inWords says what the reasons of records mean.
var inWords = map[string]string{
	"allowed":            "The caller was known, and may make the call.",
	"public":             "Anybody may make the call: no credential is looked at.",
	"anonymous":          "The request had no credential, and the call needs none.",
	"credential_ignored": "The credential did not hold and counted as none, and the call needs none.",
	"endpoint":           "The request is one to an endpoint of the gate, which answered it. No activity is looked at.",
	"preflight":          "The request is a preflight of a browser (CORS), which the gate answered.",
	"no_credential":      "The request had no credential, and the call needs one.",
	"invalid_credential": "The credential did not hold, so that nobody was known.",
	"step_up":            "The caller was known, but how they signed in or proved themselves is not enough for the call.",
	"insufficient_scope": "The caller was known, and what they hold does not open the call.",
	"forbidden":          "The call is open to nobody, or not to this caller, whatever scopes they get.",
	"no_consumer":        "The caller was known, and the gateway has no consumer for them.",
	"bad_request":        "The request could be read in two ways, and such a request is refused whoever makes it.",
	"too_many_headers":   "The request had more headers than the gateway shows, or larger ones.",
	"body_too_large":     "The body was larger than may be read, and the decision needs it.",
	"too_many_attempts":  "Too many credentials of this client had failed before, so that none was looked at.",
	"unavailable":        "The gate could not tell: something that it needs was away or failed. It lets nothing through then.",
}

// beforeTheTable says what would have been enough where the table does not matter.
var beforeTheTable = map[string]string{
	"no_consumer":       "a consumer at the gateway that belongs to the caller",
	"bad_request":       "a request with one reading",
	"too_many_headers":  "fewer and smaller headers",
	"body_too_large":    "a smaller body",
	"too_many_attempts": "to wait, and a credential that holds",
	"unavailable":       "nothing that a caller can do: what the cause names has to work again",
}

type printer struct {
	*terminal.Printer
	*explanation
}

func (p printer) print() {
	p.verdict()
	p.reason()
	if p.answer != nil {
		p.byTableOfMoment()
	}
	p.enough()
	p.notes()
}

func (p printer) verdict() {
	r := &p.record.Record
	text, paint := map[string]string{"allow": "allowed", "deny": "denied", "respond": "answered by the gate"}[r.Decision], p.Good
	if r.Decision != "allow" {
		text, paint = strings.TrimSpace(text+fmt.Sprintf(" %d %s", r.Status, r.Reason)), p.Warn
	}
	if r.Decision == "deny" {
		paint = p.Bad
	}
	p.Printf("%s  %s\n", paint(terminal.Quiet(text)), p.Bold(terminal.Quiet(cmp.Or(r.Method, "-")+" "+r.Asked())))
	place := "request " + r.RequestID
	for _, part := range []struct{ before, text string }{{"on ", r.Gateway}, {"route ", r.Route}, {"from ", r.ClientIP}} {
		if part.text != "" {
			place += ", " + part.before + part.text
		}
	}
	p.Printf("  %s\n", p.Dim(terminal.Quiet(r.Time.UTC().Format("2006-01-02 15:04:05.000")+" UTC, "+place)))
	p.Printf("  %s\n", p.Dim(terminal.Quiet("by "+p.caller())))
}

// caller describes who called, as far as the record tells.
func (p printer) caller() string {
	c := p.record.Caller
	if c == nil {
		return "nobody who is known"
	}
	text := cmp.Or(c.Subject, c.ClientID, "?")
	var facts []string
	add := func(before string, texts ...string) {
		if texts = slices.DeleteFunc(slices.Clone(texts), func(t string) bool { return t == "" }); len(texts) > 0 {
			facts = append(facts, strings.TrimSpace(before+" "+strings.Join(texts, ", ")))
		}
	}
	add("", c.Kind)
	add("of", c.Issuer)
	add("client", c.ClientID)
	if c.Actor != nil {
		add("through", cmp.Or(c.Actor.Subject, c.Actor.ClientID))
	}
	add("roles", c.Roles...)
	add("scopes", c.Scopes...)
	add("permissions", c.Permissions...)
	add("", c.AAL)
	if len(facts) > 0 {
		text += " (" + strings.Join(facts, "; ") + ")"
	}
	return text
}

func (p printer) reason() {
	r := &p.record.Record
	p.Printf("\n%s\n", cmp.Or(inWords[r.Reason], "The gate recorded the reason "+terminal.Quiet(cmp.Or(r.Reason, "none"))+"."))
	if r.Decision == "allow" && r.Permission != "" {
		p.Printf("They hold the permission %s by the %s.\n", terminal.Quiet(r.Permission), terminal.Quiet(cmp.Or(r.Grant, "table")))
	}
	for _, line := range []struct{ name, text string }{{"activity", r.Rule}, {"needed", r.Expected}, {"had", r.Got}, {"cause", r.Cause}} {
		if line.text != "" {
			p.Printf("  %s  %s\n", p.Dim(fmt.Sprintf("%-8s", line.name)), terminal.Quiet(line.text))
		}
	}
}

func (p printer) byTableOfMoment() {
	p.Printf("\nBy the table %s:\n", terminal.Quiet(p.table))
	if len(p.answer.Activities) == 0 {
		p.Printf("  no activity covers the call, and what none covers is denied\n")
	}
	for i := range p.answer.VariantOf {
		guard := &p.answer.VariantOf[i]
		p.Printf("  path_variants refuses the path: an upstream may take it for one of %s: %s%s\n", guard.Owner(), tables.Describe(guard), p.place(guard.Place))
	}
	for i := range p.answer.Activities {
		p.activity(&p.answer.Activities[i])
	}
}

func (p printer) place(at report.Place) string {
	if !p.places {
		return ""
	}
	return "  " + p.Dim(tables.Place(at))
}

func (p printer) activity(a *why.Activity) {
	p.Printf("  %s  %s%s\n", p.Name(a.Owner()), tables.Describe(&a.OwnedActivity), p.place(a.Place))
	if !a.Decides {
		p.Printf("    %s\n", p.Dim("has no say: another activity decides the call"))
		return
	}
	var rows [][]terminal.Cell
	row := func(ok bool, what, want, note string) {
		rows = append(rows, []terminal.Cell{terminal.Mark(ok), terminal.Plain(what), terminal.Plain(want), terminal.Dim(note)})
	}
	known := p.record.Caller != nil
	switch {
	case a.Section == permission.InPermission && a.Holds:
		for _, way := range a.Grants {
			row(true, "permission", a.Permission, "by "+terminal.Quiet(way))
		}
	case a.Section == permission.InPermission:
		row(false, "permission", a.Permission, p.unsure(known, "not granted"))
	case a.Section == permission.InAuthenticated:
		row(known, "credential", "any that is valid", "")
	}
	for _, c := range a.Checks {
		if c.Name == "when" && a.Condition != "" {
			rows = append(rows, []terminal.Cell{{Text: "?", Paint: "33"}, terminal.Plain("when"), terminal.Plain(c.Want), terminal.Dim("reads what is not on record")})
			continue
		}
		note := ""
		if c.Err != nil && c.Name == "when" {
			note = "is false"
		}
		row(c.Err == nil, c.Name, c.Want, note)
	}
	p.Rows("    ", rows)
}

// unsure says of what is not granted that the record may not hold it.
func (p printer) unsure(known bool, text string) string {
	if known && p.record.Caller.Cut {
		return text + " by what is on record, which is not all"
	}
	return text
}

func (p printer) enough() {
	r := &p.record.Record
	switch {
	case r.Decision != "deny":
	case beforeTheTable[r.Reason] != "":
		p.Printf("\nEnough would have been:\n  %s\n", beforeTheTable[r.Reason])
	case (p.answer == nil || p.answer.Elsewhere) && r.Expected != "":
		p.Printf("\nNeeded was:\n  %s\n", terminal.Quiet(r.Expected))
	case p.answer == nil || !p.byTable() || !p.agrees():
	case len(p.answer.Enough) == 0 && len(p.answer.Perhaps) == 0:
		p.Printf("\nNothing was found that this caller could have brought: see the cause.\n")
	default:
		p.ways(p.title(), p.answer.Enough)
		p.ways("Perhaps enough, if a condition holds that reads what is not on record", p.answer.Perhaps)
	}
}

// title says of ways that they are those of another table, where that is so.
func (p printer) title() string {
	if p.doubt != "" {
		return "By this table, enough would have been"
	}
	return "Enough would have been"
}

func (p printer) ways(title string, ways []why.Way) {
	if len(ways) == 0 {
		return
	}
	p.Printf("\n%s:\n", title)
	for _, text := range inText(ways, p.record.Caller == nil) {
		p.Printf("  %s\n", text)
	}
}

func (p printer) notes() {
	var notes []string
	add := func(when bool, text string) {
		if when {
			notes = append(notes, text)
		}
	}
	r := &p.record.Record
	add(p.doubt != "", p.doubt)
	add(p.untold != "", "the table was not asked: "+p.untold)
	add(p.answer != nil && p.answer.Elsewhere, "the refusal on record is not that of this table: what is around the table, such as scopes_required, made it, or another table")
	add(p.answer != nil && p.byTable() && !p.agrees(), "by this table the call is decided otherwise than is on record; what is on record was decided")
	add(p.record.logged, "this is a line of the log, which holds no roles, scopes and permissions of a caller, and no version of the table")
	add(r.Caller != nil && r.Caller.Limited && r.Decision == "deny", "the credential counts only as far as the permissions of its owner, who would have needed the same")
	add(r.Caller == nil && p.answer != nil && len(p.answer.Enough) > 0, "what a configuration asks of every credential, such as scopes_required, comes on top")
	add(len(p.found) > 1, fmt.Sprintf("the request has %d records, of which the last one counts; the one before says %s, %s", len(p.found), p.before().Decision, cmp.Or(p.before().Reason, "no reason")))
	for i, note := range notes {
		notes[i] = terminal.Quiet(note)
	}
	p.Notes(notes)
}

// before is the record before the one that counts.
func (x *explanation) before() *audit.Record {
	if len(x.found) < 2 {
		return &audit.Record{}
	}
	return &x.found[len(x.found)-2].Record
}

// inText words ways. Those that differ by the grant alone stand together.
func inText(ways []why.Way, nobody bool) (texts []string) {
	for len(ways) > 0 {
		first := rest(&ways[0])
		n := 1
		for n < len(ways) && rest(&ways[n]) == first && ways[n].Activity.Place == ways[0].Activity.Place {
			n++
		}
		if text := together(ways[:n], first, nobody); !slices.Contains(texts, text) {
			texts = append(texts, text)
		}
		ways = ways[n:]
	}
	return texts
}

func together(ways []why.Way, rest string, nobody bool) string {
	var grants []string
	for _, one := range []struct {
		name string
		of   func(*why.Way) string
	}{{"role", func(w *why.Way) string { return w.Role }}, {"scope", func(w *why.Way) string { return w.Scope }}, {"permission", func(w *why.Way) string { return w.Permission }}} {
		var names []string
		for i := range ways {
			if name := one.of(&ways[i]); name != "" {
				names = append(names, name)
			}
		}
		if len(names) > 0 {
			grants = append(grants, "the "+one.name+" "+terminal.Listing(names, "or"))
		}
	}
	parts := strings.Join(grants, ", or ")
	switch {
	case nobody && ways[0].Credential && parts != "":
		parts = "a valid credential with " + parts
	case nobody && ways[0].Credential && rest == "":
		parts = "any valid credential"
	case nobody && ways[0].Credential:
		parts = "a valid credential"
	}
	return strings.TrimPrefix(strings.TrimSuffix(parts+"; and "+rest, "; and "), "; and ")
}

// rest words what a way needs beside a grant.
func rest(w *why.Way) string {
	var parts []string
	add := func(when bool, text string) {
		if when {
			parts = append(parts, text)
		}
	}
	add(w.Kind != "", "a credential of the kind "+string(w.Kind))
	add(len(w.Scopes) == 1, "the scope "+strings.Join(w.Scopes, ""))
	add(len(w.Scopes) > 1, "the scopes "+terminal.Listing(w.Scopes, "and"))
	add(w.AAL != "", "assurance level "+w.AAL)
	add(w.MaxAge > 0, "a sign-in no older than "+w.MaxAge.String())
	add(w.Proof != "", "the key of the credential, proven by "+string(w.Proof))
	add(w.Condition != "", "the condition "+w.Condition)
	return strings.Join(parts, " and ")
}

// --- for programs

type explanationJSON struct {
	Record     *audit.Record  `json:"record"`
	Records    int            `json:"records"`
	Logged     bool           `json:"from_log,omitempty"`
	InWords    string         `json:"in_words"`
	Table      string         `json:"table,omitempty"`
	Doubt      string         `json:"table_doubt,omitempty"`
	Untold     string         `json:"not_asked,omitempty"`
	Verdict    why.Verdict    `json:"table_says,omitempty"`
	Activities []activityJSON `json:"activities"`
	Enough     []wayJSON      `json:"enough"`
	Perhaps    []wayJSON      `json:"perhaps_enough"`
}

type activityJSON struct {
	tables.ActivityJSON
	Decides   bool     `json:"decides"`
	Allows    bool     `json:"allows"`
	Holds     bool     `json:"holds"`
	Grants    []string `json:"grants,omitempty"`
	Condition string   `json:"open_condition,omitempty"`
}

type wayJSON struct {
	Activity   string     `json:"activity"`
	Credential bool       `json:"credential,omitempty"`
	Kind       core.Kind  `json:"kind,omitempty"`
	Role       string     `json:"role,omitempty"`
	Scope      string     `json:"scope,omitempty"`
	Permission string     `json:"permission,omitempty"`
	Scopes     []string   `json:"scopes,omitempty"`
	AAL        string     `json:"aal,omitempty"`
	MaxAge     string     `json:"max_age,omitempty"`
	Proof      core.Proof `json:"proof,omitempty"`
	Condition  string     `json:"condition,omitempty"`
}

func (x *explanation) forJSON() explanationJSON {
	out := explanationJSON{
		Record: &x.record.Record, Records: len(x.found), Logged: x.record.logged, InWords: inWords[x.record.Reason],
		Table: x.table, Doubt: x.doubt, Untold: x.untold, Activities: []activityJSON{}, Enough: []wayJSON{}, Perhaps: []wayJSON{},
	}
	if x.answer == nil {
		return out
	}
	out.Verdict = x.answer.Verdict
	for i := range x.answer.Activities {
		a := &x.answer.Activities[i]
		out.Activities = append(out.Activities, activityJSON{tables.ActivityForJSON(&a.OwnedActivity), a.Decides, a.Allows, a.Holds, a.Grants, a.Condition})
	}
	if x.record.Decision == "deny" && x.byTable() && x.agrees() {
		out.Enough, out.Perhaps = waysForJSON(x.answer.Enough), waysForJSON(x.answer.Perhaps)
	}
	return out
}

func waysForJSON(ways []why.Way) []wayJSON {
	out := []wayJSON{}
	for i := range ways {
		w := &ways[i]
		age := ""
		if w.MaxAge > 0 {
			age = w.MaxAge.Round(time.Second).String()
		}
		out = append(out, wayJSON{w.Activity.Owner() + ": " + w.Activity.String(), w.Credential, w.Kind, w.Role, w.Scope, w.Permission, w.Scopes, w.AAL, age, w.Proof, w.Condition})
	}
	return out
}
