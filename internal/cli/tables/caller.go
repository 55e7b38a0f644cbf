package tables

import (
	"encoding/json"
	"slices"
	"strings"
	"time"

	"gatehouse/core"
	"gatehouse/core/permission/passing"
	"gatehouse/internal/offline"
)

// CallText writes the call of a witness, with what else the request says.
func CallText(w *passing.Witness) string {
	text := w.Method + " " + w.Target()
	if w.Host != "" {
		text += " on " + w.Host
	}
	for _, h := range w.Header {
		text += ", " + h.Name + ": " + h.Value
	}
	if w.Peer.IsValid() {
		text += ", from " + w.Peer.String()
	}
	return text
}

// CallerText writes the caller of a witness; nil is one without a credential.
func CallerText(p *core.Principal) string {
	if p == nil {
		return "anonymous"
	}
	parts := []string{string(p.Kind)}
	add := func(one string, names ...string) {
		for _, name := range names {
			if name != "" {
				parts = append(parts, one+" "+name)
			}
		}
	}
	add("sub", p.Subject)
	add("client", p.ClientID)
	add("issuer", p.Issuer)
	add("role", p.Roles...)
	add("scope", p.Scopes...)
	add("permission", p.Permissions...)
	if p.AAL != "" {
		parts = append(parts, p.AAL)
	}
	if !p.AuthenticatedAt.IsZero() {
		parts = append(parts, "signed in "+Age(p).String()+" ago")
	}
	if p.Proof != "" {
		parts = append(parts, "proof "+string(p.Proof))
	}
	if claims := offline.Describe(p, time.Now()).Claims; claims != nil {
		if text, err := json.Marshal(claims); err == nil {
			parts = append(parts, "claims "+string(text))
		}
	}
	return strings.Join(slices.Clip(parts), ", ")
}

// Age is how long ago a caller signed in, in steps that a slow machine does not change.
func Age(p *core.Principal) time.Duration {
	age := time.Since(p.AuthenticatedAt)
	if age > time.Minute {
		return age.Truncate(5 * time.Second)
	}
	return age.Truncate(500 * time.Millisecond)
}

// --- for programs

// WhoJSON is the caller of a witness.
type WhoJSON struct {
	Anonymous   bool           `json:"anonymous,omitempty"`
	Kind        string         `json:"kind,omitempty"`
	Subject     string         `json:"sub,omitempty"`
	ClientID    string         `json:"client_id,omitempty"`
	Issuer      string         `json:"issuer,omitempty"`
	Roles       []string       `json:"roles,omitempty"`
	Scopes      []string       `json:"scopes,omitempty"`
	Permissions []string       `json:"permissions,omitempty"`
	AAL         string         `json:"aal,omitempty"`
	Proof       string         `json:"proof,omitempty"`
	Claims      map[string]any `json:"claims,omitempty"`
}

// WhoForJSON writes the caller of a witness; nil is one without a credential.
func WhoForJSON(p *core.Principal) *WhoJSON {
	if p == nil {
		return &WhoJSON{Anonymous: true}
	}
	return &WhoJSON{
		Kind: string(p.Kind), Subject: p.Subject, ClientID: p.ClientID, Issuer: p.Issuer, Roles: p.Roles, Scopes: p.Scopes,
		Permissions: p.Permissions, AAL: p.AAL, Proof: string(p.Proof), Claims: offline.Describe(p, time.Now()).Claims,
	}
}
