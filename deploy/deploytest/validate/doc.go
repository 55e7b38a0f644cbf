// Package validate holds the tests of the deploy folders that need heavy
// libraries, in a module of its own so that the product does not carry them:
// compose files are resolved and their services run as processes, images parsed
// and their binaries built, Kubernetes manifests and the formats of other tools
// checked against schemas, the repository's scripts linted.
//
//	make deploy-check
package validate
