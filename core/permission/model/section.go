package model

// Section is the part of a table that an activity belongs to. A greater one is
// stricter and decides where several cover one call.
type Section uint8

// The sections, from the laxest to the strictest.
const (
	InPublic Section = iota + 1
	// InOptional: anybody may call, and who comes with a credential is named.
	InOptional
	InAuthenticated
	InPermission
)

func (s Section) String() string {
	switch s {
	case InPublic:
		return "public"
	case InOptional:
		return "optional"
	case InAuthenticated:
		return "authenticated"
	case InPermission:
		return "permission"
	}
	return "none"
}

// Guards reports whether a section asks callers for something.
func (s Section) Guards() bool { return s >= InAuthenticated }
