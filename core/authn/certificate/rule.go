package certificate

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
)

// Rule says which certificates are those of callers. All of its patterns have to match; the
// name that the first one has matched is the subject of the caller.
//
// In a pattern * stands for one or more characters but those that separate the parts of
// such a name: "." in a host name, "/", "?" and "#" in a URI, "@" in an email address, ","
// "+" and "=" in a distinguished name.
type Rule struct {
	SANURI, SANDNS, SANEmail, SANIP, CommonName, SubjectDN string
	// Roles are those of the callers.
	Roles []string
}

// field is a name that a rule looks at.
type field struct {
	name, pattern string
	// separators are characters that no * stands for.
	separators string
	// constrained says that name constraints of authorities are about such names.
	constrained bool
}

// fields are those of a rule that are set; the first one names the caller.
func (r *Rule) fields() []field {
	all := []field{
		{"san_uri", r.SANURI, "/?#", true}, {"san_dns", strings.ToLower(strings.TrimSuffix(r.SANDNS, ".")), ".", true}, {"san_email", r.SANEmail, "@", true},
		{"san_ip", r.SANIP, "", true}, {"common_name", r.CommonName, "", false}, {"subject_dn", withoutSpaces(r.SubjectDN), ",+=", false},
	}
	return slices.DeleteFunc(all, func(f field) bool { return f.pattern == "" })
}

// withoutSpaces is a distinguished name as it is compared: people write a space behind the
// commas.
func withoutSpaces(dn string) string {
	var b strings.Builder
	for i := 0; i < len(dn); i++ {
		b.WriteByte(dn[i])
		switch {
		case dn[i] == '\\' && i+1 < len(dn):
			i++
			b.WriteByte(dn[i])
		case dn[i] == ',':
			for i+1 < len(dn) && dn[i+1] == ' ' {
				i++
			}
		}
	}
	return b.String()
}

// Check says what is wrong with a rule.
func (r *Rule) Check() error {
	fields := r.fields()
	if len(fields) == 0 {
		return errors.New("names no pattern: set san_uri, san_dns, san_email, san_ip, common_name or subject_dn; * for any")
	}
	for _, f := range fields {
		if !isName(f.pattern) {
			return fmt.Errorf("%s is not one line of at most %d bytes", f.name, maxName)
		}
	}
	if r.SANIP != "" {
		if _, err := networkOf(r.SANIP); err != nil {
			return fmt.Errorf("san_ip: %w", err)
		}
	}
	if dn := r.SubjectDN; strings.HasPrefix(dn, "/") || dn != "" && dn != "*" && !strings.Contains(dn, "=") {
		return errors.New("subject_dn is not of the form CN=robot-1,OU=machines,O=Acme (openssl x509 -noout -subject -nameopt RFC2253)")
	}
	return nil
}

func networkOf(text string) (netip.Prefix, error) {
	if addr, err := netip.ParseAddr(text); err == nil {
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	network, err := netip.ParsePrefix(text)
	if err != nil || network != network.Masked() {
		return network, fmt.Errorf("%.60q is no address and no network such as 10.0.0.0/8", text)
	}
	return network, nil
}

// errNoMatch: a certificate that a rule is not about.
var errNoMatch = errors.New("no rule of subjects matches a name of the certificate")

// subject is the name of the caller, by a rule that matches.
func (r *Rule) subject(c *x509.Certificate, isConstrained bool) (string, error) {
	subject := ""
	for i, f := range r.fields() {
		value, err := f.find(c)
		switch {
		case err != nil:
			return "", err
		case isConstrained && !f.constrained:
			return "", fmt.Errorf("an authority of the certificate has name constraints, which are not about %s: match an alternative name", f.name)
		case i == 0:
			subject = value
		}
	}
	return subject, nil
}

// find is the one name of a certificate that matches.
func (f field) find(c *x509.Certificate) (found string, err error) {
	values, err := f.values(c)
	if err != nil {
		return "", err
	}
	for _, value := range values {
		switch {
		case !f.matches(value) || value == found:
		case found != "":
			return "", fmt.Errorf("two names of the certificate match %s: %.60q and %.60q", f.name, found, value)
		case !isName(value) || f.name == "san_dns" && strings.Contains(value, "*"):
			return "", fmt.Errorf("%s of the certificate (%.60q) is the name of no single caller", f.name, value)
		default:
			found = value
		}
	}
	if found == "" {
		return "", errNoMatch
	}
	return found, nil
}

func (f field) values(c *x509.Certificate) ([]string, error) {
	one := func(value string, err error) ([]string, error) { return []string{value}, err }
	switch f.name {
	case "common_name":
		return one(commonName(c))
	case "subject_dn":
		return one(distinguishedName(c.RawSubject))
	}
	return alternativeNames(c)[f.name], nil
}

func (f field) matches(value string) bool {
	if value == "" || len(value) > maxName {
		return false
	}
	if f.name == "san_ip" {
		network, err := networkOf(f.pattern)
		addr, ok := netip.AddrFromSlice(net.ParseIP(value))
		return err == nil && ok && network.Contains(addr.Unmap())
	}
	return matches(f.pattern, value, f.separators)
}

// matches compares a text with a pattern in which * stands for one or more characters, but
// for separators. A pattern that is * alone matches every text.
func matches(pattern, text, separators string) bool {
	if pattern == "*" {
		return true
	}
	isPart := func(at int) bool { return at < len(text) && strings.IndexByte(separators, text[at]) < 0 }
	star, end := -1, 0 // the last *, and behind what it stands for
	p, t := 0, 0
	for t < len(text) {
		switch {
		case p < len(pattern) && pattern[p] == '*' && isPart(t):
			star, end = p, t+1
			p, t = p+1, t+1
		case p < len(pattern) && pattern[p] == text[t] && pattern[p] != '*':
			p, t = p+1, t+1
		case star >= 0 && isPart(end):
			end++
			p, t = star+1, end
		default:
			return false
		}
	}
	return p == len(pattern)
}
