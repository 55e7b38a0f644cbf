// Package account is by what a policy has decided a call, for whoever records decisions.
package account

import "gatehouse/core"

// Table names what a policy was made of: where it comes from, and what tells its content
// from any other.
type Table struct{ Source, Version string }

// Versioned is a policy that says which version of it is in force.
type Versioned interface {
	core.Policy
	InForce() Table
}

// Account is by what a policy has decided a call.
type Account struct {
	Table Table
	// Permission is the one that let the caller make the call, or one that would have;
	// empty where none is needed. Grant is by what the caller holds it.
	Permission, Grant string
}

// Accountable is an access that says, after the decision, by what it was made. The
// principal is nil for a caller of whom nothing is known.
type Accountable interface {
	core.Access
	Account(call *core.Call, p *core.Principal) Account
}
