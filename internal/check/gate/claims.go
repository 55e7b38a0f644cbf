package gate

import (
	"fmt"
	"slices"
	"strings"

	"gatehouse/core/config"
	"gatehouse/core/permission/report"
	"gatehouse/internal/check/document"
)

// unlikelyClaims reports headers whose claims are absent from every credential, as far
// as can be told: nothing is sent, on every request.
func (c *Checker) unlikelyClaims(s Settings, cfg *config.Config) {
	headers := s.Root.Get("upstream_headers").Pairs()
	if groups := s.Root.Pair("authenticated_groups_claim"); groups.Value.Present() {
		headers = append(headers, groups)
	}
	for _, p := range headers {
		if problem := unlikely(p, cfg); problem != "" {
			c.Add("unlikely-claim", p.Value.Place(), "%s: %s", p.Key.Value, problem)
		}
	}
}

// unlikely is empty where one of the claims of a header is likely to be there.
func unlikely(p document.Pair, cfg *config.Config) string {
	problem := ""
	for path := range strings.SplitSeq(p.Value.Text(), ",") {
		path = strings.TrimSpace(path)
		if strings.ContainsAny(path, "/+(") { // a pointer, a union or the names in an object
			return ""
		}
		this := misspelt(path)
		if cfg.Session != nil && cfg.JWT == nil && cfg.Introspection == nil && cfg.GatewayToken == nil {
			this = notInSession(path)
		}
		if this == "" {
			return ""
		}
		problem = this
	}
	return problem
}

// usual are the claims of RFC 7519, RFC 7662, RFC 9068 and OpenID Connect Core 1.0
// section 5.1 that are long enough to be told from others by a letter or two.
var usual = []string{
	"preferred_username", "given_name", "family_name", "middle_name", "nickname", "email_verified", "phone_number", "client_id", "auth_time", "permissions", "entitlements",
}

// otherNames are what people call a claim that has another name.
var otherNames = map[string][]string{
	"sub":                {"subject", "userid", "user-id", "sub_id", "user.id", "principal"},
	"iss":                {"issuer"},
	"aud":                {"audience"},
	"exp":                {"expiry", "expires", "expires_at", "expiration"},
	"email":              {"mail", "e-mail", "emial", "emal", "email_address", "emailaddress", "user.email"},
	"preferred_username": {"user_name", "login_name", "preferredusername", "user.name"},
	"name":               {"fullname", "full_name", "full-name"},
	"given_name":         {"firstname", "first_name", "givenname"},
	"family_name":        {"lastname", "last_name", "surname", "familyname"},
	"client_id":          {"clientid", "client-id", "client"},
	"scope":              {"scopes"},
	"aal":                {"assurance", "authenticator_assurance_level"},
}

func misspelt(path string) string {
	for claim, others := range otherNames {
		if slices.Contains(others, strings.ToLower(path)) {
			return fmt.Sprintf("the claim %s is in no usual credential, and the header would never be sent; did you mean %s?", path, claim)
		}
	}
	if close := report.Closest(path, usual, 2); len(path) >= 8 && close != "" && close != path {
		return fmt.Sprintf("the claim %s is in no usual credential, and the header would never be sent; did you mean %s?", path, close)
	}
	return ""
}

// ofSessions are what a session document of Kratos has at its top, and the names that
// every kind of credential has.
var ofSessions = []string{
	"id", "active", "expires_at", "authenticated_at", "authenticator_assurance_level", "authentication_methods", "issued_at", "identity", "devices",
	"sub", "iss", "kind", "client_id", "exp", "scope", "roles", "permissions", "aal", "auth_time", "actor",
}

func notInSession(path string) string {
	first, _, _ := strings.Cut(path, ".")
	first, _, _ = strings.Cut(first, "[")
	if slices.Contains(ofSessions, first) {
		return ""
	}
	for claim, others := range otherNames {
		if slices.Contains(others, strings.ToLower(path)) && slices.Contains(ofSessions, claim) {
			return fmt.Sprintf("a session of Kratos has no %s, and the header would never be sent; did you mean %s?", path, claim)
		}
	}
	return fmt.Sprintf("a session of Kratos has no %s, and the header would never be sent; traits are at identity.traits.%s", path, strings.TrimPrefix(path, "traits."))
}
