// Package jwt verifies JSON Web Tokens (RFC 7519, RFC 8725, RFC 9068) that
// configured issuers signed, without asking the issuer about each one.
//
// Keys come from the issuer's discovery document, a JWKS URL or a file, never from the
// token, and are bound to algorithms when they are loaded (core/authn/jws).
//
// Locally verified means that a revoked token passes until it expires. Where
// that is too late, route tokens to introspection.
package jwt
