package audit

import (
	"context"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"time"

	"gatehouse/core"
	"gatehouse/core/account"
)

// Bounds of what a client, or an identity provider, can write into one record.
const (
	// maxText is for a text, in bytes.
	maxText = 512
	// maxHeldNames is for each list of names, maxHeldName for one of them.
	maxHeldNames = 32
	maxHeldName  = 128
)

// Options are what a recorder needs.
type Options struct {
	// Admissions and Refusals are the share of decisions that are recorded, from 0 to 1. A
	// response of the gate itself counts as an admission, unless its status is an error.
	Admissions, Refusals float64
	// Redact are patterns of what is secret in paths: their groups, or all they match.
	Redact []*regexp.Regexp
	// Queues are where records go. None of them is waited for.
	Queues []*Queue
	// InForce is the version of the policy, for calls that no activity covers; nil: it is
	// not known.
	InForce func() account.Table
	// Now is the clock.
	Now func() time.Time
}

// Recorder writes a record of every decision.
type Recorder struct{ options Options }

var _ core.Recorder = (*Recorder)(nil)

// New makes a recorder.
func New(o Options) *Recorder { return &Recorder{o} }

// Begin does nothing: a record is about the end.
func (*Recorder) Begin(ctx context.Context, _ *core.Request) context.Context { return ctx }

// End hands a record over to every queue.
func (r *Recorder) End(_ context.Context, e core.Event) {
	rate := r.options.Admissions
	if isRefusal(e.Decision) {
		rate = r.options.Refusals
	}
	if rate < 1 && rand.Float64() >= rate {
		return
	}
	record := r.record(e)
	if rate < 1 {
		record.SamplingRate = rate
	}
	line := record.Append(make([]byte, 0, usualSize))
	for _, q := range r.options.Queues {
		q.Add(line)
	}
}

// usualSize is what most records fit in, in bytes.
const usualSize = 768

// isRefusal reports whether a decision is one, or the gate itself responded with an error.
func isRefusal(d *core.Decision) bool {
	return d.Outcome == core.Deny || d.Outcome == core.Respond && d.Status >= 400
}

// record is what a decision is on record for. Strings are shared with the request: they
// are written at once.
func (r *Recorder) record(e core.Event) Record {
	d := e.Decision
	record := Record{
		Time: r.options.Now().UTC(), RequestID: e.Request.Identify(),
		Decision: d.Outcome.String(), Reason: d.Reason, Status: d.Status,
		Method: bounded(e.Request.Method), Host: bounded(e.Request.Host),
		Path: bounded(redact(PathOf(e), r.options.Redact)), Query: queryNames(e.Request.Query()),
		MCP: r.mcp(e.Request), Gateway: e.Request.Gateway, Route: bounded(e.Request.Route), ClientIP: knownClient(e.Request),
		Rule: bounded(d.Rule), TookMS: float64(e.Duration.Microseconds()) / 1000,
	}
	if d.Outcome == core.Allow {
		record.Status = 0
	}
	var version account.Table
	if by, ok := AccountOf(e); ok {
		record.Permission, record.Grant, version = by.Permission, bounded(by.Grant), by.Table
	} else if r.options.InForce != nil {
		version = r.options.InForce()
	}
	if version != (account.Table{}) {
		record.Table = &Table{bounded(version.Source), bounded(version.Version)}
	}
	if d.Cause != nil {
		record.Cause = bounded(d.Cause.Error())
	}
	if d.Outcome == core.Deny {
		expected, got := Expected(d.Cause, record.Permission, d.Principal)
		record.Expected, record.Got = bounded(expected), bounded(got)
	}
	if d.Principal != nil {
		record.Caller = callerOf(d.Principal)
	}
	return record
}

// mcp is the call of the Model Context Protocol that a request is; nil for any other.
func (r *Recorder) mcp(of *core.Request) *MCP {
	if of.MCP.Method == "" {
		return nil
	}
	return &MCP{bounded(of.MCP.Method), bounded(redact(NameOf(of.MCP), r.options.Redact))}
}

// AccountOf is by what the policy decided. It survives a policy that fails: a record must
// not become a refusal.
func AccountOf(e core.Event) (by account.Account, ok bool) {
	if e.Call == nil {
		return by, false
	}
	access, ok := e.Call.Access.(account.Accountable)
	if !ok {
		return by, false
	}
	defer func() {
		if recover() != nil {
			by, ok = account.Account{}, false
		}
	}()
	return access.Account(e.Call, e.Decision.Principal), true
}

// knownClient is the address of the client, where the host knows it.
func knownClient(r *core.Request) string {
	switch {
	case r.Client.IsValid():
		return r.Client.String()
	case r.Peer.IsValid() && !r.ClientUnknown && r.AskClient == nil:
		return r.Peer.String()
	}
	return ""
}

func callerOf(p *core.Principal) *Caller {
	c := &Caller{
		Subject: bounded(p.Subject), Issuer: bounded(p.Issuer), ClientID: bounded(p.ClientID), Kind: string(p.Kind),
		ID: bounded(p.ID), Proof: string(p.Proof), AAL: bounded(p.AAL), Limited: p.Limit != nil,
	}
	if !p.AuthenticatedAt.IsZero() {
		c.AuthTime = p.AuthenticatedAt.Unix()
	}
	for _, list := range []struct {
		to   *[]string
		from []string
	}{{&c.Roles, p.Roles}, {&c.Scopes, p.Scopes}, {&c.Permissions, p.Permissions}} {
		var whole bool
		*list.to, whole = boundedNames(list.from)
		c.Cut = c.Cut || !whole
	}
	if p.Actor != nil {
		c.Actor = &Actor{bounded(p.Actor.Subject), bounded(p.Actor.Issuer), bounded(p.Actor.ClientID), before(p.Actor)}
	}
	return c
}

// before names who acted before an actor, the latest first.
func before(a *core.Actor) (ids []string) {
	for _, earlier := range a.Chain()[1:] {
		if len(ids) < maxHeldNames {
			ids = append(ids, bounded(earlier.String()))
		}
	}
	return ids
}

// boundedNames leaves out what there is no room for; a cut name would be another one.
func boundedNames(names []string) (kept []string, whole bool) {
	tooLong := func(name string) bool { return len(name) > maxHeldName }
	if len(names) <= maxHeldNames && !slices.ContainsFunc(names, tooLong) {
		return names, true
	}
	for _, name := range names {
		if !tooLong(name) && len(kept) < maxHeldNames {
			kept = append(kept, name)
		}
	}
	return kept, false
}

func bounded(text string) string {
	if len(text) > maxText {
		return strings.ToValidUTF8(text[:maxText], "") + "..."
	}
	return text
}
