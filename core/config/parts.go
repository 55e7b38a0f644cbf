package config

import (
	"time"

	"gatehouse/core/authn/idp"
	"gatehouse/core/authn/introspection"
	"gatehouse/core/authn/jwt"
	"gatehouse/core/authn/session"
)

// Refused returns what the parts of a section refuse beside the rules that
// Inspect states, for tools that do not build the gate. The section has to be
// without a problem. No file is read and nothing is called.
func (c *Config) Refused(section string) []Problem {
	client, err := idp.New(idp.Options{})
	switch {
	case err != nil:
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
