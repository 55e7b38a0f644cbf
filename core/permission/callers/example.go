package callers

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"gatehouse/core"
	"gatehouse/core/permission/condition"
	"gatehouse/core/permission/formula"
)

// Example is a caller with what the request says beside its method, host and path.
type Example struct {
	// Principal is nil for a caller without a credential.
	Principal *core.Principal
	Header    []core.Header
	Query     string
	Peer      netip.Addr
}

// By is the example with another actor.
func (e *Example) By(a *core.Actor) *Example {
	by := *e
	by.Principal = delegated(e.Principal, a)
	return &by
}

// delegated is a principal for whom an actor acts, as the claims say, too.
func delegated(p *core.Principal, a *core.Actor) *core.Principal {
	by := *p
	by.Actor, by.Claims = a, map[string]any{"act": a.Claim()}
	for name, value := range p.Claims {
		if name != "act" {
			by.Claims[name] = value
		}
	}
	return &by
}

// validFor is how long the credentials of examples are valid.
const validFor = time.Hour

// NewExample makes the caller that a model describes; names are those of the formula.
func NewExample(m *formula.Model, names formula.Names, now time.Time) *Example {
	x := &maker{Model: m, names: names, now: now}
	x.named = map[string]bool{}
	for _, values := range names.Values {
		for _, v := range values {
			x.named[v.Text] = true
		}
	}
	e := &Example{}
	x.request(e)
	if x.Of(kind).Shape == formula.Plain {
		e.Principal = x.principal()
	}
	return e
}

type maker struct {
	*formula.Model
	names formula.Names
	named map[string]bool
	now   time.Time
}

// request fills in what headers, parameters and the peer must be.
func (x *maker) request(e *Example) {
	for _, t := range x.names.Terms {
		variable, name, _ := strings.Cut(t.Name, condition.Between)
		v := x.Of(t)
		repeat := 1
		if x.unreadable(variable, name) {
			repeat = 2
		}
		if v.Shape != formula.Plain && repeat == 1 {
			continue
		}
		for range repeat {
			switch variable {
			case condition.HeaderTerm:
				e.Header = append(e.Header, core.Header{Name: name, Value: x.text(v.Value)})
			case condition.QueryTerm:
				e.Query = strings.TrimPrefix(e.Query+"&"+url.QueryEscape(name)+"="+url.QueryEscape(x.text(v.Value)), "&")
			case condition.PeerTerm:
				e.Peer, _ = netip.ParseAddr(x.text(v.Value))
			}
		}
	}
}

func (x *maker) unreadable(variable, name string) bool {
	return (variable == condition.HeaderTerm || variable == condition.QueryTerm) && x.Fact("unreadable "+variable+condition.Between+name)
}

func (x *maker) principal() *core.Principal {
	p := &core.Principal{
		Kind: core.Kind(x.text(x.Of(kind).Value)), Subject: x.own(whose), ClientID: x.own(client), Issuer: x.own(condition.Claim("iss")), AAL: x.own(level),
		Expiry: x.now.Add(validFor), AuthenticatedAt: x.authenticated(), Claims: x.claims(),
	}
	if p.Subject == "" && p.ClientID == "" {
		p.Subject = x.other("caller")
	}
	for _, v := range x.Of(roles).Members {
		p.Roles = append(p.Roles, x.text(v))
	}
	if x.Of(roles).Shape == formula.List && p.Roles == nil {
		p.Roles = []string{x.other("role")}
	}
	p.Scopes = x.held(scopeFact)
	if of := x.Of(scope); of.Shape == formula.Plain && p.Scopes == nil {
		p.Scopes = strings.Fields(x.text(of.Value))
	}
	p.Permissions = x.held(permissionFact)
	for _, proof := range core.Proofs() {
		if x.Fact(proofFact + string(proof)) {
			p.Proof = proof
		}
	}
	if a := x.actor(); a != nil {
		p = delegated(p, a)
	}
	if x.Fact(limitedFact) {
		p.Limit = &core.Principal{Kind: p.Kind, Subject: p.Subject, Permissions: x.held(ownerFact)}
	}
	return p
}

// actor is who acts, as far as the claim act tells.
func (x *maker) actor() *core.Actor {
	if x.Of(act).Shape != formula.Map {
		return nil
	}
	member := func(name string) string { return x.own(formula.Term{Name: act.Name + condition.Between + name}) }
	a := &core.Actor{Subject: member("sub"), Issuer: member("iss"), ClientID: member("client_id")}
	if a.Subject == "" && a.ClientID == "" {
		a.Subject = x.other("agent")
	}
	if a.Issuer == "" {
		a.Issuer = "https://issuer.example"
	}
	return a
}

// held are the names of facts that hold.
func (x *maker) held(prefix string) (names []string) {
	for _, fact := range x.names.Facts {
		if name, ok := strings.CutPrefix(fact, prefix); ok && x.Fact(fact) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func (x *maker) own(t formula.Term) string {
	if v := x.Of(t); v.Shape == formula.Plain {
		return x.text(v.Value)
	}
	return ""
}

// authenticated is a time of the sign-in that is in all ages that hold, and in no other,
// far from each.
func (x *maker) authenticated() time.Time {
	age, longest := time.Duration(-1), time.Duration(0)
	for _, a := range agesOf(x.names.Facts) {
		if age < 0 && x.Fact(youngFact+a.String()) {
			age = (longest + a) / 2
		}
		longest = a
	}
	switch {
	case age >= 0:
		return x.now.Add(-age)
	case x.Of(signedIn).Shape == formula.Absent:
		return time.Time{}
	}
	return x.now.Add(-longest - time.Hour)
}

// claims are those that are no fields of the principal.
func (x *maker) claims() map[string]any {
	claims := map[string]any{}
	for _, t := range x.names.Terms {
		parts := strings.Split(t.Name, condition.Between)
		if len(parts) != 2 || x.Of(t).Shape == formula.Absent {
			continue
		}
		if parts[1] == "act" { // the actor is written by itself
			continue
		}
		_, field := (&core.Principal{}).Field(parts[1])
		if parts[0] == condition.RawTerm || parts[0] == condition.ClaimTerm && !field {
			claims[parts[1]] = x.value(t)
		}
	}
	if len(claims) == 0 {
		return nil
	}
	return claims
}

func (x *maker) value(t formula.Term) any {
	v := x.Of(t)
	switch v.Shape {
	case formula.List:
		list := []any{}
		for _, member := range v.Members {
			list = append(list, x.plain(member))
		}
		return list
	case formula.Map:
		object := map[string]any{}
		for _, key := range v.Members {
			part := formula.Term{Name: t.Name + condition.Between + x.text(key)}
			object[x.text(key)] = any("any")
			if x.Of(part).Shape != formula.Absent {
				object[x.text(key)] = x.value(part)
			}
		}
		return object
	}
	return x.plain(v.Value)
}

func (x *maker) plain(v formula.Value) any {
	switch v.Type {
	case formula.Number:
		return json.Number(v.Text)
	case formula.Truth:
		return v.Text == "true"
	}
	return x.text(v)
}

// text writes a value; one that the formula does not name gets a name here, fit for the
// terms that have it.
func (x *maker) text(v formula.Value) string {
	if v.Type != formula.Another {
		return v.Text
	}
	switch name := x.other("other-" + v.Text); {
	case x.is(condition.Peer, v):
		return fmt.Sprintf("2001:db8::%s", v.Text)
	case x.is(whose, v) && x.is(kind, text(string(core.KindSPIFFE))):
		return spiffeScheme + "other.example/" + name
	default:
		return name
	}
}

func (x *maker) is(t formula.Term, v formula.Value) bool {
	of := x.Of(t)
	return of.Shape == formula.Plain && of.Value == v
}

// other is a name that the formula does not name.
func (x *maker) other(name string) string {
	for x.named[name] {
		name += "x"
	}
	return name
}
