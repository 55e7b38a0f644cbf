package config

import (
	"context"
	"slices"

	"gatehouse/core"
	"gatehouse/core/config/section"
	"gatehouse/core/setting"
)

// Refused returns what the parts of a section refuse beside the rules that
// Inspect states, or with an empty name what the gate refuses, for tools that do
// not build it. The section has to be without a problem. No file is read and
// nothing is called.
func (c *Config) Refused(name string) []setting.Problem {
	var err error
	if name == "" {
		_, err = NewBuilder(BuilderOptions{}).GateWith(c.withoutFiles(), stub{}, stub{})
	}
	for _, s := range c.sections() {
		if string(s.Kind()) == name && s != section.Section(c.GatewayToken) {
			err = s.Refused()
		}
	}
	if err != nil {
		return []setting.Problem{{Path: name, Text: err.Error()}}
	}
	return nil
}

// withoutFiles is the configuration without the file that a gate reads while it is made.
func (c *Config) withoutFiles() *Config {
	if c.ErrorPages == nil || c.ErrorPages.TemplateFile == "" {
		return c
	}
	without, pages := *c, *c.ErrorPages
	pages.TemplateFile = ""
	without.ErrorPages = &pages
	return &without
}

// OwnPath is a path that the gate of a configuration serves itself, by some methods: on
// any host, or on one alone.
type OwnPath struct {
	Path    string
	Methods []string
	Host    string
}

// OwnPaths are those of a configuration. A gateway has to route them to the gate, too.
func (c *Config) OwnPaths() (own []OwnPath) {
	endpoints, _, err := c.endpoints()
	if err != nil { // Inspect has reported it
		return nil
	}
	for _, e := range slices.Concat(endpoints, c.UpstreamToken.Offline().Endpoints(c.GatewayToken, nil), c.offlineEndpoints(), c.Login.Offline()) {
		own = append(own, OwnPath{e.Path, e.Methods, c.Login.HostOf(e.Path)})
	}
	return own
}

// HeaderNames are the names that a proxy in front of the gate has to be told.
type HeaderNames struct {
	// Stripped are removed from every request; those of upstream_headers are set for
	// an admitted caller. A header of Credentials may be among them.
	Stripped []string
	// Credentials are the headers in which a credential may be, with Cookie if it
	// may be in a cookie, and those of a client's certificate.
	Credentials []string
}

// HeaderNames are those of a configuration.
func (c *Config) HeaderNames() (HeaderNames, error) {
	extractor, err := c.Extractor()
	if err != nil {
		return HeaderNames{}, err
	}
	headers, err := c.identity(extractor, c.UpstreamToken.Offline(), nil)
	if err != nil {
		return HeaderNames{}, err
	}
	return HeaderNames{headers.Names(), append(extractor.HeaderNames(), c.CertificateHeader.Names()...)}, nil
}

// stub stands for the parts of a gate that are not looked at.
type stub struct{}

func (stub) Authenticate(context.Context, *core.Call, core.Credential) (core.Authentication, error) {
	return core.Authentication{}, core.ErrInvalid
}
func (stub) Match(context.Context, *core.Call) core.Access { return nil }
func (stub) Permissions(*core.Principal) []string          { return nil }
