// Package deploytest holds the tests of the deploy folders that need the
// product itself: every example is loaded by the local gateways with the
// plugin binaries that the real ones load, and asked what it says about itself.
//
// The examples are written from the cases in cases/, one file per case and
// tool: go test ./deploy/deploytest -run TestExamplesAreCurrent -update. What
// needs heavy libraries is in validate/, a module of its own.
package deploytest
