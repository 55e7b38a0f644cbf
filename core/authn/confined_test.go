package authn

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"

	"gatehouse/core"
)

// confined is an authenticator, and the cache of one, whose principal is confined.
type confined struct{ p *core.Principal }

func (c confined) AuthenticateToken(context.Context, core.Credential) (*core.Principal, error) {
	return c.p, nil
}
func (c confined) Recall(context.Context, core.Credential) (*core.Principal, error, bool) {
	return c.p, nil, true
}

// everyWay is all ways to a principal: cached, verified and refreshed.
func everyWay(t *testing.T, p *core.Principal, call *core.Call) []error {
	t.Helper()
	router, err := New(Route{Title: "tokens", Judges: func(core.Credential) (any, bool) { return nil, true }, By: confined{p}})
	if err != nil {
		t.Fatal(err)
	}
	c := core.Credential{Place: core.BearerToken, Value: "x"}
	var errs []error
	for _, way := range []func(context.Context, *core.Call, core.Credential) (core.Authentication, error){router.Authenticate, router.Verify, router.Refresh} {
		a, err := way(t.Context(), call, c)
		if (a.Principal == nil) != (err != nil) {
			t.Errorf("%+v, %v", a.Principal, err)
		}
		errs = append(errs, err)
	}
	_, err, _ = router.Recall(t.Context(), call, &c)
	return append(errs, err)
}

func networks(texts ...string) []netip.Prefix {
	var all []netip.Prefix
	for _, text := range texts {
		all = append(all, netip.MustParsePrefix(text))
	}
	return all
}

func TestCredentialIsRefusedOutsideItsNetworks(t *testing.T) {
	for name, c := range map[string]struct {
		networks []netip.Prefix
		client   string
		good     bool
	}{
		"inside":                              {networks("10.0.0.0/8"), "10.1.2.3", true},
		"outside":                             {networks("10.0.0.0/8"), "11.1.2.3", false},
		"IPv4 mapped into IPv6":               {networks("10.0.0.0/8"), "::ffff:10.1.2.3", true},
		"IPv4 mapped into IPv6, outside":      {networks("10.0.0.0/8"), "::ffff:11.1.2.3", false},
		"IPv4-compatible IPv6, deprecated":    {networks("10.0.0.0/8"), "::10.1.2.3", false},
		"IPv4 by NAT64":                       {networks("10.0.0.0/8"), "64:ff9b::10.1.2.3", false},
		"IPv6":                                {networks("2001:db8::/32"), "2001:db8::1", true},
		"IPv6 with a zone":                    {networks("fe80::/10"), "fe80::1%eth0", true},
		"IPv6 for an IPv4 network":            {networks("10.0.0.0/8"), "2001:db8::1", false},
		"not known":                           {networks("10.0.0.0/8"), "", false},
		"not known, of several":               {networks("10.0.0.0/8", "2001:db8::/32"), "", false},
		"one address":                         {networks("192.0.2.7/32"), "192.0.2.8", false},
		"a list that became empty":            {[]netip.Prefix{}, "10.1.2.3", false},
		"a network that is none":              {[]netip.Prefix{{}}, "10.1.2.3", false},
		"a network that is none, not known":   {[]netip.Prefix{{}}, "", false},
		"any address, but it must be known":   {networks("0.0.0.0/0"), "", false},
		"mapped network holds mapped address": {networks("::ffff:10.0.0.0/104"), "::ffff:10.1.2.3", false},
	} {
		call := &core.Call{Request: &core.Request{}}
		if c.client != "" {
			call.Client = netip.MustParseAddr(c.client)
		}
		for _, err := range everyWay(t, &core.Principal{ID: "t1", Networks: c.networks}, call) {
			if (err == nil) != c.good || err != nil && !(errors.Is(err, core.ErrInvalid) && errors.Is(err, ErrElsewhere)) {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

// What a client writes into X-Forwarded-For counts only where the host says so.
func TestForwardedAddressOfAStrangerDoesNotOpenANetwork(t *testing.T) {
	call := &core.Call{Request: &core.Request{
		Peer:   netip.MustParseAddr("203.0.113.5"),
		Header: []core.Header{{Name: "X-Forwarded-For", Value: "10.1.2.3"}, {Name: "X-Real-IP", Value: "10.1.2.3"}, {Name: "Forwarded", Value: "for=10.1.2.3"}},
	}}
	for _, err := range everyWay(t, &core.Principal{Networks: networks("10.0.0.0/8")}, call) {
		if !errors.Is(err, core.ErrInvalid) {
			t.Error(err)
		}
	}
}

// Behind a proxy that does not tell the client, everybody has its address.
func TestProxyInThePlaceOfAnUnknownClientOpensNoNetwork(t *testing.T) {
	proxy := netip.MustParseAddr("10.0.0.7")
	for name, r := range map[string]*core.Request{
		"the host asks and is not told": {Peer: proxy, AskClient: func() netip.Addr { return netip.Addr{} }},
		"the host knows nobody":         {Peer: proxy, ClientUnknown: true},
		"the host knows proxies alone":  {Peer: proxy, Client: netip.MustParseAddr("10.0.0.8"), ClientUnknown: true},
		"the same, asked before":        {Peer: proxy, AskClient: func() netip.Addr { return netip.Addr{} }, ID: "asked"},
	} {
		if r.ID != "" {
			r.ClientAddr()
		}
		for _, err := range everyWay(t, &core.Principal{Networks: networks("10.0.0.0/8")}, &core.Call{Request: r}) {
			if !errors.Is(err, ErrElsewhere) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if !r.ClientAddr().IsValid() {
			t.Errorf("%s: failed attempts have no address to count by", name)
		}
	}
}

func TestAddressIsAskedForOnlyWhereNetworksAreSet(t *testing.T) {
	asked := 0
	call := &core.Call{Request: &core.Request{AskClient: func() netip.Addr { asked++; return netip.MustParseAddr("10.1.2.3") }}}
	everyWay(t, &core.Principal{Hosts: []string{"api.test"}}, call)
	if asked > 0 {
		t.Error("the address was asked for in vain")
	}
	for _, err := range everyWay(t, &core.Principal{Networks: networks("10.0.0.0/8")}, call) {
		if err != nil {
			t.Error(err)
		}
	}
	if asked != 1 {
		t.Errorf("asked %d times", asked)
	}
}

func TestCredentialIsRefusedForOtherHosts(t *testing.T) {
	for name, c := range map[string]struct {
		hosts []string
		host  string
		good  bool
	}{
		"the host":                 {[]string{"api.test"}, "api.test", true},
		"with a port":              {[]string{"api.test"}, "api.test:8443", true},
		"in another case":          {[]string{"api.test"}, "API.Test", true},
		"with a final dot":         {[]string{"api.test"}, "api.test.", true},
		"with all of it":           {[]string{"api.test"}, "Api.TEST.:443", true},
		"two final dots":           {[]string{"api.test"}, "api.test..", false},
		"another host":             {[]string{"api.test"}, "www.test", false},
		"a name below":             {[]string{"api.test"}, "a.api.test", false},
		"a name that ends so":      {[]string{"api.test"}, "evilapi.test", false},
		"a name that begins so":    {[]string{"api.test"}, "api.test.evil.example", false},
		"user information":         {[]string{"api.test"}, "api.test@evil.example", false},
		"user information before":  {[]string{"api.test"}, "evil.example@api.test", false},
		"a port that is none":      {[]string{"api.test"}, "api.test:evil", false},
		"white space":              {[]string{"api.test"}, " api.test", false},
		"NUL":                      {[]string{"api.test"}, "api.test\x00", false},
		"none":                     {[]string{"api.test"}, "", false},
		"a list":                   {[]string{"api.test"}, "api.test,evil.example", false},
		"below a wildcard":         {[]string{"*.api.test"}, "a.api.test:80", true},
		"the domain of a wildcard": {[]string{"*.api.test"}, "api.test", false},
		"IPv6":                     {[]string{"[2001:db8::1]"}, "[2001:DB8::1]:80", true},
		"a list that became empty": {[]string{}, "api.test", false},
		"an empty name":            {[]string{""}, "", false},
		"very long":                {[]string{"api.test"}, strings.Repeat("a.", 5000) + "api.test", false},
	} {
		for _, err := range everyWay(t, &core.Principal{ID: "t1", Hosts: c.hosts}, &core.Call{Request: &core.Request{Host: c.host}}) {
			if (err == nil) != c.good || err != nil && !errors.Is(err, ErrElsewhere) {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

// A token that a stranger tries from elsewhere must not look as if its owner had used it.
func TestUseCountsOnlyWhereTheCredentialIsAccepted(t *testing.T) {
	for name, c := range map[string]struct {
		client, host string
		want         bool
	}{
		"accepted":        {"10.1.2.3", "api.test", true},
		"another network": {"11.1.2.3", "api.test", false},
		"not known":       {"", "api.test", false},
		"another host":    {"10.1.2.3", "other.test", false},
	} {
		used := 0
		p := &core.Principal{ID: "t1", Networks: networks("10.0.0.0/8"), Hosts: []string{"api.test"}}
		router, err := New(Route{
			Title: "tokens", Judges: func(core.Credential) (any, bool) { return nil, true }, By: confined{p},
			Accepted: func(got *core.Principal) {
				if got == p {
					used++
				}
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		call := &core.Call{Request: &core.Request{Host: c.host}}
		if c.client != "" {
			call.Client = netip.MustParseAddr(c.client)
		}
		credential := core.Credential{Place: core.BearerToken, Value: "x"}
		_, err = router.Authenticate(t.Context(), call, credential)
		_, _ = router.Verify(t.Context(), call, credential)
		if (used == 2) != c.want || (used > 0) != c.want || (err == nil) != c.want {
			t.Errorf("%s: used %d times, %v", name, used, err)
		}
	}
}
