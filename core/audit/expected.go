package audit

import (
	"errors"
	"strings"
	"time"

	"gatehouse/core"
)

// Expected says of a refusal what the call needs and what came in its place, in the words
// of the table; both are empty where the cause says all there is. The permission is the one
// that the call needs, and may be empty.
func Expected(cause error, permission string, p *core.Principal) (expected, got string) {
	var (
		stepUp *core.StepUp
		proof  *core.NeedsProof
		scope  *core.InsufficientScope
	)
	switch {
	case cause == nil:
		return "", ""
	case errors.As(cause, &stepUp):
		return stepUpWanted(stepUp, p)
	case errors.As(cause, &proof):
		return proofWanted(proof)
	case errors.As(cause, &scope) && p != nil:
		return scopeWanted(scope, permission), held(p)
	case errors.Is(cause, core.ErrMissing):
		return "a credential", "none"
	}
	return "", ""
}

func stepUpWanted(wanted *core.StepUp, p *core.Principal) (expected, got string) {
	if p == nil {
		p = &core.Principal{}
	}
	var wants, has []string
	if wanted.AAL != "" {
		wants, has = append(wants, "assurance level "+wanted.AAL), append(has, "assurance level "+orNone(p.AAL))
	}
	if wanted.MaxAge > 0 {
		wants = append(wants, "a sign-in no older than "+wanted.MaxAge.String())
		at := "none that is known"
		if !p.AuthenticatedAt.IsZero() {
			at = "one of " + p.AuthenticatedAt.UTC().Format(time.RFC3339)
		}
		has = append(has, at)
	}
	return strings.Join(wants, " and "), strings.Join(has, " and ")
}

func proofWanted(wanted *core.NeedsProof) (expected, got string) {
	names := make([]string, len(wanted.Of))
	for i, proof := range wanted.Of {
		names[i] = string(proof)
	}
	return "proof " + strings.Join(names, " or "), "proof " + orNone(string(wanted.Has))
}

// scopeWanted is the permission that is not granted, or the scopes.
func scopeWanted(wanted *core.InsufficientScope, permission string) string {
	if permission != "" && wanted.Detail == "permission "+permission+" is not granted" {
		return "permission " + permission
	}
	return wanted.Detail
}

// maxHeld is how many names of each sort are said.
const maxHeld = 8

// held is what a caller has.
func held(p *core.Principal) string {
	var parts []string
	for _, sort := range []struct {
		name  string
		names []string
	}{{"roles", p.Roles}, {"scopes", p.Scopes}, {"permissions", p.Permissions}} {
		if len(sort.names) == 0 {
			continue
		}
		shown := strings.Join(sort.names[:min(len(sort.names), maxHeld)], ", ")
		if len(sort.names) > maxHeld {
			shown += " and more"
		}
		parts = append(parts, sort.name+" "+shown)
	}
	return orNone(strings.Join(parts, "; "))
}

func orNone(text string) string {
	if text == "" {
		return "none"
	}
	return text
}
