package permission

import "time"

// File is one table file, read and checked by itself. Names that other files
// may define are resolved by Compile.
type File struct {
	Name          string
	Permissions   []Permission
	Roles         []Role
	Scopes        []Scope
	Authenticated []Activity
	Public        []Activity
	// ImplicitScopes is nil when the file does not say.
	ImplicitScopes *Switch
}

// Permission is a name for a set of activities.
type Permission struct {
	Place       Place
	Name        string
	Description string
	Activities  []Activity
}

// Role grants permissions, its own and those of the roles it includes.
type Role struct {
	Place  Place
	Name   string
	Grants []Grant
}

// Grant is an entry of a role: a permission, or another role.
type Grant struct {
	Place Place
	Name  string
	Role  bool
}

// Scope grants permissions to whoever holds a token with that scope.
type Scope struct {
	Place  Place
	Name   string
	Grants []Grant
}

// Switch is a true or false with its place.
type Switch struct {
	Place Place
	On    bool
}

// Activity is a set of calls: methods, a path regex and optional hosts.
type Activity struct {
	Place   Place
	Methods []string
	// Path is the regex as written; PathPlace is where it starts.
	Path      string
	PathPlace Place
	// Hosts is empty when the activity covers every host.
	Hosts   []string
	Require Requirements
	// Override takes the activity out of the order of sections.
	Override bool

	pattern *pattern
}

// AnyMethod in an activity stands for every method.
const AnyMethod = "ANY"

// Requirements are what a call needs beside the permission. All that are set
// must hold; the zero value requires nothing.
type Requirements struct {
	AllScopes []string
	AnyScope  []string
	// AAL is the least assurance level, such as "aal2".
	AAL string
	// MaxAge is the greatest age of the authentication.
	MaxAge time.Duration
	// Credentials are the kinds of authentication that are good enough.
	Credentials []string
	// When is a CEL condition.
	When string

	condition *condition
}

func (r *Requirements) empty() bool {
	return len(r.AllScopes)+len(r.AnyScope)+len(r.Credentials) == 0 && r.AAL == "" && r.MaxAge == 0 && r.When == ""
}

// String writes an activity in the short form of the file format.
func (a *Activity) String() string {
	return joinMethods(a.Methods) + " " + a.Path
}
