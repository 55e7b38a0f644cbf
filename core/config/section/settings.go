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

// TokenHeader is a header that may hold a bearer token.
type TokenHeader struct {
	Name   string `config:"name" required:"true" doc:"Name of the header, such as Cf-Access-Jwt-Assertion, X-Goog-IAP-JWT-Assertion or X-Api-Key."`
	Prefix string `config:"prefix" doc:"Word that stands before the token, in any case, such as Bearer or Token. Without it the header holds nothing but the token."`
}

// Path relaxes the rules about request paths.
type Path struct {
	AllowSemicolon    bool `config:"allow_semicolon" default:"false" doc:"Treats ';' as an ordinary character. The upstream must not read path parameters."`
	AllowDoubleSlash  bool `config:"allow_double_slash" default:"false" doc:"Treats '//' as '/'. The upstream must do so, too. A path that begins with '//' is always refused."`
	AllowEncodedSlash bool `config:"allow_encoded_slash" default:"false" doc:"Keeps %2F as data inside a segment. The upstream must not decode it into a separator."`
}
