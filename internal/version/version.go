// Package version holds the version that every binary reports.
package version

// Version is set at link time; see the Makefile.
var Version = "devel"
