// Package signin tests sign-in at the gate with OpenID providers that others have
// written: Ory Hydra, and oidc-provider from npm, which is certified.
package signin
