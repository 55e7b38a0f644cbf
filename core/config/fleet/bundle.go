package fleet

import (
	"net"
	"net/http"
	"net/url"
	"strings"

	"gatehouse/core/authn/idp"
	"gatehouse/core/config/section"
	"gatehouse/core/fleet/bundle"
	"gatehouse/core/httpsyntax"
	"gatehouse/core/permission/live"
	"gatehouse/core/setting"
	"gatehouse/core/shared"
)

// Bundle is a permission table that a web server hands out.
type Bundle struct {
	URLs          []string        `config:"urls" required:"true" len_min:"1" doc:"URLs of the files of the table, which are merged, such as https://config.example.com/permissions.yaml. They must begin with https, except on this machine (loopback). A query is never logged."`
	SignatureURL  string          `config:"signature_url" starts_with:"http" doc:"URL of the signature of all files together, as gatehouse bundle sign makes it. Needed with public_key_file, and only there."`
	PublicKeyFile string          `config:"public_key_file" file:"true" doc:"Path of a file with the public keys of whoever signs, as PEM, JWK or JWK Set: Ed25519, ECDSA (P-256, P-384, P-521) or RSA. A table that none of them has signed is then never loaded."`
	MaxAge        setting.Seconds `config:"max_age" default:"0" between:"0,31536000" doc:"Greatest age of a signature, in seconds by its iat; 0 is any. An older one is not loaded, be it from the server or from disk, nor is one past its own end (exp); the table in force stays."`
	Token         setting.Secret  `config:"token" secret:"true" doc:"Bearer token (RFC 6750) for the server. Takes a literal value, $env://NAME or $file:///path."`
	AuthHeader    string          `config:"auth_header" default:"Authorization" doc:"Header that holds the token. Any other than Authorization holds nothing but the token, such as Private-Token."`
	Interval      setting.Seconds `config:"poll_interval" default:"10" between:"1,3600" doc:"Time between two requests, in seconds, give or take a tenth. After a failure the next one follows after a second, then after twice the time each, up to this."`
	InsecureHTTP  bool            `config:"insecure_http" default:"false" doc:"Allows http to other machines. Whoever is on the way can then give every permission, unless public_key_file is set."`
	Outbound      BundleServer    `config:"http" doc:"How the server is called."`
}

// BundleServer is how the server of a bundle is called.
type BundleServer struct {
	Timeout   setting.Seconds `config:"timeout" default:"10" between:"0.05,300" doc:"Time limit of one request, in seconds."`
	SSLVerify bool            `config:"ssl_verify" default:"true" doc:"Whether the server's certificate is verified. Switch off in development only."`
	CAFile    string          `config:"ca_file" file:"true" doc:"Path of a PEM file with the certificate authorities to trust instead of the system's."`
}

// Check reports what no single tag can say.
func (s *Bundle) Check(v section.Validator) {
	for i, text := range s.URLs {
		s.checkURL(v, section.Item("bundle.urls", i), text)
	}
	s.checkURL(v, "bundle.signature_url", s.SignatureURL)
	if (s.SignatureURL == "") != (s.PublicKeyFile == "") && !v.Mentions("bundle.signature_url", "bundle.public_key_file") {
		v.Add("bundle.public_key_file", "is needed beside signature_url, and signature_url beside it")
	}
	if s.MaxAge > 0 && s.PublicKeyFile == "" && s.SignatureURL == "" {
		v.Add("bundle.max_age", "is about signatures; set public_key_file and signature_url")
	}
	if !httpsyntax.IsToken(s.AuthHeader) {
		v.Add("bundle.auth_header", "is not the name of a header")
	}
}

func (s *Bundle) checkURL(v section.Validator, path, text string) {
	if text == "" || len(s.URLs) == 0 || v.Mentions(path) {
		return
	}
	u, err := idp.ParseURL(text)
	switch {
	case err != nil:
		v.Add(path, "%v", err)
	case u.Scheme == "http" && !s.InsecureHTTP && !loopback(u.Hostname()):
		v.Add(path, "begins with http: whoever is on the way could give every permission; use https, or set insecure_http in a network that you trust")
	case s.Token != "" && !sameHost(s.URLs[0], u):
		v.Add(path, "is on another host than the first one, which would be sent the token, too; use one host")
	}
}

func sameHost(text string, u *url.URL) bool {
	first, err := url.Parse(text)
	return err != nil || first.Scheme == u.Scheme && strings.EqualFold(first.Host, u.Host)
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// TableSource is where a table comes from: what opens it, and what tells it from any
// other. Both are zero where there is none.
type TableSource struct {
	Key  shared.Key
	Open func() (live.Source, error)
}

// Bundle is the source of a table at a web server. Its last good copy is kept in a
// folder, if one is named.
func (b *Builder) Bundle(s *Bundle, folder string) (source TableSource, err error) {
	var parts bundleParts
	if parts.token, err = setting.Resolve(string(s.Token)); err != nil {
		return source, section.At("bundle.token", err)
	}
	if parts.trust, err = section.Authorities("bundle.http.ca_file", s.Outbound.CAFile); err != nil {
		return source, err
	}
	if s.PublicKeyFile != "" {
		text, err := setting.ReadBounded(s.PublicKeyFile, setting.MaxDocument)
		if err == nil {
			parts.keys, err = bundle.ParseKeys(text)
		}
		if err != nil {
			return source, section.At("bundle.public_key_file", err)
		}
		parts.keyText = string(text)
	}
	return TableSource{
		Key:  shared.KeyOf("bundle", s, folder, parts.token, parts.trust, parts.keyText),
		Open: func() (live.Source, error) { return b.openBundle(s, folder, parts) },
	}, nil
}

// bundleParts are what the settings of a bundle refer to.
type bundleParts struct {
	token, trust, keyText string
	keys                  bundle.Keys
}

func (b *Builder) openBundle(s *Bundle, folder string, parts bundleParts) (live.Source, error) {
	client, err := idp.New(idp.Options{
		Timeout:            s.Outbound.Timeout.Duration(),
		MaxConcurrent:      len(s.URLs) + 1,
		CAFile:             s.Outbound.CAFile,
		InsecureSkipVerify: !s.Outbound.SSLVerify,
		Now:                b.options.Now,
	})
	if err != nil {
		return nil, section.At("bundle.http.ca_file", err)
	}
	header := http.Header{}
	switch {
	case parts.token == "":
	case strings.EqualFold(s.AuthHeader, "Authorization"):
		header.Set("Authorization", "Bearer "+parts.token)
	default:
		header.Set(s.AuthHeader, parts.token)
	}
	source, err := bundle.New(bundle.Options{
		URLs:         s.URLs,
		SignatureURL: s.SignatureURL,
		Keys:         parts.keys,
		MaxAge:       s.MaxAge.Duration(),
		Header:       header,
		Client:       client,
		Interval:     s.Interval.Duration(),
		Dir:          folder,
		Log:          b.options.Log,
		Now:          b.options.Now,
	})
	if err != nil {
		return nil, section.At("bundle", err)
	}
	return source, nil
}
