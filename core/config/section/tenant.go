package section

import (
	"regexp"
	"slices"
	"strings"
)

// tenantMark stands in an issuer for the name of a tenant.
const tenantMark = "{tenant}"

// maxTenants bounds the issuers that one entry stands for.
const maxTenants = 1000

// tenantName is a segment of a path or a label of a host.
var tenantName = regexp.MustCompile(`^[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?$`)

// tenants checks an issuer of several tenants. Whoever can make a tenant of their
// own gets tokens from such an issuer, so that the tenants have to be listed.
func (v Validator) tenants(path string, i Issuer) {
	pattern := strings.Contains(i.Issuer, tenantMark)
	rest := strings.Replace(i.Issuer, tenantMark, "", 1)
	switch {
	case strings.Contains(i.Issuer, "*"):
		v.Add(path+".issuer", "holds *, which is not a wildcard: iss is compared as it is; write %s where the tenant's name is, and list the tenants in tenants", tenantMark)
	case strings.ContainsAny(rest, "{}"):
		v.Add(path+".issuer", "can hold %s once and no other braces", tenantMark)
	case pattern && len(i.Tenants) == 0:
		v.Add(path+".tenants", "is needed beside %s in issuer: anybody may have a tenant at such a provider, so list yours", tenantMark)
	case !pattern && len(i.Tenants) > 0:
		v.Add(path+".tenants", "is for an issuer with %s in it", tenantMark)
	case pattern && i.JWKSFile == "" && !strings.HasPrefix(i.Issuer, "http"):
		v.Add(path+".issuer", "must be a complete http or https URL")
	}
	if len(i.Tenants) > maxTenants {
		v.Add(path+".tenants", "lists more than %d tenants", maxTenants)
	}
	for n, tenant := range i.Tenants {
		if !tenantName.MatchString(tenant) {
			v.Add(Item(path+".tenants", n), "is not the name of a tenant: use letters, digits, '.', '_' and '-'; * is not a wildcard")
		}
		if slices.Index(i.Tenants, tenant) != n {
			v.Add(Item(path+".tenants", n), "is listed twice")
		}
	}
}

// Expand puts one issuer for each tenant in the place of an issuer of several.
func (j *JWT) Expand() {
	var all []Issuer
	for _, i := range j.Issuers {
		if !strings.Contains(i.Issuer, tenantMark) {
			all = append(all, i)
			continue
		}
		for _, tenant := range i.Tenants {
			of := i
			of.Tenants = []string{tenant}
			of.Issuer = strings.Replace(i.Issuer, tenantMark, tenant, 1)
			of.JWKSURI = strings.ReplaceAll(i.JWKSURI, tenantMark, tenant)
			all = append(all, of)
		}
	}
	j.Issuers = all
}

// tenant is that of an expanded issuer; empty: it has none.
func (i Issuer) tenant() string {
	if len(i.Tenants) == 1 {
		return i.Tenants[0]
	}
	return ""
}
