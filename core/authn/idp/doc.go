// Package idp is the one HTTP client that talks to identity providers: Ory
// Kratos, an introspection endpoint (RFC 7662), a discovery document, a JWKS.
//
// Whatever the provider does, a call ends: it has a timeout, a bounded response
// and a bounded number of siblings. It follows no redirect, because the response
// of another server is not the provider's, and reads no proxy from a request.
// Every failure is an error that names the provider and never a credential;
// to the engine it means "could not tell", which becomes 503.
package idp
