package revoke

import (
	"fmt"
	"slices"
	"strings"

	"gatehouse/core/config"
	"gatehouse/core/revocation"
)

// unknownIssuer returns an error for an event of an issuer whose credentials the nodes of
// a configuration do not accept: it would revoke nothing, as with a slash too many.
func unknownIssuer(c *config.Config, events []revocation.Event) error {
	known, any := issuersOf(c)
	for _, e := range events {
		if e.Issuer == "" || any || slices.Contains(known, e.Issuer) {
			continue
		}
		return fmt.Errorf("no configured issuer is %q, so that nothing would be revoked; issuers are compared exactly, and the configuration has %s. With --force it is revoked nevertheless, such as for nodes with another configuration", e.Issuer, listed(known))
	}
	return nil
}

// issuersOf are the issuers of credentials that a configuration accepts. Any can be one
// where introspection does not say which.
func issuersOf(c *config.Config) (known []string, any bool) {
	if c.JWT != nil {
		for _, i := range c.JWT.Issuers {
			known = append(known, i.Issuer)
		}
	}
	if c.GatewayToken != nil {
		known = append(known, c.GatewayToken.Issuer)
	}
	if c.Session != nil {
		known = append(known, c.Session.KratosURL)
	}
	known = append(known, c.Login.Issuers()...)
	if c.SubjectRoles != nil { // whose users may own API tokens
		known = append(known, c.SubjectRoles.SessionIssuer)
	}
	if c.Introspection != nil {
		known = append(known, c.Introspection.Issuer)
		any = c.Introspection.Issuer == ""
	}
	return slices.DeleteFunc(known, func(issuer string) bool { return issuer == "" }), any
}

func listed(issuers []string) string {
	if len(issuers) == 0 {
		return "none"
	}
	return strings.Join(issuers, ", ")
}
