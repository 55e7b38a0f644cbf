// Package signin has the settings by which browsers sign in at the gate and by which
// their cookies count, and builds what they describe.
package signin

import (
	"gatehouse/core"
	"gatehouse/core/config/section"
	"gatehouse/core/crosssite"
	"gatehouse/core/origin"
)

// CrossSiteWrites is what other sites may have a browser do with cookies of the user.
type CrossSiteWrites struct {
	Policy         string   `config:"policy" default:"refuse" one_of:"refuse,allow" doc:"refuse: a request with another method than GET, HEAD and OPTIONS, or a WebSocket handshake, that is authenticated by a cookie and comes from another origin gets 403, by Sec-Fetch-Site and Origin. allow: the upstream has to protect itself against cross-site request forgery."`
	TrustedOrigins []string `config:"trusted_origins" doc:"Origins that may do so all the same, as browsers write them, such as https://app.example.com. https://*.example.com stands for all subdomains; the origin of another subdomain is another origin."`
}

// Check reports what no single tag can say.
func (w CrossSiteWrites) Check(v section.Validator) {
	if w.Policy == "allow" && len(w.TrustedOrigins) > 0 {
		v.Add("cross_site_writes.trusted_origins", "says nothing beside policy: allow, which trusts every origin")
	}
	for i, entry := range w.TrustedOrigins {
		if err := origin.Check(entry); err != nil {
			v.Add(section.Item("cross_site_writes.trusted_origins", i), "%v", err)
		}
	}
}

// Around protects what an authenticator takes for the user's own doing.
func (w CrossSiteWrites) Around(next core.Authenticator) core.Authenticator {
	if w.Policy == "allow" {
		return next
	}
	return crosssite.Around(next, w.TrustedOrigins)
}
