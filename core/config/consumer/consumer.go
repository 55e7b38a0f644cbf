// Package consumer has the settings that say which consumer of a gateway a caller is, and
// reads it from their credential.
package consumer

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"gatehouse/core"
	"gatehouse/core/config/section"
	"gatehouse/core/httpsyntax"
	"gatehouse/core/setting"
)

// Rules are those of a configuration.
type Rules []Rule

// Rule is how the users of one issuer are found among the consumers.
type Rule struct {
	Issuer   string `config:"issuer" required:"true" doc:"Issuer whose users they are, exactly: iss of a token or of an introspection response, the issuer of a provider of login.oidc, the owner's issuer of an API token, and for Ory Kratos sessions, which name none, the value of session.kratos_url. Users of an issuer that is not listed have no consumer, whatever they are called."`
	Claim    string `config:"consumer_claim" required:"true" doc:"Claim that names the consumer, such as sub, client_id, azp or org.account. One alone, a text or a whole number: a list never names a consumer. Nobody but the issuer may choose its values: a name or an email address that users can change makes them any consumer. Of an API token only sub and client_id count."`
	By       string `config:"consumer_by" default:"username" one_of:"username,custom_id,id" doc:"What the claim is of the consumer: its username, its custom_id (in APISIX its label custom_id) or its id (in APISIX the same as username, unless a file sets id)."`
	Optional bool   `config:"consumer_optional" default:"false" doc:"Whether a user without such a consumer, or without the claim, goes on without a consumer. Otherwise they get 403."`
}

// Accepted are the credentials of a configuration.
type Accepted struct {
	Session       *section.Session
	JWT           *section.JWT
	Introspection *section.Introspection
	// Others says that there are more, whose issuers are not known here.
	Others bool
	// Headers are those of upstream_headers.
	Headers map[string]string
}

// Check reports what no single tag can say.
func (r Rules) Check(v section.Validator, a Accepted) {
	known := a.issuers()
	for n, rule := range r {
		at := section.Item("consumers", n)
		if slices.ContainsFunc(r[:n], func(o Rule) bool { return o.Issuer == rule.Issuer }) {
			v.Add(at+".issuer", "is there twice: the users of an issuer are found in one way")
		}
		if !a.Others && rule.Issuer != "" && !slices.Contains(known, rule.Issuer) {
			v.Add(at+".issuer", "is no issuer whose credentials are accepted, which are %s; it is compared exactly, with or without a slash at its end", quoted(known))
		}
		if rule.Claim != "" {
			a.checkClaim(v, at+".consumer_claim", rule)
		}
	}
	if len(r) == 0 {
		return
	}
	if a.Introspection != nil && a.Introspection.Issuer == "" && !v.Mentions("introspection.issuer") {
		v.Add("introspection.issuer", "is needed for consumers: a server that may name any issuer could name another one's users")
	}
	for _, name := range slices.Sorted(maps.Keys(a.Headers)) {
		if IsHeader(name) {
			v.Add(setting.Join("upstream_headers", setting.ShownKey(name)), "is a header by which the gateway itself tells of the consumer; use another name beside consumers")
		}
	}
}

func (a Accepted) checkClaim(v section.Validator, at string, rule Rule) {
	path, err := core.ParseClaimPath(rule.Claim)
	switch {
	case strings.Contains(rule.Claim, ",") || err == nil && path.IsUnion():
		v.Add(at, "names several claims; name one: the value of another could be somebody else's")
	case err != nil:
		v.Add(at, "%v", err)
	case a.Session != nil && rule.Issuer == a.Session.KratosURL && strings.HasPrefix(path.String(), "identity.traits"):
		v.Add(at, "is a trait, which users change themselves, and so would choose their consumer; use sub, identity.metadata_public or identity.metadata_admin")
	}
}

// issuers are those that are known.
func (a Accepted) issuers() (known []string) {
	if a.Session != nil {
		known = append(known, a.Session.KratosURL)
	}
	if a.JWT != nil {
		own := *a.JWT
		own.Expand()
		for _, i := range own.Issuers {
			known = append(known, i.Issuer)
		}
	}
	if a.Introspection != nil && a.Introspection.Issuer != "" {
		known = append(known, a.Introspection.Issuer)
	}
	return known
}

// Headers are those by which a gateway tells of a consumer; none without rules.
func (r Rules) Headers() []string {
	if len(r) == 0 {
		return nil
	}
	return []string{"X-Consumer-ID", "X-Consumer-Custom-ID", "X-Consumer-Username", "X-Consumer-Groups", "X-Credential-Identifier", "X-Anonymous-Consumer"}
}

// IsHeader reports whether a gateway tells its upstreams of consumers by a header of a
// name, or of one that many read as the same.
func IsHeader(name string) bool {
	const family = "X-Consumer-"
	return len(name) > len(family) && httpsyntax.FoldEqual(name[:len(family)], family) ||
		httpsyntax.FoldEqual(name, "X-Credential-Identifier") || httpsyntax.FoldEqual(name, "X-Anonymous-Consumer")
}

func quoted(texts []string) string {
	shown := make([]string, len(texts))
	for i, text := range texts {
		shown[i] = strconv.Quote(text)
	}
	return strings.Join(shown, ", ")
}

// Mapping finds out which consumer a caller is; nil: none is configured.
type Mapping struct {
	rules map[string]mapped
	// sessions is the issuer of sessions, which name none.
	sessions string
}

type mapped struct {
	Rule
	path core.ClaimPath
}

// Mapping compiles rules that Check has passed.
func (r Rules) Mapping(s *section.Session) *Mapping {
	if len(r) == 0 {
		return nil
	}
	m := &Mapping{rules: map[string]mapped{}}
	if s != nil {
		m.sessions = s.KratosURL
	}
	for _, rule := range r {
		path, _ := core.ParseClaimPath(rule.Claim) // which Check has done
		m.rules[rule.Issuer] = mapped{rule, path}
	}
	return m
}

// Caller is what a gateway gets to know of a caller.
type Caller struct {
	// ID is the same for all credentials of a caller, and nobody else's. Empty: nobody is
	// known.
	ID string
	// By is how the consumer is looked up; empty: there is none to look up.
	By string
	// Value is what it is looked up by; empty: the credential names none.
	Value string
	// Optional says that the caller goes on without one.
	Optional bool
}

// Of is who a principal is; nil is nobody.
func (m *Mapping) Of(p *core.Principal) Caller {
	if p == nil {
		return Caller{}
	}
	issuer := p.Issuer
	if issuer == "" && p.Kind == core.KindSession {
		issuer = m.sessions
	}
	c := Caller{ID: id(issuer, p)}
	if rule, ok := m.rules[issuer]; ok && issuer != "" {
		c.By, c.Optional, c.Value = rule.By, rule.Optional, rule.value(p)
	}
	return c
}

// id has the form of a UUID (RFC 9562 section 5.8), as the ids of the gateways'
// credentials have.
func id(issuer string, p *core.Principal) string {
	who := [...]string{issuer, p.Subject, ""}
	if p.Subject == "" {
		who[2] = p.ClientID
	}
	var room [256]byte
	b := room[:0]
	for _, text := range who {
		b = append(binary.BigEndian.AppendUint32(b, uint32(len(text))), text...)
	}
	sum := sha256.Sum256(b)
	sum[6], sum[8] = sum[6]&0x0f|0x80, sum[8]&0x3f|0x80
	var text [36]byte
	hex.Encode(text[:8], sum[:4])
	hex.Encode(text[9:13], sum[4:6])
	hex.Encode(text[14:18], sum[6:8])
	hex.Encode(text[19:23], sum[8:10])
	hex.Encode(text[24:], sum[10:16])
	text[8], text[13], text[18], text[23] = '-', '-', '-', '-'
	return string(text[:])
}

// value is empty for all that does not name exactly one consumer. An API token has a name
// that its owner has chosen.
func (m mapped) value(p *core.Principal) string {
	if p.Kind == core.KindAPIToken && m.path.String() != "sub" && m.path.String() != "client_id" {
		return ""
	}
	claim, _ := p.Claim(m.path)
	switch v := claim.(type) {
	case string:
		if isName(v) {
			return v
		}
	case json.Number:
		if n, err := strconv.ParseInt(v.String(), 10, 64); err == nil && strconv.FormatInt(n, 10) == v.String() {
			return v.String()
		}
	case float64:
		if v == math.Trunc(v) && math.Abs(v) < 1<<53 {
			return strconv.FormatInt(int64(v), 10)
		}
	}
	return ""
}

// maxName is in bytes.
const maxName = 1024

func isName(text string) bool {
	return text != "" && len(text) <= maxName && utf8.ValidString(text) && strings.TrimSpace(text) == text && !strings.ContainsFunc(text, unicode.IsControl)
}
