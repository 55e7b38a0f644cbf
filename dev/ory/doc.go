// Package ory runs the real Ory Kratos (identities and browser sessions) and
// Ory Hydra (OAuth 2.0 and OpenID Connect) for the demo and the tests, and
// speaks their HTTP interfaces.
//
// [Ensure] finds both servers on PATH or builds them once, at the versions
// that dev/ory/kratos/go.mod and dev/ory/hydra/go.mod pin. [StartKratos] and
// [StartHydra] run them with an in-memory database. [KratosAPI] and [HydraAPI]
// create identities, sessions, clients and tokens; they also work against
// servers that run elsewhere.
//
// Nothing here belongs in production: the servers run in their development
// mode, over plain HTTP, with fast password hashes and a database that is gone
// when they stop.
package ory
