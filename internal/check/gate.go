package check

import (
	"crypto/x509"
	"os"
	"reflect"
	"slices"
	"strings"

	"gatehouse/core/authn/jwt"
	"gatehouse/core/config"
	"gatehouse/internal/check/document"
)

// settings are the configuration of a gate, wherever it is written.
type settings struct {
	// root is the zero Node for a text that holds nothing.
	root document.Node
	raw  []byte
	// place is where the whole stands.
	place document.Place
	// reader is who reads the configuration before Gatehouse does.
	reader reader
	// secret tells that the whole is kept as a secret.
	secret bool
}

// reader is a gateway with a say of its own about values.
type reader string

const (
	byKong   reader = "Kong"
	byAPISIX reader = "APISIX"
)

// gate checks a configuration and follows the files that it names. It returns
// the paths that the gate answers itself.
func (c *checker) gate(s settings) []string {
	before := len(c.found)
	cfg, problems := config.Inspect(s.raw)
	for _, p := range problems {
		c.setting(s, p)
	}
	if cfg == nil {
		return nil
	}
	c.openDoors(s)
	c.references(s)
	if s.reader == byKong {
		c.emptyTexts(s.root, reflect.TypeFor[config.Config](), "")
	}
	if cfg.File != "" {
		return c.gateFile(s.at("file"), cfg.File)
	}
	c.parts(s, cfg, problems)
	tables := c.tablesOf(s, cfg)
	c.otherFiles(s, cfg)
	if !c.hasErrors(before) {
		c.report.Gates = append(c.report.Gates, Gate{s.place, cfg, tables})
	}
	return cfg.EndpointPaths()
}

// parts has the sections that are right by themselves made, without calling
// anybody.
func (c *checker) parts(s settings, cfg *config.Config, problems []config.Problem) {
	if len(problems) == 0 && !hasUnknown(s.root) {
		for _, p := range cfg.Refused("") {
			c.setting(s, p)
		}
	}
	for _, section := range []string{"session", "jwt", "introspection"} {
		wrong := slices.ContainsFunc(problems, func(p config.Problem) bool { return strings.HasPrefix(p.Path, section) })
		if wrong || hasUnknown(s.root.Get(section)) {
			continue
		}
		for _, p := range cfg.Refused(section) {
			c.setting(s, p)
		}
	}
}

// hasUnknown tells whether something in a section is filled in later.
func hasUnknown(n document.Node) bool {
	in := func(n document.Node) bool { return n.IsUnknown() || hasUnknown(n) }
	return slices.ContainsFunc(n.Items(), in) || slices.ContainsFunc(n.Pairs(), func(p document.Pair) bool { return in(p.Value) })
}

func (c *checker) hasErrors(from int) bool {
	for _, f := range c.found[from:] {
		if f.Severity == Error {
			return true
		}
	}
	return false
}

// at is the place of a setting, or of what it should be in.
func (s settings) at(path string) document.Place {
	found, _ := s.root.Find(path)
	return s.placeOf(found)
}

func (s settings) placeOf(found document.Pair) document.Place {
	switch {
	case found.Key.Node != nil && (found.Value.IsMap() || found.Value.IsList()):
		return found.Key.Place()
	case found.Value.Node != nil && found.Value.Node != s.root.Node:
		return found.Value.Place()
	}
	return s.place
}

// decides names, for a setting whose value others depend on, those others.
var decides = map[string][]string{
	"insecure_any_audience":              {"audience"},
	"introspection_endpoint_auth_method": {"client_id", "client_secret"},
}

// setting reports what is wrong with one, unless its value is not known yet.
func (c *checker) setting(s settings, p config.Problem) {
	found, whole := s.root.Find(p.Path)
	if whole && p.Path != "" && found.Value.IsUnknown() || s.root.Get("file").IsUnknown() {
		return
	}
	parent, key := "", p.Path
	if dot := strings.LastIndexByte(p.Path, '.'); dot >= 0 {
		parent, key = p.Path[:dot], p.Path[dot+1:]
	}
	section, _ := s.root.Find(parent)
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
	c.add("config", at, "%s", p)
}

// openDoors warns of settings that switch a check off.
func (c *checker) openDoors(s settings) {
	c.insecure(s.root)
	for _, section := range []string{"session", "jwt", "introspection"} {
		if verify := s.root.Get(section, "http", "ssl_verify"); verify.False() {
			c.add("unverified-tls", verify.Place(), "%s.http.ssl_verify is off: whoever is on the way can answer for the identity provider; use ca_file for a certificate authority of your own", section)
		}
	}
	for _, p := range s.root.Get("path").Pairs() {
		if p.Value.True() {
			c.add("relaxed-path", p.Key.Place(), "path.%s is on: if the upstream reads such a path otherwise, it serves another than the one decided on", p.Key.Value)
		}
	}
	for _, key := range []string{"roles_claim", "permissions_claim"} {
		if claim := s.root.Get("session", key); strings.Contains(claim.Text(), "traits") {
			c.add("roles-in-traits", claim.Place(), "session.%s is taken from traits, which users edit themselves; use metadata_public, which only the admin API writes", key)
		}
	}
}

// insecure finds the switches by their names, in every section.
func (c *checker) insecure(n document.Node) {
	for _, p := range n.Pairs() {
		name := p.Key.Value
		switch {
		case !strings.HasPrefix(name, "insecure_"):
			c.insecure(p.Value)
		case !p.Value.True():
		case name == "insecure_any_audience":
			c.add("insecure-any-audience", p.Key.Place(), "%s is on: a token that the issuer made for another service is accepted; list this service's own audience", name)
		case name == "insecure_no_expiry":
			c.add("insecure-no-expiry", p.Key.Place(), "%s is on: a token for which the authorization server states no expiry is accepted", name)
		default:
			c.add("insecure-setting", p.Key.Place(), "%s is on, which switches a check off", name)
		}
	}
	for _, item := range n.Items() {
		c.insecure(item)
	}
}

// references looks at how the secret is given.
func (c *checker) references(s settings) {
	secret := s.root.Get("introspection", "client_secret")
	text := secret.Text()
	switch {
	case text == "" || secret.IsUnknown():
	case strings.HasPrefix(text, "$env://") || strings.HasPrefix(text, "$file://"):
	case strings.HasPrefix(text, "{vault://") && s.reader == byKong:
	case strings.HasPrefix(text, "{vault://") || strings.HasPrefix(text, "$secret://"):
		c.add("unresolved-reference", secret.Place(), "introspection.client_secret: the reference is not resolved here and would be sent as the secret; use $env://NAME or $file:///path")
	case !s.secret:
		c.add("literal-secret", secret.Place(), "introspection.client_secret is written out; use $env://NAME or $file:///path")
	}
}

// emptyTexts reports what Kong refuses and Gatehouse reads as absent.
func (c *checker) emptyTexts(n document.Node, t reflect.Type, path string) {
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
			c.add("config", value.Place(), "%s: is empty, which Kong refuses; leave it out", name)
		}
		c.emptyTexts(value, field.Type, name)
	}
}

// gateFile checks the file that holds a whole configuration, once however many
// routes name it.
func (c *checker) gateFile(at document.Place, path string) []string {
	text := c.open(at, path)
	if text == nil {
		return nil
	}
	if !c.first("gate", text.File) {
		return c.served[text.File]
	}
	nodes, problems := document.Parse(text)
	for _, p := range problems {
		c.add("syntax", p.Place, "%s", p.Text)
	}
	if len(nodes) == 0 {
		return nil
	}
	if file := nodes[0].Pair("file"); file.Value.Present() {
		c.add("config", file.Key.Place(), "file: a configuration file cannot name another one; put the settings here")
		return nil
	}
	paths := c.gate(settings{root: nodes[0], raw: []byte(text.Content), place: nodes[0].Place()})
	c.served[text.File] = paths
	return paths
}

// open reads a file that a configuration names; nil if it cannot be read here.
func (c *checker) open(at document.Place, path string) *document.Text {
	if path == "" {
		return nil
	}
	name := c.options.Roots.Locate(path, at.File)
	if text, ok := c.texts[name]; ok {
		return &document.Text{File: name, Content: text}
	}
	info, err := os.Stat(name)
	switch {
	case err != nil || !info.Mode().IsRegular():
		c.add("not-here", at, "%s is not on this machine and was not checked; --root DIR looks for it in DIR", path)
		return nil
	case info.Size() > document.MaxSize:
		c.add("unreadable-file", at, "%s is larger than %d bytes", path, document.MaxSize)
		return nil
	}
	content, err := os.ReadFile(name)
	if err != nil {
		c.add("not-here", at, "%s cannot be read here and was not checked", path)
		return nil
	}
	c.order = append(c.order, name)
	c.texts[name] = string(content)
	return &document.Text{File: name, Content: string(content)}
}

// otherFiles looks into the files that are neither a configuration nor a table.
func (c *checker) otherFiles(s settings, cfg *config.Config) {
	authorities := func(section string, o config.Outbound) { c.authorities(s.at(section+".http.ca_file"), o.CAFile) }
	if cfg.Session != nil {
		authorities("session", cfg.Session.Outbound)
	}
	if cfg.Introspection != nil {
		authorities("introspection", cfg.Introspection.Outbound)
	}
	if cfg.JWT == nil {
		return
	}
	authorities("jwt", cfg.JWT.Outbound)
	for i, issuer := range s.root.Get("jwt", "issuers").Items() {
		if i < len(cfg.JWT.Issuers) && cfg.JWT.Issuers[i].JWKSFile != "" {
			c.keys(issuer.Get("jwks_file").Place(), cfg.JWT.Issuers[i])
		}
	}
}

func (c *checker) authorities(at document.Place, path string) {
	text := c.open(at, path)
	if text != nil && !x509.NewCertPool().AppendCertsFromPEM([]byte(text.Content)) {
		c.add("unreadable-file", at, "%s holds no PEM certificate", path)
	}
}

// keys reads a key set as the verifier of that issuer does.
func (c *checker) keys(at document.Place, issuer config.Issuer) {
	text := c.open(at, issuer.JWKSFile)
	if text == nil {
		return
	}
	alone := jwt.Issuer{Issuer: issuer.Issuer, JWKSFile: text.File, Algorithms: issuer.Algorithms, InsecureSkipAudience: true}
	if _, err := jwt.New(jwt.Options{Issuers: []jwt.Issuer{alone}}); err != nil {
		c.add("unreadable-file", at, "%v", err)
	}
}
