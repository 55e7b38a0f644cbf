// Package permission holds the permission table: which calls exist, which
// permission covers each of them, and how roles and scopes grant permissions.
//
//	permissions own activities (methods and a path regex)
//	roles and scopes own permissions
//	whatever no activity covers is denied
//
// A [File] is plain data, read from text by package tablefile or built by code.
// [Compile] checks it and makes a [Table], a core.Policy. The rooms below know
// one thing each: report (places and problems), pattern (path regex and hosts),
// pathindex (matching), condition (CEL). Those above use a table: live keeps one
// up to date with its source, inspect explains it, expectation tests it.
//
// A path regex always matches the whole canonical path. When activities of
// several sections cover one call, the strictest section decides: permissions,
// then authenticated, then public. An activity marked "override" steps out of
// that order on purpose.
package permission
