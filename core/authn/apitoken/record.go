package apitoken

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
	"unicode"

	"gatehouse/core/httpsyntax"
	"gatehouse/core/permission/pattern"
)

// Record is what is kept of a token. It holds no secret.
type Record struct {
	// ID names the token to people and in logs. It reveals nothing of it.
	ID     string
	Digest Digest
	// Name is what the owner calls it.
	Name  string
	Owner Owner
	// Grants are what it may do; what is absent is not granted.
	Grants
	// Networks and Hosts are where it may be used; nil: anywhere.
	Networks []netip.Prefix
	Hosts    []string
	Created  time.Time
	// CreatedBy is who made it.
	CreatedBy string
	// Expires is when it ends. Zero: never, which only Options.InsecureNoExpiry accepts.
	Expires time.Time
	// Revoked is when it was revoked; zero: it is not.
	Revoked time.Time
	// LastUsed is about when it was last accepted; zero: not known.
	LastUsed time.Time
}

// Owner is whose a token is: a user's, by Subject and Issuer, or a service account's.
type Owner struct{ Subject, Issuer, ServiceAccount string }

func (o Owner) String() string {
	switch {
	case o.ServiceAccount != "":
		return "service account " + o.ServiceAccount
	case o.Issuer != "":
		return o.Subject + " of " + o.Issuer
	}
	return o.Subject
}

// Grants are what somebody, or something, may do.
type Grants struct{ Roles, Permissions, Scopes []string }

// The bounds of what a record holds.
const (
	maxText  = 200
	maxNames = 500
	maxList  = 100
)

// Check says what is wrong with a record, all of it, as errors that name no secret.
func (r *Record) Check() error {
	var problems []error
	add := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	if !isName(r.ID) {
		add("id is needed, of letters, digits, '-', '_' and '.', at most %d of them", maxText)
	}
	if r.Digest == (Digest{}) {
		add("digest is needed: sha256: and 64 hexadecimal digits in lower case")
	}
	if len(r.Name) > maxText || len(r.CreatedBy) > maxText {
		add("name or created_by is longer than %d bytes", maxText)
	}
	if strings.ContainsFunc(r.Name+r.CreatedBy+r.Owner.Subject+r.Owner.Issuer, unicode.IsControl) {
		add("name, created_by, subject or issuer holds a control character")
	}
	if err := r.Owner.check(); err != nil {
		problems = append(problems, err)
	}
	if err := r.Grants.Check(); err != nil {
		problems = append(problems, err)
	}
	if r.Created.IsZero() {
		add("created is needed")
	}
	if !r.Expires.IsZero() && !r.Expires.After(r.Created) {
		add("expires is not after created")
	}
	problems = append(problems, checkNetworks(r.Networks), checkHosts(r.Hosts))
	return errors.Join(problems...)
}

func (o Owner) check() error {
	switch {
	case o.Subject == "" && o.ServiceAccount == "":
		return errors.New("subject or service_account is needed: whose is the token?")
	case o.Subject != "" && o.ServiceAccount != "":
		return errors.New("has subject and service_account; a token has one owner")
	case o.ServiceAccount != "" && o.Issuer != "":
		return errors.New("has issuer beside service_account; leave it out")
	case len(o.Subject) > 10*maxText || len(o.Issuer) > 10*maxText:
		return fmt.Errorf("subject or issuer is longer than %d bytes", 10*maxText)
	case o.ServiceAccount != "":
		return CheckAccountName(o.ServiceAccount)
	}
	return nil
}

// CheckAccountName says what is wrong with the name of a service account.
func CheckAccountName(name string) error {
	if !isName(name) {
		return fmt.Errorf("%.40q is no name of a service account: use letters, digits, '-', '_' and '.', at most %d of them", name, maxText)
	}
	return nil
}

func isName(text string) bool {
	odd := func(r rune) bool {
		return r >= 0x80 || !httpsyntax.IsAlphanumeric(byte(r)) && !strings.ContainsRune("-_.", r)
	}
	return text != "" && len(text) <= maxText && !strings.ContainsFunc(text, odd)
}

// Check says what is wrong with names.
func (g Grants) Check() error {
	var problems []error
	for _, list := range []struct {
		what  string
		names []string
	}{{"roles", g.Roles}, {"permissions", g.Permissions}, {"scopes", g.Scopes}} {
		if len(list.names) > maxNames {
			problems = append(problems, fmt.Errorf("%s has more than %d members", list.what, maxNames))
		}
		for _, name := range list.names {
			odd := func(r rune) bool { return r <= ' ' || r == 0x7f }
			if name == "" || len(name) > maxText || strings.ContainsFunc(name, odd) {
				problems = append(problems, fmt.Errorf("%s: %.40q is no name: it is empty, has white space or is longer than %d bytes", list.what, name, maxText))
			}
			if name == "*" {
				problems = append(problems, fmt.Errorf("%s: * is not a wildcard; name what is granted", list.what))
			}
		}
	}
	return errors.Join(problems...)
}

func checkNetworks(networks []netip.Prefix) error {
	if networks != nil && len(networks) == 0 {
		return errors.New("networks is empty, which would be nowhere; leave it out for any address")
	}
	if len(networks) > maxList {
		return fmt.Errorf("networks has more than %d members", maxList)
	}
	for _, n := range networks {
		switch {
		case !n.IsValid():
			return errors.New("networks has a member that is no network")
		case n.Bits() == 0:
			return fmt.Errorf("networks: %s is every address; leave networks out for any address", n)
		case n != n.Masked():
			return fmt.Errorf("networks: %s has bits beyond its length; write %s", n, n.Masked())
		case n.Addr().Is4In6():
			return fmt.Errorf("networks: %s is an IPv4 address in IPv6 form; write the IPv4 network", n)
		}
	}
	return nil
}

// ParseNetworks reads networks such as 10.1.0.0/16 and 2001:db8::/32. An address alone
// is a network of one.
func ParseNetworks(texts []string) ([]netip.Prefix, error) {
	if texts == nil {
		return nil, nil
	}
	networks := make([]netip.Prefix, len(texts))
	for i, text := range texts {
		if addr, err := netip.ParseAddr(text); err == nil && addr.Zone() == "" {
			networks[i] = netip.PrefixFrom(addr, addr.BitLen())
			continue
		}
		n, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, fmt.Errorf("networks: %.60q is no network; write one such as 10.1.0.0/16 or 2001:db8::/32", text)
		}
		networks[i] = n
	}
	return networks, checkNetworks(networks)
}

func checkHosts(hosts []string) error {
	if hosts != nil && len(hosts) == 0 {
		return errors.New("hosts is empty, which would be none; leave it out for any host")
	}
	if len(hosts) > maxList {
		return fmt.Errorf("hosts has more than %d members", maxList)
	}
	for _, host := range hosts {
		if fault := pattern.CheckHost(host); fault != "" {
			return fmt.Errorf("hosts: %.60q %s", host, fault)
		}
	}
	return nil
}

// only are the members of a list that another list has, too.
func only(list, of []string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(name string) bool { return !slices.Contains(of, name) })
}
