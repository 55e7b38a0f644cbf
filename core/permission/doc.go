// Package permission holds the permission table: which calls exist, which
// permission covers each of them, and how roles and scopes grant permissions.
//
//	permissions own activities (methods and a path regex)
//	roles and scopes own permissions
//	whatever no activity covers is denied
//
// A table is read from one or more YAML files by [Parse], which finds every
// mistake of a file at once and at its line and column, put together by
// [Compile], and asked through [Table], a core.Policy. docs/permission-tables.md
// is the reference of the file format.
//
// A path regex always matches the whole canonical path. When activities of
// several sections cover one call, the strictest section decides: permissions,
// then authenticated, then public. An activity marked "override" steps out of
// that order on purpose.
package permission
