package config

import (
	"cmp"

	"gatehouse/core"
	"gatehouse/core/identity"
)

// Demands are what the gate of a configuration asks of its host.
func (c *Config) Demands() core.Demands {
	d := core.Demands{
		RepeatedHeaders: c.HeaderLists == identity.JoinRepeat, Target: c.TokenParameter != "", Consumers: len(c.Consumers) > 0,
		ClientCertificate: cmp.Or(c.ResourceMetadata.CertificateBound(), c.certificateSection()),
	}
	if c.CertificateHeader != nil { // in which it is on every host
		d.ClientCertificate = ""
	}
	return d
}

// Demands are those of the configuration and of its permission table as it is now.
func (now *Current) Demands() core.Demands {
	d := now.Config.Demands()
	d.Body = !now.Config.InsecureTrustMCPHeaders && now.table.HasEndpoints()
	return d
}

// maxMCPBody is the limit of core.Options.
func (c *Config) maxMCPBody() int {
	if c.InsecureTrustMCPHeaders {
		return 0
	}
	return c.MCPMaxBody
}
