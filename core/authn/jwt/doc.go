// Package jwt verifies JSON Web Tokens (RFC 7519, RFC 8725, RFC 9068) that
// configured issuers signed, without asking the issuer about each one.
//
// A key is bound to algorithms when it is loaded: by its type, by its own alg
// and by the issuer's configured list. The table of algorithms holds signature
// schemes with a public key and nothing else, so "none" and an HMAC keyed with
// a public key cannot be asked for, whatever a token's header says. Keys come
// from the issuer's discovery document, a JWKS URL or a file, never from the
// token.
//
// Locally verified means that a revoked token passes until it expires. Where
// that is too late, route tokens to introspection.
package jwt
