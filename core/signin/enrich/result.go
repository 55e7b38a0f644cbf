package enrich

import (
	"maps"

	"gatehouse/core"
	"gatehouse/core/upstreamtoken/mint"
)

// Result is what the service says of a person.
type Result struct {
	// Subject is the service's own name of the user, and Issuer whose name that is;
	// both are empty where the user keeps the name that the provider gives.
	Subject string `json:"sub,omitempty"`
	Issuer  string `json:"iss,omitempty"`
	// Roles and Permissions are in the place of those that the provider says; nil: the
	// service says nothing of them.
	Roles       []string `json:"rol,omitzero"`
	Permissions []string `json:"per,omitzero"`
	// Claims are beside those that the provider says, and count before them.
	Claims map[string]any `json:"clm,omitempty"`
}

// Original is the user of a principal as the identity provider names it, where the service
// names it otherwise: the provider's logout and revocations of it still find it.
func Original(p *core.Principal) (original core.Principal, ok bool) {
	original = *p
	original.Issuer, _ = p.Claims[mint.OriginalIssuerClaim].(string)
	original.Subject, _ = p.Claims[mint.OriginalSubjectClaim].(string)
	return original, original.Issuer != "" && original.Subject != ""
}

// Apply makes a principal that which the service says it is. The principal must not be
// in use yet; its claims are copied.
func (r Result) Apply(p *core.Principal) {
	set := maps.Clone(p.Claims)
	if set == nil {
		set = map[string]any{}
	}
	maps.Copy(set, r.Claims)
	if r.Subject != "" {
		set[mint.OriginalIssuerClaim], set[mint.OriginalSubjectClaim] = p.Issuer, p.Subject
		p.Issuer, p.Subject = r.Issuer, r.Subject
		set["iss"], set["sub"] = r.Issuer, r.Subject
	}
	if r.Roles != nil {
		p.Roles, set["roles"] = r.Roles, values(r.Roles)
	}
	if r.Permissions != nil {
		p.Permissions, set["permissions"] = r.Permissions, values(r.Permissions)
	}
	p.Claims = set
}

// values is a list as decoded JSON has it.
func values(texts []string) []any {
	list := make([]any, len(texts))
	for i, text := range texts {
		list[i] = text
	}
	return list
}

// of gives a subject the issuer whose name it is.
func (r Result) of(issuer string) Result {
	if r.Subject != "" {
		r.Issuer = issuer
	}
	return r
}

// principal is a result in the form in which it is kept.
func (r Result) principal() *core.Principal {
	return &core.Principal{Subject: r.Subject, Issuer: r.Issuer, Roles: r.Roles, Permissions: r.Permissions, Claims: r.Claims}
}

func resultOf(p *core.Principal) Result {
	return Result{Subject: p.Subject, Issuer: p.Issuer, Roles: p.Roles, Permissions: p.Permissions, Claims: p.Claims}
}
