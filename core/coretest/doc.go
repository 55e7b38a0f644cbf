// Package coretest holds what the tests of several packages share: a clock
// that is set by hand, a log, an OpenID Connect issuer, and fakes of an introspection
// endpoint and of Ory Kratos. All of them are real HTTP servers on real
// sockets that can be made to fail in the ways that servers fail.
//
// The fakes are for failures that the real servers cannot be made to show.
// What the real servers response is tested against the real servers.
//
// Only tests import this package.
package coretest
