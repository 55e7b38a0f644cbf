// Package claims reads what identity providers say about a caller: JSON in
// which every member counts once, and the registered claims of RFC 7519,
// RFC 7662, RFC 9068 and OpenID Connect. A claim that is absent, null or of
// the wrong shape never passes a check that names it.
package claims
