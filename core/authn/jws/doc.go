// Package jws reads JSON Web Signatures in compact form (RFC 7515 section 7.1) and checks
// them with public keys.
//
// A key is bound to algorithms when it is loaded: by its type, by its own alg and by a
// list of accepted ones. The table of algorithms holds signature schemes with a public
// key and nothing else, so "none" and an HMAC keyed with a public key cannot be asked
// for, whatever a header says.
package jws
