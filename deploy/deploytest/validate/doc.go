// Package validate holds the tests of the deploy folders that need heavy
// libraries, in a module of its own so that the product does not carry them:
// compose files are resolved, images parsed and their binaries built, Kubernetes
// manifests and the formats of other tools checked against schemas, scripts
// linted.
package validate
