// Package e2e tests the whole product on real input: the binaries that Kong
// and APISIX load, behind the local gateways or real ones, in front of real
// upstreams, with real Ory Kratos and Hydra.
//
// The requests and the decisions that every host must come to are text files
// in vectors/; docs/testing.md is their reference.
package e2e
