// Package dpop checks that who sends an access token holds the key that the token is
// bound to: by a DPoP proof (RFC 9449), which the client makes for one request.
//
// A proof is a JWT that the client signs with its own key, whose public half is in the
// proof itself. By itself it proves nothing: the thumbprint of the key must be the one
// in the token (cnf.jkt), which the authorization server vouches for. Everything in a
// proof is about one request: its method, its URL, its moment, its token, and an id that
// counts once.
package dpop
