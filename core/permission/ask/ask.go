package ask

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"gatehouse/core"
	"gatehouse/core/authzen"
	"gatehouse/core/permission/condition"
	"gatehouse/core/permission/pattern"
	"gatehouse/core/permission/report"
)

// Bounds of what an activity asks.
const (
	// MaxAsks is how many questions an activity may have.
	MaxAsks = 8
	// MaxText is the greatest length of a text in bytes, its placeholders as they are
	// written.
	MaxText = 1024
	// MaxMembers is how many members an object or a list may have, and maxDepth how deep
	// they nest.
	MaxMembers = 50
	maxDepth   = 5
	// maxQuestion is the greatest length of a question in bytes.
	maxQuestion = 16 << 10
)

// Ask is what an activity asks, compiled. It is immutable and safe for concurrent use.
type Ask struct {
	key, text         string // as it is written
	path              *pattern.Path
	subject, resource entity
	action            action
	context           map[string]property
	groups            *regexp.Regexp // nil where no named group of the path is read
	asksOfCaller      bool
}

type entity struct {
	kind, id   template // nil: that of the principal
	properties map[string]property
}

type action struct {
	name       template
	properties map[string]property
}

// property makes a value.
type property func(*values) (any, error)

// compiler reads what is written.
type compiler struct {
	path                   *pattern.Path
	readsClaims, readsPath bool
	problems               []string
}

func (c *compiler) refuse(format string, args ...any) {
	c.problems = append(c.problems, fmt.Sprintf(format, args...))
}

// Compile reads a question as it is written in a table, for the path that goes with it.
// Texts hold placeholders. A subject without type and id is the principal.
func Compile(written authzen.Evaluation, path *pattern.Path) (*Ask, []string) {
	c := &compiler{path: path}
	a := &Ask{key: Key(written), text: Describe(written), path: path}
	a.subject = c.entity("subject", written.Subject, true)
	a.action = action{c.text("action.name", written.Action.Name), c.properties("action.properties", written.Action.Properties, 1)}
	a.resource = c.entity("resource", written.Resource, false)
	a.context = c.properties("context", written.Context, 1)
	if len(c.problems) > 0 {
		return nil, c.problems
	}
	a.asksOfCaller = c.readsClaims || a.subject.id == nil
	if c.readsPath {
		var err error
		if a.groups, err = path.Compile(); err != nil {
			return nil, []string{"needs the groups of the path, and the path " + err.Error()}
		}
	}
	return a, nil
}

func (c *compiler) entity(at string, written authzen.Entity, principal bool) (e entity) {
	if written.Type != "" || !principal {
		e.kind = c.text(at+".type", written.Type)
	}
	if written.ID != "" || !principal {
		e.id = c.text(at+".id", written.ID)
	}
	e.properties = c.properties(at+".properties", written.Properties, 1)
	return e
}

func (c *compiler) text(at, written string) template {
	switch {
	case written == "":
		c.refuse("%s is missing; write a text, which may hold placeholders such as {path.id}", at)
		return nil
	case len(written) > MaxText:
		c.refuse("%s is longer than %d bytes", at, MaxText)
		return nil
	}
	t, err := c.parse(written)
	if err != nil {
		c.refuse("%s %v", at, err)
	}
	return t
}

func (c *compiler) properties(at string, written map[string]any, depth int) map[string]property {
	if len(written) > MaxMembers {
		c.refuse("%s has %d members, %d at most", at, len(written), MaxMembers)
		return nil
	}
	made := make(map[string]property, len(written))
	for _, name := range slices.Sorted(maps.Keys(written)) {
		made[name] = c.property(at+"."+name, written[name], depth)
	}
	return made
}

func (c *compiler) property(at string, written any, depth int) property {
	if depth > maxDepth {
		c.refuse("%s nests deeper than %d", at, maxDepth)
		return nil
	}
	switch w := written.(type) {
	case string:
		if w == "" {
			return constant("")
		}
		return c.text(at, w).property
	case bool, json.Number:
		return constant(w)
	case []any:
		return c.list(at, w, depth)
	case map[string]any:
		members := c.properties(at, w, depth+1)
		return func(v *values) (any, error) { return fill(members, v) }
	}
	c.refuse("%s is neither a text, a number, true, false, a list nor a mapping", at)
	return nil
}

func (c *compiler) list(at string, written []any, depth int) property {
	if len(written) > MaxMembers {
		c.refuse("%s has %d members, %d at most", at, len(written), MaxMembers)
		return nil
	}
	members := make([]property, len(written))
	for i := range written {
		members[i] = c.property(fmt.Sprintf("%s[%d]", at, i), written[i], depth+1)
	}
	return func(v *values) (any, error) {
		list := make([]any, len(members))
		for i := range members {
			var err error
			if list[i], err = members[i](v); err != nil {
				return nil, err
			}
		}
		return list, nil
	}
}

func constant(value any) property { return func(*values) (any, error) { return value, nil } }

func fill(members map[string]property, v *values) (map[string]any, error) {
	if len(members) == 0 {
		return nil, nil
	}
	filled := make(map[string]any, len(members))
	for name, member := range members {
		var err error
		if filled[name], err = member(v); err != nil {
			return nil, err
		}
	}
	return filled, nil
}

// Key is equal for questions that are written alike.
func Key(written authzen.Evaluation) string {
	text, err := json.Marshal(written)
	if err != nil { // what cannot be written is equal to nothing
		return fmt.Sprintf("%p", &written)
	}
	return string(text)
}

// Describe writes a question in a few words, without properties and context.
func Describe(q authzen.Evaluation) string {
	text := q.Action.Name + " " + q.Resource.Type + ":" + q.Resource.ID
	if q.Subject.Type+q.Subject.ID != "" {
		text += " as " + cmp.Or(q.Subject.Type, "user") + ":" + cmp.Or(q.Subject.ID, "the caller")
	}
	return text
}

// Key is that of the question as it is written.
func (a *Ask) Key() string { return a.key }

// Path is what the question was compiled for.
func (a *Ask) Path() *pattern.Path { return a.path }

// ReadsPath reports whether a question, by its key, may read named groups of the path, so
// that its meaning depends on the path regex, too.
func ReadsPath(key string) bool { return strings.Contains(key, "{path.") }

// AsksOfCaller reports whether the question needs something of the caller, so that it
// cannot be asked about one without a credential.
func (a *Ask) AsksOfCaller() bool { return a.asksOfCaller }

// Question is what is asked about a call of a principal. Where it cannot be asked, because
// a value is absent or of another type, the call is denied.
func (a *Ask) Question(call *core.Call, p *core.Principal) (authzen.Evaluation, error) {
	q, err := a.fill(&values{call: call, p: p})
	if err == nil {
		err = checkLength(&q)
	}
	if err != nil {
		return authzen.Evaluation{}, fmt.Errorf("%w: the question %s cannot be asked: %w", core.ErrForbidden, report.Quote(a.text), err)
	}
	return q, nil
}

func checkLength(q *authzen.Evaluation) error {
	text, err := q.Encode()
	if err == nil && len(text) > maxQuestion {
		err = fmt.Errorf("it has %d bytes, %d at most", len(text), maxQuestion)
	}
	return err
}

func (a *Ask) fill(v *values) (q authzen.Evaluation, err error) {
	if a.groups != nil {
		v.groups = condition.ReadGroups(v.call.Path, a.groups)
	}
	if q.Subject, err = a.subject.fill(v); err != nil {
		return q, err
	}
	if q.Action.Name, err = a.action.name.text(v); err != nil {
		return q, err
	}
	if q.Action.Properties, err = fill(a.action.properties, v); err != nil {
		return q, err
	}
	if q.Resource, err = a.resource.fill(v); err != nil {
		return q, err
	}
	q.Context, err = fill(a.context, v)
	return q, err
}

func (e *entity) fill(v *values) (filled authzen.Entity, err error) {
	kind, id := principal(v.p)
	if filled = (authzen.Entity{Type: kind, ID: id}); e.kind != nil {
		if filled.Type, err = e.kind.text(v); err != nil {
			return filled, err
		}
	}
	if e.id != nil {
		if filled.ID, err = e.id.text(v); err != nil {
			return filled, err
		}
	}
	filled.Properties, err = fill(e.properties, v)
	return filled, err
}

// principal is the type and the id of a caller: a user, or a client that calls for itself.
func principal(p *core.Principal) (kind, id string) {
	if p.Subject == "" {
		return "client", p.ClientID
	}
	return "user", p.Subject
}
