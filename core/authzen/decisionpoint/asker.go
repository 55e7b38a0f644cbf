package decisionpoint

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	"gatehouse/core"
)

// Asker is one who is answered. Everything that is set must hold.
type Asker struct {
	// Issuer is exactly that of the credential, so that a name counts of one issuer only.
	Issuer            string
	Subject, ClientID string
	// Permission is one that the asker holds by the policy.
	Permission string
	// MayState is what is believed of what the asker says of a subject.
	MayState Statements
}

// Statements are what an asker may say of a subject and of its credential. What it may not
// say counts as not said.
type Statements struct {
	Roles, Permissions, Scopes bool
	// Claims are all other properties of a subject.
	Claims bool
	// ClientID is the client through which the subject calls.
	ClientID bool
	// Authentication is the assurance level and the time of the sign-in.
	Authentication bool
	// Proof is a proof of possession, and Peer the address of the client.
	Proof, Peer bool
}

func (s Statements) with(o Statements) Statements {
	return Statements{
		s.Roles || o.Roles, s.Permissions || o.Permissions, s.Scopes || o.Scopes, s.Claims || o.Claims,
		s.ClientID || o.ClientID, s.Authentication || o.Authentication, s.Proof || o.Proof, s.Peer || o.Peer,
	}
}

// statements are what a caller may state; ok is false for one that is no asker.
func (p *Point) statements(caller *core.Principal) (may Statements, ok bool) {
	var held []string
	for _, a := range p.options.Askers {
		if a.Permission != "" && held == nil {
			held = p.options.Policy.Permissions(caller)
		}
		if a.is(caller, held) {
			may, ok = may.with(a.MayState), true
		}
	}
	return may, ok
}

// is reports whether a caller is the asker. One who acts for another is not: the other has
// lent the credential for something else.
func (a *Asker) is(caller *core.Principal, held []string) bool {
	if caller.Actor != nil || a.Subject == "" && a.ClientID == "" && a.Permission == "" {
		return false
	}
	if a.Permission != "" && !slices.Contains(held, a.Permission) {
		return false
	}
	if a.Subject == "" && a.ClientID == "" {
		return a.Issuer == "" || a.Issuer == caller.Issuer
	}
	return a.Issuer == caller.Issuer && (a.Subject == "" || a.Subject == caller.Subject) && (a.ClientID == "" || a.ClientID == caller.ClientID)
}

// door is the gate before the endpoints: the gate that serves them, with askers for a policy.
func (p *Point) door(o core.Options) (*core.Gate, error) {
	o.Endpoints, o.Policy, o.Identity, o.Answers, o.Login = nil, policy{p}, asked{}, nil, nil
	if o.Recorder != nil {
		o.Recorder = refusals{o.Recorder}
	}
	return core.New(o)
}

// refusals tells of those alone: what is answered is told of by the gate that serves it.
type refusals struct{ core.Recorder }

// End leaves out admissions.
func (r refusals) End(ctx context.Context, e core.Event) {
	if e.Decision.Outcome != core.Allow {
		r.Recorder.End(ctx, e)
	}
}

// policy lets askers in, whatever the path.
type policy struct{ *Point }

func (p policy) Match(context.Context, *core.Call) core.Access { return access(p) }

func (p policy) Permissions(who *core.Principal) []string { return p.options.Policy.Permissions(who) }

// access is the core.Access of the endpoints.
type access struct{ *Point }

var _ core.AnonymousAccess = access{}

func (access) Public() bool                                  { return false }
func (access) Scopes(*core.Call, *core.Principal) []string   { return nil }
func (access) Rule() string                                  { return "decision_point" }
func (access) IgnoresInvalid(call *core.Call, exp bool) bool { return false }

// Refusal and CheckBody are about calls of tools, which an endpoint is not.
func (access) Refusal() error                  { return nil }
func (access) CheckBody(*core.Call, int) error { return nil }

// Allows lets askers in.
func (a access) Allows(_ context.Context, _ *core.Call, p *core.Principal) error {
	if _, ok := a.statements(p); !ok {
		return fmt.Errorf("%w: none of decision_point.askers is this caller", core.ErrForbidden)
	}
	return nil
}

// AllowsAnonymous lets a client on this machine in, where that was chosen. A request that
// came through a proxy is from anywhere.
func (a access) AllowsAnonymous(_ context.Context, call *core.Call) error {
	connected, peer := call.Connected, call.PeerAddr()
	switch {
	case !a.options.InsecureAnonymous:
		return core.ErrMissing
	case !connected.IsValid():
		connected = peer
	case peer.IsValid(): // as a proxy tells it, which is who is connected
		return core.ErrMissing
	}
	if client := call.ClientAddr(); !connected.Unmap().IsLoopback() || client.IsValid() && !client.Unmap().IsLoopback() {
		return core.ErrMissing
	}
	for _, name := range []string{"Forwarded", "Via", "X-Forwarded-For", "X-Real-IP"} {
		if _, lines := call.Lookup(name); lines > 0 {
			return core.ErrMissing
		}
	}
	return nil
}

func isLoopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback()
}
