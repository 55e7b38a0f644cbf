// Package analysis answers questions about whole permission tables: what is
// wrong with one ([Lint]), what a change lets in and shuts out ([Diff]) and which
// activities take calls from others ([Guards]).
//
// Answers about paths are exact. Regexes are compared as automata over the
// canonical paths, and each claim comes with a [Call] that shows it, checked
// against the regex engine that decides requests. Where that would take too
// much, the answer says so.
package analysis
