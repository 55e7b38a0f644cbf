// Package signin measures sign-ins and checks of sessions beside oauth2-proxy, on one
// machine, in one run, at one provider.
package signin
