package claims

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"unicode"

	"gatehouse/core"
	"gatehouse/core/claimpath"
)

// Paths say where a credential states what its holder may do. The first path
// of each list that is present counts; a value of the wrong shape there makes
// the credential invalid.
type Paths struct {
	// Scopes defaults to scope, then scp.
	Scopes []core.ClaimPath
	// Roles and Permissions default to the claim of that name, then to that
	// name inside ext, where Ory Hydra puts what the consent app granted. An
	// empty list that is not nil reads none.
	Roles       []core.ClaimPath
	Permissions []core.ClaimPath
	// RolesGuessed and PermissionsGuessed say that these paths are a guess, which
	// the issuer may use for something else: a value of another shape grants
	// nothing. The defaults are.
	RolesGuessed, PermissionsGuessed bool
}

// WithDefaults fills in what is nil.
func (p Paths) WithDefaults() Paths {
	p.RolesGuessed = p.RolesGuessed || p.Roles == nil
	p.PermissionsGuessed = p.PermissionsGuessed || p.Permissions == nil
	for _, d := range []struct {
		list *[]core.ClaimPath
		text []string
	}{
		{&p.Scopes, []string{"scope", "scp"}},
		{&p.Roles, []string{"roles", "ext.roles"}},
		{&p.Permissions, []string{"permissions", "ext.permissions"}},
	} {
		if *d.list == nil {
			*d.list = MustPaths(d.text...)
		}
	}
	return p
}

// MustPaths parses claim paths that are written in the program.
func MustPaths(texts ...string) []core.ClaimPath {
	paths := make([]core.ClaimPath, 0, len(texts))
	for _, text := range texts {
		path, err := core.ParseClaimPath(text)
		if err != nil {
			panic(err)
		}
		paths = append(paths, path)
	}
	return paths
}

// Principal fills in who the caller is and what the credential grants, which is of
// to.Issuer. A caller needs a subject, or a client that acts for itself.
func (s Set) Principal(paths Paths, to *core.Principal) error {
	if err := s.identify(to); err != nil {
		return err
	}
	to.Claims = s
	return paths.Grants(s, to)
}

func (s Set) identify(to *core.Principal) (err error) {
	if to.Subject, err = s.Text("sub"); err != nil {
		return err
	}
	if to.ClientID, err = s.client(); err != nil {
		return err
	}
	if to.Subject == "" && to.ClientID == "" {
		return errNobody
	}
	if to.Actor, err = s.Actor(to.Issuer); err != nil {
		return err
	}
	// A wrong shape leaves these empty, and then no check for a level or for
	// a recent authentication passes.
	if to.AAL, _ = s.Text("aal"); to.AAL == "" {
		to.AAL, _ = s.Text("acr")
	}
	to.AuthenticatedAt, _, _ = s.Time("auth_time")
	// Who revokes a credential names it by these.
	to.ID, to.SessionID = s.name("jti"), s.name("sid")
	if ext, ok := s["ext"].(map[string]any); ok && to.SessionID == "" {
		to.SessionID = Set(ext).name("sid") // where Ory Hydra puts what the consent app granted
	}
	to.IssuedAt, _, _ = s.Time("iat")
	return nil
}

// name is a text that names something. Some issuers count and write a number; any
// other shape names nothing.
func (s Set) name(claim string) string {
	switch v := s[claim].(type) {
	case string:
		return v
	case json.Number:
		return v.String()
	}
	return ""
}

// client returns client_id (RFC 9068, RFC 7662), else azp (OpenID Connect).
func (s Set) client() (string, error) {
	id, err := s.Text("client_id")
	if err != nil || id != "" {
		return id, err
	}
	return s.Text("azp")
}

// Grants fills in scopes, roles and permissions.
func (p Paths) Grants(s Set, to *core.Principal) (err error) {
	if to.Scopes, err = s.list(p.Scopes, scopes); err != nil {
		return err
	}
	if to.Roles, err = s.list(p.Roles, guessed(p.RolesGuessed, roles)); err != nil {
		return err
	}
	to.Permissions, err = s.list(p.Permissions, guessed(p.PermissionsGuessed, claimpath.Strings))
	return err
}

// guessed reads a value of another shape as an empty list.
func guessed(yes bool, read func(any) ([]string, error)) func(any) ([]string, error) {
	if !yes {
		return read
	}
	return func(value any) ([]string, error) {
		list, err := read(value)
		if err != nil {
			return nil, nil
		}
		return list, nil
	}
}

// scopes splits at spaces alone (RFC 6749 section 3.3) and refuses a scope with
// white space in it, which would be two wherever scopes are written in a row.
func scopes(value any) ([]string, error) {
	list, err := claimpath.Strings(value)
	if slices.ContainsFunc(list, func(s string) bool { return strings.ContainsFunc(s, unicode.IsSpace) }) {
		return nil, errors.New("a scope holds white space")
	}
	return list, err
}

// roles takes a single string for a single role: there are roles with a space
// in their name, and "Billing Admin" must not grant what Admin does.
func roles(value any) ([]string, error) {
	if role, ok := value.(string); ok && role != "" {
		return []string{role}, nil
	}
	return claimpath.Strings(value)
}
