// Package repotest holds the tests of the repository's own rules: which
// package may import which, that every package says what it is for, and that
// what the documentation shows works.
package repotest
