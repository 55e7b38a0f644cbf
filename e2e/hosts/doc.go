// Package hosts tests what the three hosts have in common beside their decisions: how
// their processes log, end and follow their files.
package hosts
