// Package gate checks the configuration of a gate, wherever it is written, with
// the files that it names.
package gate

import (
	"crypto/x509"
	"os"
	"reflect"
	"slices"
	"strings"

	"gatehouse/core"
	"gatehouse/core/authn/jwt"
	"gatehouse/core/browser"
	"gatehouse/core/config"
	"gatehouse/core/config/hosts"
	"gatehouse/core/config/section"
	"gatehouse/core/permission"
	"gatehouse/core/setting"
	"gatehouse/internal/check/document"
	"gatehouse/internal/check/finding"
	"gatehouse/internal/offline"
)

// Gate is a configuration without an error.
type Gate struct {
	document.Place
	Config *config.Config
	// Table are the files of its permission table; nil where they are not here.
	Table []*permission.File
}

// Checker checks configurations.
type Checker struct {
	*finding.Collector
	// Roots say where the files of the gateway's machine are on this one.
	Roots offline.Roots
	// Gates are those that were found.
	Gates []Gate
	// configs are those that hold a whole configuration, by their file.
	configs map[string]*config.Config
}

// New makes a checker.
func New(to *finding.Collector, roots offline.Roots) *Checker {
	return &Checker{Collector: to, Roots: roots, configs: map[string]*config.Config{}}
}

// Settings are the configuration of a gate, wherever it is written.
type Settings struct {
	// Root is the zero Node for a text that holds nothing.
	Root document.Node
	Raw  []byte
	// Path is that of the whole in its document, for messages; empty where a document of
	// its own holds it, or where a gateway's documentation names settings without it.
	Path string
	// Place is where the whole stands.
	Place document.Place
	// Reader is who reads the configuration before Gatehouse does.
	Reader Reader
	// Secret tells that the whole is kept as a secret.
	Secret bool
	// Hosts are those that load the gate and may not do all that it asks for.
	Hosts []Host
}

// Host is what loads a gate.
type Host struct {
	Name string
	Can  core.Demands
}

// Reader is a gateway with rules of its own about values.
type Reader string

// The gateways.
const (
	ByKong   Reader = "Kong"
	ByAPISIX Reader = "APISIX"
)

// Check checks a configuration and follows the files that it names. It returns the
// whole, and the paths that the gate serves itself; nil where it has errors.
func (c *Checker) Check(s Settings) (cfg *config.Config, own []config.OwnPath) {
	if cfg = c.config(s); cfg == nil {
		return nil, nil
	}
	of := cfg.Demands()
	of.Body = c.asksForBodies(cfg)
	for _, host := range s.Hosts {
		for _, p := range hosts.Unmet(of, host.Can, host.Name) {
			c.Setting(s, p)
		}
	}
	return cfg, cfg.OwnPaths()
}

// config is the whole configuration; nil where it has errors.
func (c *Checker) config(s Settings) *config.Config {
	before := c.Errors()
	cfg, problems := config.Inspect(s.Raw)
	for _, p := range problems {
		c.Setting(s, p)
	}
	if cfg == nil {
		return nil
	}
	c.openDoors(s)
	c.references(s)
	c.renewals(s)
	if s.Reader == ByKong {
		c.emptyTexts(s.Root, reflect.TypeFor[config.Config](), "")
	}
	if cfg.File != "" {
		return c.gateFile(s.at("file"), cfg.File)
	}
	c.unlikelyClaims(s, cfg)
	c.parts(s, cfg, problems)
	tables := c.tablesOf(s, cfg)
	c.otherFiles(s, cfg)
	if c.Errors() == before {
		c.Gates = append(c.Gates, Gate{s.Place, cfg, tables})
	}
	return cfg
}

// parts has the sections that are right by themselves made, without any call.
func (c *Checker) parts(s Settings, cfg *config.Config, problems []setting.Problem) {
	if len(problems) == 0 && !hasUnknown(s.Root) {
		for _, p := range cfg.Refused("") {
			c.Setting(s, p)
		}
	}
	for _, section := range []string{"session", "jwt", "introspection"} {
		wrong := slices.ContainsFunc(problems, func(p setting.Problem) bool { return strings.HasPrefix(p.Path, section) })
		if wrong || hasUnknown(s.Root.Get(section)) {
			continue
		}
		for _, p := range cfg.Refused(section) {
			c.Setting(s, p)
		}
	}
}

// hasUnknown tells whether something in a section is filled in later.
func hasUnknown(n document.Node) bool {
	in := func(n document.Node) bool { return n.IsUnknown() || hasUnknown(n) }
	return slices.ContainsFunc(n.Items(), in) || slices.ContainsFunc(n.Pairs(), func(p document.Pair) bool { return in(p.Value) })
}

// at is the place of a setting, or of what it should be in.
func (s Settings) at(path string) document.Place {
	found, _ := s.Root.Find(path)
	return s.placeOf(found)
}

func (s Settings) placeOf(found document.Pair) document.Place {
	switch {
	case found.Key.Node != nil && (found.Value.IsMap() || found.Value.IsList()):
		return found.Key.Place()
	case found.Value.Node != nil && found.Value.Node != s.Root.Node:
		return found.Value.Place()
	}
	return s.Place
}

// decides names, for a setting whose value others depend on, those others.
var decides = map[string][]string{
	"insecure_any_audience":              {"audience"},
	"introspection_endpoint_auth_method": {"client_id", "client_secret"},
}

// Setting reports what is wrong with one, unless its value is not known yet.
func (c *Checker) Setting(s Settings, p setting.Problem) {
	found, whole := s.Root.Find(p.Path)
	if whole && p.Path != "" && found.Value.IsUnknown() || s.Root.Get("file").IsUnknown() {
		return
	}
	parent, key := "", p.Path
	if dot := strings.LastIndexByte(p.Path, '.'); dot >= 0 {
		parent, key = p.Path[:dot], p.Path[dot+1:]
	}
	section, _ := s.Root.Find(parent)
	for decider, others := range decides {
		for _, other := range others {
			if key == other && section.Value.Get(decider).IsUnknown() {
				return
			}
		}
	}
	at := s.placeOf(found)
	if strings.HasPrefix(p.Text, "is not a setting") && found.Key.Node != nil {
		at = found.Key.Place()
	}
	for _, pair := range found.Value.Pairs() { // a map of names, as upstream_headers is
		if whole && p.Path != "" && strings.HasPrefix(p.Text, pair.Key.Value) {
			at = pair.Key.Place()
		}
	}
	c.Add("config", at, "%s", p.Below(s.Path))
}

// openDoors warns of settings that switch a check off.
func (c *Checker) openDoors(s Settings) {
	c.insecure(s.Root)
	for _, section := range []string{"session", "jwt", "introspection", "authzen"} {
		if verify := s.Root.Get(section, "http", "ssl_verify"); verify.False() {
			other := "identity provider"
			if section == "authzen" {
				other = "decision point"
			}
			c.Add("unverified-tls", verify.Place(), "%s.http.ssl_verify is off: an attacker between the two can pose as the %s; use ca_file for a certificate authority of your own", section, other)
		}
	}
	for _, p := range s.Root.Get("path").Pairs() {
		if p.Value.True() {
			c.Add("relaxed-path", p.Key.Place(), "path.%s is on: if the upstream reads such a path otherwise, it serves another than the one decided on", p.Key.Value)
		}
	}
	for _, key := range []string{"roles_claim", "permissions_claim"} {
		if claim := s.Root.Get("session", key); strings.Contains(claim.Text(), "traits") {
			c.Add("roles-in-traits", claim.Place(), "session.%s is taken from traits, which users edit themselves; use metadata_public, which only the admin API writes", key)
		}
	}
}

// renewals looks for nodes that would use one refresh token: the database of a fleet tells
// of them. A section redis beside sessions in cookies is an error of the configuration.
func (c *Checker) renewals(s Settings) {
	session := s.Root.Get("login", "oidc", "session")
	storage, fleet := session.Get("storage").Text(), len(s.Root.Get("postgres").Pairs()) > 0
	if len(session.Pairs()) > 0 && fleet && (storage == "" || storage == "cookie") && !s.Root.Get("login", "oidc", "renew_access_token_on_expiry").False() {
		c.Add("several-nodes-renew", session.Place(), "sessions are in cookies, and the section postgres tells of a fleet: two nodes would use one refresh token, and good providers then end the session; with several nodes use storage: redis, or renew_access_token_on_expiry: false")
	}
}

// insecure finds the switches by their names, in every section.
func (c *Checker) insecure(n document.Node) {
	for _, p := range n.Pairs() {
		name := p.Key.Value
		switch {
		case !strings.HasPrefix(name, "insecure_"):
			c.insecure(p.Value)
		case !p.Value.True():
		case name == "insecure_any_audience":
			c.Add("insecure-any-audience", p.Key.Place(), "%s is on: a token that the issuer made for another service is accepted; list this service's own audience", name)
		case name == "insecure_no_expiry":
			c.Add("insecure-no-expiry", p.Key.Place(), "%s is on: a token for which the authorization server states no expiry is accepted", name)
		default:
			c.Add("insecure-setting", p.Key.Place(), "%s is on, which switches a check off", name)
		}
	}
	for _, item := range n.Items() {
		c.insecure(item)
	}
}

// references looks at how the secret is given.
func (c *Checker) references(s Settings) {
	secret := s.Root.Get("introspection", "client_secret")
	text := secret.Text()
	switch {
	case text == "" || secret.IsUnknown():
	case strings.HasPrefix(text, "$env://") || strings.HasPrefix(text, "$file://"):
	case strings.HasPrefix(text, "{vault://") && s.Reader == ByKong:
	case strings.HasPrefix(text, "{vault://") || strings.HasPrefix(text, "$secret://"):
		c.Add("unresolved-reference", secret.Place(), "introspection.client_secret: the reference is not resolved here and would be sent as the secret; use $env://NAME or $file:///path")
	case !s.Secret:
		c.Add("literal-secret", secret.Place(), "introspection.client_secret is written out; use $env://NAME or $file:///path")
	}
}

// emptyTexts reports what Kong refuses and Gatehouse reads as absent.
func (c *Checker) emptyTexts(n document.Node, t reflect.Type, path string) {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Struct {
		for _, item := range n.Items() {
			c.emptyTexts(item, t.Elem(), path)
		}
	}
	if t.Kind() != reflect.Struct {
		return
	}
	for i := range t.NumField() {
		field := t.Field(i)
		name := strings.TrimPrefix(path+"."+field.Tag.Get("config"), ".")
		value := n.Get(field.Tag.Get("config"))
		if field.Type.Kind() == reflect.String && value.IsText() && value.Text() == "" && field.Tag.Get("len_min") != "0" {
			c.Add("config", value.Place(), "%s: is empty, which Kong refuses; leave it out", name)
		}
		c.emptyTexts(value, field.Type, name)
	}
}

// gateFile checks the file that holds a whole configuration, once however many
// routes name it.
func (c *Checker) gateFile(at document.Place, path string) *config.Config {
	text := c.Open(at, path)
	if text == nil {
		return nil
	}
	if !c.First("gate", text.File) {
		return c.configs[text.File]
	}
	nodes, problems := document.Parse(text)
	for _, p := range problems {
		c.Add("syntax", p.Place, "%s", p.Text)
	}
	if len(nodes) == 0 {
		return nil
	}
	if file := nodes[0].Pair("file"); file.Value.Present() {
		c.Add("config", file.Key.Place(), "file: a configuration file cannot name another one; put the settings here")
		return nil
	}
	cfg := c.config(Settings{Root: nodes[0], Raw: []byte(text.Content), Place: nodes[0].Place()})
	c.configs[text.File] = cfg
	return cfg
}

// Open reads a file that a configuration names; nil if it cannot be read here.
func (c *Checker) Open(at document.Place, path string) *document.Text {
	if path == "" {
		return nil
	}
	name := c.Roots.Locate(path, at.File)
	if text, known := c.Known(name); known {
		return text
	}
	info, err := os.Stat(name)
	switch {
	case err != nil || !info.Mode().IsRegular():
		c.Add("not-here", at, "%s is not on this machine and was not checked; --root DIR looks for it in DIR", path)
		return nil
	case info.Size() > document.MaxSize:
		c.Add("unreadable-file", at, "%s is larger than %d bytes", path, document.MaxSize)
		return nil
	}
	content, err := os.ReadFile(name)
	if err != nil {
		c.Add("not-here", at, "%s cannot be read here and was not checked", path)
		return nil
	}
	return c.Read(name, string(content))
}

// otherFiles looks into the files that are neither a configuration nor a table.
func (c *Checker) otherFiles(s Settings, cfg *config.Config) {
	authorities := func(section string, o section.Outbound) { c.Authorities(s.at(section+".http.ca_file"), o.CAFile) }
	if cfg.Session != nil {
		authorities("session", cfg.Session.Outbound)
	}
	if cfg.Introspection != nil {
		authorities("introspection", cfg.Introspection.Outbound)
	}
	if cfg.Redis != nil {
		c.Authorities(s.at("redis.ca_file"), cfg.Redis.CAFile)
	}
	if cfg.ErrorPages != nil {
		c.template(s.at("error_pages.template_file"), cfg.ErrorPages.TemplateFile)
	}
	if cfg.JWT == nil {
		return
	}
	authorities("jwt", cfg.JWT.Outbound)
	for _, issuer := range s.Root.Get("jwt", "issuers").Items() {
		file := issuer.Get("jwks_file")
		// Found by its file: an issuer of several tenants is several by now.
		n := slices.IndexFunc(cfg.JWT.Issuers, func(i section.Issuer) bool { return i.JWKSFile != "" && i.JWKSFile == file.Text() })
		if n >= 0 {
			c.keys(file.Place(), cfg.JWT.Issuers[n])
		}
	}
}

// Authorities checks a file with certificates.
func (c *Checker) Authorities(at document.Place, path string) {
	text := c.Open(at, path)
	if text != nil && !x509.NewCertPool().AppendCertsFromPEM([]byte(text.Content)) {
		c.Add("unreadable-file", at, "%s holds no PEM certificate", path)
	}
}

// template makes a page of every refusal, as the gate does.
func (c *Checker) template(at document.Place, path string) {
	text := c.Open(at, path)
	if text == nil {
		return
	}
	if err := browser.Check(text.File); err != nil {
		c.Add("unreadable-file", at, "%v", err)
	}
}

// keys reads a key set as the verifier of that issuer does.
func (c *Checker) keys(at document.Place, issuer section.Issuer) {
	text := c.Open(at, issuer.JWKSFile)
	if text == nil {
		return
	}
	alone := jwt.Issuer{Issuer: issuer.Issuer, JWKSFile: text.File, Algorithms: issuer.Algorithms, InsecureSkipAudience: true}
	if _, err := jwt.New(jwt.Options{Issuers: []jwt.Issuer{alone}}); err != nil {
		c.Add("unreadable-file", at, "%v", err)
	}
}
