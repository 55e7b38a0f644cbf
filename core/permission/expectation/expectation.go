// Package expectation reads the files that say what a permission table must
// decide.
package expectation

import (
	"encoding/json"
	"net/netip"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"gatehouse/core"
	"gatehouse/core/actor"
	"gatehouse/core/permission/prove"
	"gatehouse/core/permission/report"
	"gatehouse/core/permission/require"
	"gatehouse/core/permission/strictyaml"
)

// File says what a table must decide.
type File struct {
	Name string
	// Tables are the files of the table, as written; relative ones are meant
	// from the folder of this file.
	Tables []string
	// Config is the file of a gate's configuration, as written; empty for the
	// default settings. Route or Gate chooses among several in it.
	Config, Route, Gate string
	List                []Expectation
	// Properties are what must hold for all calls and callers.
	Properties []prove.Property
}

// Expectation is one call by one caller and what must come of it.
type Expectation struct {
	Place   report.Place
	Who     Caller
	Method  string
	Target  string
	Host    string
	Scheme  string
	Headers []core.Header
	// Peer is not valid where the file does not say.
	Peer    netip.Addr
	Allowed bool
	// Status is that of the response of the gate itself; 0 for any.
	Status int
	// Upstream and Response are headers that the upstream or the client must
	// receive. An empty value stands for none.
	Upstream, Response []core.Header
	// Answer is what the decision point answers to every question of the call; nil where
	// the file does not say.
	Answer *bool
	Why    string
}

// Caller is who makes a call in an expectation.
type Caller struct {
	Anonymous                  bool
	Scopes, Roles, Permissions []string
	Subject, ClientID, Issuer  string
	Kind                       core.Kind
	AAL                        string
	// AuthenticatedAgo is zero where the file does not say.
	AuthenticatedAgo time.Duration
	// Claims is a JSON object; nil where there are none.
	Claims      json.RawMessage
	ClaimsPlace report.Place
	// DPoP says that the token comes with a DPoP proof of the key that it is bound to.
	DPoP bool
	// Certificate is a file with the client certificate of the connection, as written;
	// empty: there is none.
	Certificate      string
	CertificatePlace report.Place
	// Actor is who acts for the caller; nil: nobody does.
	Actor *core.Actor
}

var expectationsKeys = strictyaml.Keys{
	{Name: "table", Schema: nonEmptyWords(schema{"type": "string"}), Doc: "Files of the permission table, from the folder of this file."},
	{Name: "config", Schema: filledText(), Doc: "File with the gate's configuration, from the folder of this file."},
	{Name: "route", Schema: filledText(), Doc: "The route of Kong or APISIX whose configuration counts, where the file holds several."},
	{Name: "gate", Schema: filledText(), Doc: "The gate of gatehouse-forwardauth that counts, where the file holds several."},
	{Name: "expect", Schema: expectSchema(), Doc: "What the gate must decide."},
	{Name: "properties", Schema: schema{"type": "array", "items": propertyKeys.JSONSchema()}, Doc: "What holds for all calls and all callers; gatehouse prove answers them."},
}

var expectationKeys = strictyaml.Keys{
	{Name: "who", Schema: whoSchema(), Required: true, Doc: "Who calls: anonymous, or what their credential states."},
	{Name: "method", Schema: filledText(), Doc: "The method of the call."},
	{Name: "path", Schema: schema{"type": "string", "pattern": "^/"}, Doc: "The request target of the call, as it stands on the request line."},
	{Name: "calls", Schema: nonEmptyWords(schema{"type": "string", "pattern": "^[^ ]* /[^ ]*$"}), Doc: "Several calls, each with a method and a request target: GET /users/7."},
	{Name: "host", Schema: filledText(), Doc: "The host that is called."},
	{Name: "scheme", Schema: oneOf("http", "https"), Doc: "The scheme by which the client reached the gateway: http or https."},
	{Name: "headers", Schema: headers(), Doc: "Headers of the request by name."},
	{Name: "peer", Schema: filledText(), Doc: "The address of the client."},
	{Name: "answer", Schema: schema{"type": "boolean"}, Doc: "What the decision point answers to every question of the call."},
	{Name: "allowed", Schema: schema{"type": "boolean"}, Required: true, Doc: "Whether the call must be allowed."},
	{Name: "status", Schema: schema{"type": "integer", "minimum": 200, "maximum": 599}, Doc: "The status of the response of the gate to a call that does not reach the upstream."},
	{Name: "upstream_headers", Schema: headers(), Doc: "Headers that the upstream must receive with an allowed call, by name; empty for none."},
	{Name: "response_headers", Schema: headers(), Doc: "Headers that the client must receive from the gate, by name; empty for none."},
	{Name: "why", Schema: filledText(), Required: true, Doc: "Why, for whoever reads a failure."},
}

var whoKeys = strictyaml.Keys{
	{Name: "scopes", Schema: words(), Doc: "Scopes of the caller's token."},
	{Name: "roles", Schema: words(), Doc: "Roles of the caller."},
	{Name: "permissions", Schema: words(), Doc: "Permissions that the credential states."},
	{Name: "sub", Schema: filledText(), Doc: "Subject of the credential."},
	{Name: "client_id", Schema: filledText(), Doc: "Client that the token was issued to."},
	{Name: "issuer", Schema: filledText(), Doc: "Issuer of the token."},
	{Name: "kind", Schema: kindSchema(), Doc: "Kind of credential."},
	{Name: "aal", Schema: levelSchema(), Doc: "Assurance level of the sign-in."},
	{Name: "authenticated_ago", Schema: schema{"type": "string"}, Doc: "Age of the sign-in, such as 90s, 15m or 12h."},
	{Name: "claims", Schema: schema{"type": "object"}, Doc: "Claims of the token, or a session document."},
	{Name: "dpop", Schema: schema{"type": "boolean"}, Doc: "Whether the token comes with a DPoP proof of the key that it is bound to."},
	{Name: "actor", Schema: schema{"anyOf": []schema{filledText(), nonEmptyWords(filledText())}}, Doc: "Id of the actor to whom the credential is delegated, such as https://login.example.com/#agent-7; or a list, with those who acted before, the latest first."},
	{Name: "certificate", Schema: filledText(), Doc: "PEM file with the client certificate of the connection, from the folder of this file."},
}

// anonymousWho is the text that stands for a caller without a credential.
const anonymousWho = "anonymous"

// Parse reads a file of expectations. The error, if any, is a report.Problems that
// holds every error of the file.
func Parse(name string, content []byte) (*File, error) {
	p := &parser{strictyaml.Reader{File: name}}
	e := &File{Name: name}
	if root := p.Document(content, "the file is empty; list expectations under expect"); root != nil {
		p.expectations(root, e)
	}
	if err := p.Err(); err != nil {
		return nil, err
	}
	return e, nil
}

// parser turns YAML nodes into a File.
type parser struct{ strictyaml.Reader }

func (p *parser) expectations(root *yaml.Node, to *File) {
	says := false
	for _, e := range p.Fixed(root, "the file", expectationsKeys) {
		switch e.Name {
		case "table":
			for _, w := range p.NonEmptyWords(e.Value, "table", "files") {
				to.Tables = append(to.Tables, w.Name)
			}
		case "config":
			to.Config = p.filled(e.Value, e.Name)
		case "route":
			to.Route = p.filled(e.Value, e.Name)
		case "gate":
			to.Gate = p.filled(e.Value, e.Name)
		case "expect":
			for _, item := range p.Items(e.Value, "expect", "expectations") {
				to.List = append(to.List, p.expectation(item)...)
			}
		case "properties":
			for _, item := range p.Items(e.Value, "properties", "properties") {
				to.Properties = append(to.Properties, p.property(item))
			}
		}
		says = says || e.Name == "expect" || e.Name == "properties"
	}
	if !says && root.Kind == yaml.MappingNode {
		p.Refuse(root, "the file has neither the key expect nor properties; add one of them")
	}
}

// expectation returns one for each call.
func (p *parser) expectation(n *yaml.Node) []Expectation {
	const what = "expectation"
	one := Expectation{Place: p.At(n)}
	var calls []Expectation
	keysSeen := map[string]bool{}
	for _, e := range p.Fixed(n, what, expectationKeys) {
		keysSeen[e.Name] = true
		switch e.Name {
		case "calls":
			calls = p.calls(e.Value)
		case "who":
			one.Who = p.who(e.Value)
		case "answer":
			if yes, ok := p.Boolean(e.Value, e.Name); ok {
				one.Answer = &yes
			}
		case "why":
			one.Why = p.filled(e.Value, e.Name)
		case "allowed", "status", "upstream_headers", "response_headers":
			p.effect(e.Name, e.Value, &one)
		default:
			p.request(e.Name, e.Value, &one)
		}
	}
	p.checkEffect(n, keysSeen, one.Allowed)
	switch single := keysSeen["method"] || keysSeen["path"]; {
	case n.Kind != yaml.MappingNode:
	case single == keysSeen["calls"]:
		p.Refuse(n, "%s needs either method and path or calls; give one of them", what)
	case single && !(keysSeen["method"] && keysSeen["path"]):
		p.Refuse(n, "%s needs both method and path; add the other, or write calls: [GET /users]", what)
	}
	if calls == nil {
		return []Expectation{one}
	}
	for i := range calls {
		at, method, target := calls[i].Place, calls[i].Method, calls[i].Target
		calls[i] = one
		calls[i].Place, calls[i].Method, calls[i].Target = at, method, target
	}
	return calls
}

// request reads one part of the request.
func (p *parser) request(key string, n *yaml.Node, to *Expectation) {
	switch key {
	case "method":
		to.Method = p.filled(n, key)
	case "path":
		to.Target = p.target(n, p.filled(n, key))
	case "host":
		to.Host = p.filled(n, key)
	case "scheme":
		to.Scheme = p.OneOf(n, key, []string{"http", "https"})
	case "headers":
		to.Headers = p.headers(n, key)
	case "peer":
		text := p.filled(n, key)
		var err error
		if to.Peer, err = netip.ParseAddr(text); err != nil && text != "" {
			p.Refuse(n, "peer %s is no IP address; write one such as 192.0.2.1", report.Quote(text))
		}
	}
}

// effect reads one part of what must come of the request.
func (p *parser) effect(key string, n *yaml.Node, to *Expectation) {
	switch key {
	case "allowed":
		to.Allowed, _ = p.Boolean(n, key)
	case "status":
		if err := n.Decode(&to.Status); err != nil || to.Status < 200 || to.Status > 599 {
			p.Refuse(n, "status is not that of a response of the gate; write a number from 200 to 599, such as 403")
		}
	case "upstream_headers":
		to.Upstream = p.headers(n, key)
	case "response_headers":
		to.Response = p.headers(n, key)
	}
}

// checkEffect refuses what cannot come of the request.
func (p *parser) checkEffect(n *yaml.Node, seen map[string]bool, allowed bool) {
	key, why := "upstream_headers", "a denied call does not reach the upstream"
	if allowed {
		key, why = "status", "it is the upstream's"
	}
	if seen[key] && seen["allowed"] {
		p.Refuse(n, "%s does not go with allowed: %t, because %s; leave it out", key, allowed, why)
	}
}

func (p *parser) filled(n *yaml.Node, what string) string {
	text, ok := p.Text(n, what)
	if ok && strings.TrimSpace(text) == "" {
		p.Refuse(n, "%s is empty; write it", what)
	}
	return text
}

func (p *parser) target(n *yaml.Node, target string) string {
	if target != "" && !strings.HasPrefix(target, "/") {
		p.Refuse(n, "path %s does not begin with a slash; write the request target, not a regex", report.Quote(target))
	}
	return target
}

func (p *parser) calls(n *yaml.Node) []Expectation {
	calls := []Expectation{}
	for _, e := range p.NonEmptyWords(n, "calls", "calls such as GET /users/7") {
		method, target, ok := strings.Cut(e.Name, " ")
		if !ok || strings.Contains(target, " ") {
			p.Refuse(e.Value, "calls: %s is no call; write a method and a request target, as in GET /users/7", report.Quote(e.Name))
			continue
		}
		calls = append(calls, Expectation{Place: p.At(e.Value), Method: method, Target: p.target(e.Value, target)})
	}
	return calls
}

func (p *parser) headers(n *yaml.Node, what string) []core.Header {
	var headers []core.Header
	for _, e := range p.Named(n, what, "header") {
		if value, ok := p.Text(e.Value, "header "+report.Quote(e.Name)); ok {
			headers = append(headers, core.Header{Name: e.Name, Value: value})
		}
	}
	return headers
}

func (p *parser) who(n *yaml.Node) (c Caller) {
	if n.Kind == yaml.ScalarNode && n.Value == anonymousWho {
		return Caller{Anonymous: true}
	}
	if n.Kind != yaml.MappingNode {
		p.Refuse(n, "who is %s; write anonymous, or a mapping such as {roles: [clerk]}", strictyaml.KindOf(n))
		return c
	}
	names := func(n *yaml.Node, what string) (list []string) {
		for _, w := range p.Words(n, "who: "+what, what) {
			list = append(list, w.Name)
		}
		return list
	}
	for _, e := range p.Fixed(n, "who", whoKeys) {
		switch e.Name {
		case "scopes":
			c.Scopes = names(e.Value, e.Name)
		case "roles":
			c.Roles = names(e.Value, e.Name)
		case "permissions":
			c.Permissions = names(e.Value, e.Name)
		case "sub":
			c.Subject = p.filled(e.Value, "who: sub")
		case "client_id":
			c.ClientID = p.filled(e.Value, "who: client_id")
		case "issuer":
			c.Issuer = p.filled(e.Value, "who: issuer")
		case "kind":
			c.Kind = core.Kind(p.OneOf(e.Value, "who: kind", core.KindNames()))
		case "aal":
			c.AAL = p.OneOf(e.Value, "who: aal", require.AssuranceLevels)
		case "authenticated_ago":
			c.AuthenticatedAgo = p.Duration(e.Value, "who: authenticated_ago")
		case "claims":
			c.Claims, c.ClaimsPlace = p.claims(e.Value), p.At(e.Value)
		case "dpop":
			c.DPoP, _ = p.Boolean(e.Value, "who: dpop")
		case "actor":
			c.Actor = p.actor(e.Value)
		case "certificate":
			c.Certificate, c.CertificatePlace = p.filled(e.Value, "who: certificate"), p.At(e.Value)
		}
	}
	return c
}

// actor reads one id, or those of a chain.
func (p *parser) actor(n *yaml.Node) (chain *core.Actor) {
	ids := []strictyaml.Entry{{Name: n.Value, Value: n}}
	if n.Kind != yaml.ScalarNode {
		ids = p.NonEmptyWords(n, "who: actor", "ids of actors")
	}
	for _, id := range slices.Backward(ids) {
		a, err := actor.Parse(id.Name)
		if err != nil {
			p.Refuse(id.Value, "who: actor %s %s", report.Quote(id.Name), err)
			continue
		}
		a.Before, chain = chain, a
	}
	return chain
}

// claims turns a mapping into the JSON object that a token would hold.
func (p *parser) claims(n *yaml.Node) json.RawMessage {
	if n.Kind != yaml.MappingNode {
		p.Refuse(n, "who: claims is %s where a mapping belongs; write the claims of a token", strictyaml.KindOf(n))
		return nil
	}
	var value map[string]any
	if err := n.Decode(&value); err != nil {
		p.Refuse(n, "who: claims cannot be read; use texts, numbers, true, false, lists and mappings with texts as keys")
		return nil
	}
	out, err := json.Marshal(value)
	if err != nil {
		p.Refuse(n, "who: claims cannot be written as JSON; use texts, numbers, true, false, lists and mappings with texts as keys")
		return nil
	}
	return out
}

// String names a caller in a few words.
func (c *Caller) String() string {
	if c.Anonymous {
		return anonymousWho
	}
	var parts []string
	add := func(one string, names []string) {
		for _, name := range names {
			parts = append(parts, one+" "+name)
		}
	}
	add("role", c.Roles)
	add("scope", c.Scopes)
	add("permission", c.Permissions)
	for _, part := range []struct{ name, value string }{{"sub", c.Subject}, {"client", c.ClientID}, {"issuer", c.Issuer}} {
		if part.value != "" {
			parts = append(parts, part.name+" "+part.value)
		}
	}
	if c.Kind != "" {
		parts = append(parts, string(c.Kind))
	}
	if c.AAL != "" {
		parts = append(parts, c.AAL)
	}
	if c.AuthenticatedAgo > 0 {
		parts = append(parts, "authenticated "+require.ShortDuration(c.AuthenticatedAgo)+" ago")
	}
	if c.Claims != nil {
		parts = append(parts, "claims "+string(c.Claims))
	}
	if c.DPoP {
		parts = append(parts, "with a DPoP proof")
	}
	for _, a := range c.Actor.Chain() {
		parts = append(parts, "actor "+a.String())
	}
	if c.Certificate != "" {
		parts = append(parts, "certificate "+c.Certificate)
	}
	if parts == nil {
		return "any valid credential"
	}
	return strings.Join(slices.Clip(parts), ", ")
}
