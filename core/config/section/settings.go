package section

import "gatehouse/core/setting"

// Outbound is how an identity provider is called.
type Outbound struct {
	Timeout       setting.Seconds `config:"timeout" default:"3" between:"0.05,30" doc:"Time limit of one call to the identity provider, in seconds."`
	SSLVerify     bool            `config:"ssl_verify" default:"true" doc:"Whether the identity provider's certificate is verified. Switch off in development only."`
	CAFile        string          `config:"ca_file" file:"true" doc:"Path of a PEM file with the certificate authorities to trust instead of the system's."`
	MaxConcurrent int             `config:"max_concurrent" default:"128" between:"1,10000" doc:"Maximum number of concurrent calls to the identity provider. A further one waits, at most for timeout, and its request then gets 503. Calls for one client address hold at most three quarters of them."`
}

// Cache bounds the embedded cache.
type Cache struct {
	MaxEntries int `config:"max_entries" default:"10000" between:"100,10000000" doc:"Maximum number of cached credentials, separately for valid and invalid ones of each section."`
	MaxBytes   int `config:"max_bytes" default:"67108864" between:"1048576,68719476736" doc:"Maximum memory of cached credentials, in bytes as far as they can be estimated, separately for valid and invalid ones of each section. A credential with more than half of it in claims is not cached."`
}
