package condition

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"cel.dev/cel-go/common/types"

	"gatehouse/core"
	"gatehouse/core/httpsyntax"
	"gatehouse/core/permission/pattern"
	"gatehouse/core/permission/report"
)

// Holds evaluates the condition for one call. It returns nil when the condition
// is true. Anything but a clean "true"
// denies: false, a value that is absent, repeated or of another type, and a
// run over the cost limit. The error is for the log and repeats no value of
// the request.
func (c *Condition) Holds(call *core.Call, p *core.Principal) error {
	values, absent, err := c.values(call, p)
	if err != nil {
		return fmt.Errorf("%w: condition %s: %w", core.ErrForbidden, report.Quote(c.text), err)
	}
	result, _, err := c.program.Eval(values)
	switch {
	case err == nil && result == types.True:
		return nil
	case err == nil:
		return fmt.Errorf("%w: condition %s is false", core.ErrForbidden, report.Quote(c.text))
	case len(absent) > 0:
		return fmt.Errorf("%w: condition %s cannot be decided: the request has no %s", core.ErrForbidden, report.Quote(c.text), strings.Join(absent, ", "))
	}
	return fmt.Errorf("%w: condition %s cannot be decided: a value has another type than it needs, or the cost limit of %d is reached",
		core.ErrForbidden, report.Quote(c.text), maxCost)
}

// RuledOut reports whether the condition holds for no caller who makes the call.
// It may say false where only a caller's claims could tell.
func (c *Condition) RuledOut(call *core.Call) bool {
	values, _, err := c.values(call, &core.Principal{})
	if err != nil {
		return true
	}
	// Without a value, what reads claims is an error, and an error counts only
	// where the rest does not decide.
	delete(values, claimsVar)
	delete(values, rawVar)
	result, _, err := c.program.Eval(values)
	if c.reads[claimsVar] != nil || c.reads[rawVar] != nil {
		return err == nil && result != types.True
	}
	return err != nil || result != types.True
}

// values gathers what the condition reads, and only that. Names that the
// request lacks are left out, so that reading one is an error.
func (c *Condition) values(call *core.Call, p *core.Principal) (values map[string]any, absent []string, err error) {
	values = map[string]any{methodVar: call.Method}
	for _, variable := range variables {
		names, reads := c.reads[variable]
		if !reads {
			continue
		}
		var found map[string]any
		switch variable {
		case claimsVar:
			found = readClaims(p, names)
		case rawVar:
			found = readRaw(p, names)
		case headersVar:
			found, err = ReadHeaders(call.Request, names)
		case queryVar:
			found, err = ReadQuery(call.Query(), names)
		case pathVar:
			found = ReadGroups(call.Path, c.groups)
		case peerVar, hostVar:
			if text := ReadText(call, variable); text != "" {
				values[variable] = text
				continue
			}
		}
		if err != nil {
			return nil, nil, err
		}
		if found != nil {
			values[variable] = found
		}
		for _, name := range names {
			if _, ok := found[name]; !ok {
				absent = append(absent, readAs(variable, name))
			}
		}
	}
	slices.Sort(absent)
	return values, absent, nil
}

// ReadText returns the method, the host or the peer of a call by the name of the variable;
// empty: it is not known.
func ReadText(call *core.Call, variable string) string {
	switch variable {
	case methodVar:
		return call.Method
	case peerVar:
		if peer := call.PeerAddr(); peer.IsValid() {
			return peer.Unmap().WithZone("").String()
		}
	case hostVar:
		if host, ok := pattern.AppendHost(nil, call.Host); ok {
			return string(host)
		}
	}
	return ""
}

func readAs(variable, name string) string {
	if variable == name {
		return name
	}
	return variable + "['" + name + "']"
}

// readClaims returns claims by name: the principal's own fields first, which
// mean the same whatever the credential was, and then the raw claims. A claim
// that is null is absent.
func readClaims(p *core.Principal, names []string) map[string]any {
	found := make(map[string]any, len(names))
	for _, name := range names {
		value, own := p.Field(name)
		if !own {
			value = celValue(p.Claims[name])
		}
		if value != nil {
			found[name] = value
		}
	}
	return found
}

// readRaw returns claims by name as the credential states them, whatever the
// configuration reads out of them.
func readRaw(p *core.Principal, names []string) map[string]any {
	found := make(map[string]any, len(names))
	for _, name := range names {
		if value := celValue(p.Claims[name]); value != nil {
			found[name] = value
		}
	}
	return found
}

// celValue turns decoded JSON into what CEL compares. Members that are null
// are left out: absent must fail, and null == null would pass. So is a number
// that cannot be held exactly.
func celValue(v any) any {
	switch v := v.(type) {
	case json.Number:
		return number(v)
	case float64:
		if whole := math.Trunc(v); whole == v && math.Abs(v) < 1<<53 {
			return int64(v)
		}
		return v
	case map[string]any:
		object := make(map[string]any, len(v))
		for name, member := range v {
			if member = celValue(member); member != nil {
				object[name] = member
			}
		}
		return object
	case []any:
		list := make([]any, 0, len(v))
		for _, item := range v {
			if item = celValue(item); item != nil {
				list = append(list, item)
			}
		}
		return list
	}
	return v
}

func number(n json.Number) any {
	if i, err := strconv.ParseInt(n.String(), 10, 64); err == nil {
		return i
	}
	f, err := strconv.ParseFloat(n.String(), 64)
	if err != nil || math.Trunc(f) == f && math.Abs(f) >= 1<<53 {
		return nil
	}
	return f
}

// ReadHeaders returns headers by their lower-case name. A header that is
// there twice, or in a spelling that an upstream may fold into the same name
// (X_Tenant for X-Tenant), has no one value: the call is refused.
func ReadHeaders(r *core.Request, names []string) (map[string]any, error) {
	found := make(map[string]any, len(names))
	for i := range r.Header {
		for _, name := range names {
			if !httpsyntax.FoldEqual(r.Header[i].Name, name) {
				continue
			}
			if _, repeated := found[name]; repeated || !strings.EqualFold(r.Header[i].Name, name) {
				return nil, fmt.Errorf("the header %s is repeated or spelt in two ways", name)
			}
			found[name] = r.Header[i].Value
		}
	}
	return found, nil
}

// ReadQuery returns query parameters by name. Where frameworks read a query
// differently (";" as a separator, broken percent-encoding, repeats, other
// case, name[], and tenant.id, which is tenant_id to PHP), there is no one value
// and the call is refused.
func ReadQuery(query string, names []string) (map[string]any, error) {
	found := make(map[string]any, len(names))
	if strings.Contains(query, ";") {
		return nil, fmt.Errorf("the query holds a semicolon, which separates parameters for some upstreams")
	}
	for pair := range strings.SplitSeq(query, "&") {
		key, value, _ := strings.Cut(pair, "=")
		key, keyErr := url.QueryUnescape(key)
		value, valueErr := url.QueryUnescape(value)
		if keyErr != nil || valueErr != nil {
			return nil, fmt.Errorf("the query holds a broken percent-encoding")
		}
		for _, name := range names {
			if !readsAs(key, name) {
				continue
			}
			if _, repeated := found[name]; repeated || key != name {
				return nil, fmt.Errorf("the query parameter %s is repeated or spelt in two ways", name)
			}
			found[name] = value
		}
	}
	return found, nil
}

// readsAs reports whether some framework reads a query parameter as name. PHP
// drops spaces in front and all from a NUL on, and takes "." and more for "_".
func readsAs(key, name string) bool {
	key, _, _ = strings.Cut(strings.TrimLeft(key, " "), "\x00")
	base, _, _ := strings.Cut(key, "[")
	return strings.EqualFold(base, name) || httpsyntax.FoldEqual(base, name) || httpsyntax.FoldEqual(key, name)
}

// Value is something that a condition reads from a request.
type Value struct {
	// Name is how the condition reads it, such as claims['sub'].
	Name    string
	Value   any
	Present bool
}

// Reads lists what the condition reads of a call, by name. The principal is nil
// for a caller without a credential.
func (c *Condition) Reads(call *core.Call, p *core.Principal) []Value {
	if p == nil {
		p = &core.Principal{}
	}
	// An error concerns single names; those are then shown as absent.
	values, _, _ := c.values(call, p)
	var read []Value
	for variable, names := range c.reads {
		for _, name := range names {
			v := Value{Name: readAs(variable, name)}
			if variable == name {
				v.Value, v.Present = values[variable]
			} else if found, ok := values[variable].(map[string]any); ok {
				v.Value, v.Present = found[name]
			}
			read = append(read, v)
		}
	}
	slices.SortFunc(read, func(a, b Value) int { return cmp.Compare(a.Name, b.Name) })
	return read
}

// ReadGroups returns the named groups that took part in the match.
func ReadGroups(path string, re *regexp.Regexp) map[string]any {
	at := re.FindStringSubmatchIndex(path)
	if at == nil {
		return nil
	}
	found := map[string]any{}
	for i, name := range re.SubexpNames() {
		if name != "" && at[2*i] >= 0 {
			found[name] = path[at[2*i]:at[2*i+1]]
		}
	}
	return found
}
