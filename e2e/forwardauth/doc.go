// Package forwardauth tests gatehouse-forwardauth behind real proxies, with the
// configuration files of deploy/ and with real Ory Kratos and Hydra: the shared
// vectors, and the attacks that only a proxy that asks makes possible.
package forwardauth
