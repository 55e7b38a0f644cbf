// Package credentials provides the people, clients and credentials that the shared
// test vectors speak of, good ones and bad ones, fresh from real Kratos and
// Hydra servers.
package credentials
