package config

import (
	"context"
	"time"

	"gatehouse/core"
	"gatehouse/core/authn/idp"
	"gatehouse/core/authn/introspection"
	"gatehouse/core/authn/jwt"
	"gatehouse/core/authn/session"
)

// Refused returns what the parts of a section refuse beside the rules that
// Inspect states, or with an empty name what the gate refuses, for tools that do
// not build it. The section has to be without a problem. No file is read and
// nothing is called.
func (c *Config) Refused(section string) []Problem {
	client, err := idp.New(idp.Options{})
	switch {
	case err != nil:
	case section == "":
		_, err = NewBuilder(BuilderOptions{}).GateWith(c, stub{}, stub{})
	case section == "session" && c.Session != nil:
		_, err = session.New(c.Session.options(client, time.Now))
	case section == "introspection" && c.Introspection != nil:
		secret := "" // its value is not known, but whether there is one
		if c.Introspection.AuthMethod != string(introspection.AuthNone) {
			secret = "unused"
		}
		_, err = introspection.New(c.Introspection.options(client, secret, time.Now))
	case section == "jwt" && c.JWT != nil:
		err = c.JWT.refused(client)
	}
	if err != nil {
		return []Problem{{section, err.Error()}}
	}
	return nil
}

// refused makes the verifier without its key files.
func (j *JWT) refused(client *idp.Client) error {
	issuers := j.trusted()
	for i := range issuers {
		if issuers[i].JWKSFile != "" {
			issuers[i].JWKSFile, issuers[i].JWKSURL = "", "https://unused.invalid/"
		}
	}
	_, err := jwt.New(jwt.Options{Issuers: issuers, Client: client, Leeway: exactly(j.Leeway)})
	return err
}

// EndpointPaths are the paths that the gate of a configuration answers itself. A
// gateway has to route them to the gate, too.
func (c *Config) EndpointPaths() []string {
	endpoints, _, err := c.resources()
	if err != nil { // Inspect has reported it
		return nil
	}
	paths := make([]string, len(endpoints))
	for i, e := range endpoints {
		paths[i] = e.Path
	}
	return paths
}

// stub stands for the parts of a gate that are not looked at.
type stub struct{}

func (stub) Authenticate(context.Context, *core.Call, core.Credential) (core.Authentication, error) {
	return core.Authentication{}, core.ErrInvalid
}
func (stub) Match(context.Context, *core.Call) core.Access { return nil }
func (stub) Permissions(*core.Principal) []string          { return nil }
