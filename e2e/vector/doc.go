// Package vector reads the shared test vectors, sends them to a host byte for
// byte and judges what came of it. A vector is a request with the decision
// that every host must come to and with what the upstream must then receive.
//
// The format is described in docs/testing.md.
package vector
