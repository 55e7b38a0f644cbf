// Package packaging holds what makes archives and packages: the script dist, which
// everything else here is for, and its tests.
package packaging
