package manage

import (
	"time"

	"gatehouse/core/authn/apitoken"
)

// Listed is a token for programs. It holds neither token nor digest.
type Listed struct {
	ID             string    `json:"id"`
	Name           string    `json:"name"`
	State          string    `json:"state"`
	Subject        string    `json:"subject,omitempty"`
	Issuer         string    `json:"issuer,omitempty"`
	ServiceAccount string    `json:"service_account,omitempty"`
	Roles          []string  `json:"roles,omitempty"`
	Permissions    []string  `json:"permissions,omitempty"`
	Scopes         []string  `json:"scopes,omitempty"`
	Networks       []string  `json:"networks,omitempty"`
	Hosts          []string  `json:"hosts,omitempty"`
	Created        time.Time `json:"created"`
	CreatedBy      string    `json:"created_by,omitempty"`
	Expires        time.Time `json:"expires,omitzero"`
	Revoked        time.Time `json:"revoked,omitzero"`
	LastUsed       time.Time `json:"last_used,omitzero"`
}

// IsOf reports whether an owner is the one that is wanted; what is empty is any.
func IsOf(o, wanted apitoken.Owner) bool {
	return (wanted.Subject == "" || o.Subject == wanted.Subject) && (wanted.Issuer == "" || o.Issuer == wanted.Issuer) &&
		(wanted.ServiceAccount == "" || o.ServiceAccount == wanted.ServiceAccount)
}

// List is a token as it is listed.
func List(r *apitoken.Record, now time.Time) Listed {
	var networks []string
	for _, n := range r.Networks {
		networks = append(networks, n.String())
	}
	return Listed{
		ID: r.ID, Name: r.Name, State: state(r, now), Subject: r.Owner.Subject, Issuer: r.Owner.Issuer, ServiceAccount: r.Owner.ServiceAccount,
		Roles: r.Roles, Permissions: r.Permissions, Scopes: r.Scopes, Networks: networks, Hosts: r.Hosts,
		Created: r.Created.UTC(), CreatedBy: r.CreatedBy, Expires: r.Expires, Revoked: r.Revoked, LastUsed: r.LastUsed,
	}
}

func state(r *apitoken.Record, now time.Time) string {
	switch {
	case !r.Revoked.IsZero():
		return "revoked"
	case !r.Expires.IsZero() && !r.Expires.After(now):
		return "expired"
	}
	return "active"
}
