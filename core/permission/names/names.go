// Package names says what permissions, roles and scopes may be called.
package names

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// MaxLength is the greatest length of a name in bytes.
const MaxLength = 256

// RolePrefix marks a role among the permissions that a role grants.
const RolePrefix = "role:"

// PermissionProblem says what is wrong with the name of a permission, which
// what stands for in the message, or nothing.
func PermissionProblem(what, name string) string {
	if strings.HasPrefix(name, RolePrefix) {
		return fmt.Sprintf("%s: a name may not begin with %q, which includes a role in a role; choose another name", what, RolePrefix)
	}
	return ScopeProblem(what, name)
}

// ScopeProblem does so for a name that travels in a list of scopes: it has the
// characters of RFC 6749 section 3.3, without the comma that separates names in a
// header.
func ScopeProblem(what, name string) string {
	if len(name) > MaxLength {
		return fmt.Sprintf("%s is longer than %d bytes; shorten it", what, MaxLength)
	}
	odd := func(r rune) bool { return r <= ' ' || r >= 0x7f || r == '"' || r == '\\' || r == ',' }
	if name == "" || strings.ContainsFunc(name, odd) {
		return what + ` is not a name that a scope may have (RFC 6749 section 3.3); use visible ASCII characters other than " \ and ,`
	}
	return ""
}

// RoleProblem does so for the name of a role, which comes from a directory and
// may hold spaces and letters of any script.
func RoleProblem(what, name string) string {
	switch {
	case name == "" || strings.TrimSpace(name) != name:
		return what + " names no role, or one with white space around it; write the name as it is"
	case len(name) > MaxLength:
		return fmt.Sprintf("%s is longer than %d bytes; shorten it", what, MaxLength)
	case !utf8.ValidString(name):
		return what + " is not valid UTF-8; write it as UTF-8"
	case strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }):
		return what + " holds a character that cannot be printed; remove it"
	}
	return ""
}
