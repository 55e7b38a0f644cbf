// Package analysis compares the activities of permission tables by the calls that
// they cover: which share calls ([Neighbours]), which decide the calls of each
// ([Decided]), and which a service does not offer ([Cover]). Package lint finds what is wrong with a table, and package diff
// what a change lets in and shuts out.
//
// Results about paths are exact. Regexes are compared as automata over the
// canonical paths, and each claim comes with a [Call] that shows it, checked
// against the regex engine that decides requests. Where that would take too
// much, the result says so.
package analysis
