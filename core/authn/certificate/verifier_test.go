package certificate

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	"gatehouse/core"
	"gatehouse/core/coretest"
)

type change = func(*x509.Certificate)

func credential(chain ...*coretest.Authority) core.Credential {
	facts := &core.ClientTLS{}
	for _, c := range chain {
		facts.Chain = append(facts.Chain, c.Certificate)
	}
	return core.Credential{Place: core.ClientCertificate, Parsed: facts}
}

func authenticator(t *testing.T, o Options, clock *coretest.Clock) *Authenticator {
	t.Helper()
	o.Now = clock.Now
	if o.Rules == nil {
		o.Rules = []Rule{{CommonName: "*"}}
	}
	a, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func mustURL(t *testing.T, text string) *url.URL {
	t.Helper()
	u, err := url.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func usage(usages ...x509.ExtKeyUsage) change {
	return func(c *x509.Certificate) { c.ExtKeyUsage = usages }
}

func TestCertificateThatNoTrustedAuthorityVouchesForIsRefused(t *testing.T) {
	clock := coretest.NewClock()
	root := coretest.NewAuthority(t, clock, "root", nil)
	between := root.Authority("between", nil)
	known := root.Authority("known", nil)
	a := authenticator(t, Options{Roots: []*x509.Certificate{root.Certificate}, Intermediates: []*x509.Certificate{known.Certificate}}, clock)
	now := clock.Now()
	ends := func(at time.Duration) change { return func(c *x509.Certificate) { c.NotAfter = now.Add(at) } }
	begins := func(at time.Duration) change { return func(c *x509.Certificate) { c.NotBefore = now.Add(at) } }
	critical := func(c *x509.Certificate) {
		c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 3, 4}, Critical: true, Value: []byte{5, 0}}}
	}
	chainOf := func(chain ...*coretest.Authority) []*coretest.Authority { return chain }
	below := func(by *coretest.Authority, changes ...change) []*coretest.Authority {
		return chainOf(by.Client("robot", func(c *x509.Certificate) {
			for _, change := range changes {
				change(c)
			}
		}), by)
	}
	expired, leaf, twin := root.Authority("expired", ends(-time.Second)), root.Client("leaf", nil), coretest.NewAuthority(t, clock, "root", nil)
	server := root.Authority("for servers", usage(x509.ExtKeyUsageServerAuth))
	last := root.Authority("last", func(c *x509.Certificate) { c.MaxPathLen, c.MaxPathLenZero = 0, true })
	beyond := last.Authority("beyond", nil)
	pinned := coretest.NewAuthority(t, clock, "robot", func(c *x509.Certificate) {
		c.IsCA, c.KeyUsage, c.ExtKeyUsage = false, x509.KeyUsageDigitalSignature, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	})
	for name, c := range map[string]struct {
		chain  []*coretest.Authority
		passes bool
	}{
		"of the root":                                 {below(root), true},
		"of an authority that the client sends":       {below(between), true},
		"of an authority that the configuration has":  {below(known)[:1], true},
		"no extended use":                             {below(root, usage()), true},
		"any extended use":                            {below(root, usage(x509.ExtKeyUsageAny)), true},
		"of an authority that nobody has sent":        {below(between)[:1], false},
		"of another authority":                        {below(coretest.NewAuthority(t, clock, "other", nil)), false},
		"of another authority with the same name":     {below(twin), false},
		"signed by itself":                            {chainOf(pinned), false},
		"signed by a client":                          {chainOf(leaf.Client("robot", nil), leaf), false},
		"ended":                                       {below(root, ends(-time.Second)), false},
		"not yet begun":                               {below(root, begins(time.Second)), false},
		"of an authority that has ended":              {below(expired), false},
		"for servers":                                 {below(root, usage(x509.ExtKeyUsageServerAuth)), false},
		"of an authority for servers":                 {below(server), false},
		"for encryption":                              {below(root, func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyEncipherment }), false},
		"of an authority that may have none below it": {chainOf(beyond.Client("robot", nil), beyond, last), false},
		"an authority":                                {chainOf(between), false},
		"the root":                                    {chainOf(root), false},
		"with an unknown critical extension":          {below(root, critical), false},
	} {
		p, err := a.AuthenticateToken(t.Context(), credential(c.chain...))
		switch {
		case c.passes && err != nil, !c.passes && (p != nil || !errors.Is(err, core.ErrInvalid)):
			t.Errorf("%s: %+v, %v", name, p, err)
		case c.passes && (p.Subject != "robot" || p.Issuer != "CN=root" || p.Kind != core.KindMTLS || p.ID != Fingerprint(c.chain[0].Certificate)):
			t.Errorf("%s: %+v", name, p)
		}
	}
	if p, err := a.AuthenticateToken(t.Context(), core.Credential{Place: core.ClientCertificate, Value: "x"}); p != nil || err == nil {
		t.Error("a credential without a certificate")
	}
	for name, o := range map[string]Options{"no authority": {Rules: []Rule{{CommonName: "*"}}}, "no rule": {Roots: []*x509.Certificate{root.Certificate}}} {
		if a, err := New(o); a != nil || err == nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestCertificateEndsWithItsChain(t *testing.T) {
	clock := coretest.NewClock()
	root := coretest.NewAuthority(t, clock, "root", nil)
	between := root.Authority("between", func(c *x509.Certificate) { c.NotAfter = clock.Now().Add(time.Minute) })
	a := authenticator(t, Options{Roots: []*x509.Certificate{root.Certificate}}, clock)
	p, err := a.AuthenticateToken(t.Context(), credential(between.Client("robot", nil), between))
	if err != nil || !p.Expiry.Equal(clock.Now().Add(time.Minute)) {
		t.Errorf("%v, %v", p, err)
	}
}

// An authority that may vouch for some names alone cannot vouch for others, nor for a name
// that its constraints are not about.
func TestAuthorityWithNameConstraintsVouchesForNoOtherName(t *testing.T) {
	clock := coretest.NewClock()
	root := coretest.NewAuthority(t, clock, "root", nil)
	narrow := root.Authority("narrow", func(c *x509.Certificate) {
		c.PermittedDNSDomainsCritical, c.PermittedDNSDomains, c.PermittedURIDomains = true, []string{"orders.test"}, []string{"orders.test"}
	})
	a := authenticator(t, Options{Roots: []*x509.Certificate{root.Certificate}, Rules: []Rule{{SANDNS: "*.orders.test"}, {SANDNS: "*.pay.test"}, {SANURI: "https://*/x"}, {CommonName: "*"}}}, clock)
	for name, c := range map[string]struct {
		change change
		want   string
	}{
		"own name":             {func(c *x509.Certificate) { c.DNSNames = []string{"a.orders.test"} }, "a.orders.test"},
		"other name":           {func(c *x509.Certificate) { c.DNSNames = []string{"a.pay.test"} }, ""},
		"both":                 {func(c *x509.Certificate) { c.DNSNames = []string{"a.orders.test", "a.pay.test"} }, ""},
		"own URI":              {func(c *x509.Certificate) { c.URIs = []*url.URL{mustURL(t, "https://orders.test/x")} }, "https://orders.test/x"},
		"other URI":            {func(c *x509.Certificate) { c.URIs = []*url.URL{mustURL(t, "https://pay.test/x")} }, ""},
		"common name alone":    {nil, ""},
		"common name and mail": {func(c *x509.Certificate) { c.EmailAddresses = []string{"a@pay.test"} }, ""},
	} {
		p, err := a.AuthenticateToken(t.Context(), credential(narrow.Client("admin", c.change), narrow))
		if c.want == "" && (p != nil || !errors.Is(err, core.ErrInvalid)) || c.want != "" && (err != nil || p.Subject != c.want) {
			t.Errorf("%s: %+v, %v", name, p, err)
		}
	}
}

func TestCertificateIsOfTheOneCallerThatARuleNames(t *testing.T) {
	clock := coretest.NewClock()
	root := coretest.NewAuthority(t, clock, "root", nil)
	dns := func(names ...string) change { return func(c *x509.Certificate) { c.DNSNames = names } }
	uris := func(texts ...string) change {
		return func(c *x509.Certificate) {
			for _, text := range texts {
				c.URIs = append(c.URIs, mustURL(t, text))
			}
		}
	}
	mails := func(names ...string) change { return func(c *x509.Certificate) { c.EmailAddresses = names } }
	ips := func(texts ...string) change {
		return func(c *x509.Certificate) {
			for _, text := range texts {
				c.IPAddresses = append(c.IPAddresses, net.ParseIP(text))
			}
		}
	}
	raw := func(sets ...pkix.RelativeDistinguishedNameSET) change {
		return func(c *x509.Certificate) {
			der, err := asn1.Marshal(pkix.RDNSequence(sets))
			if err != nil {
				t.Fatal(err)
			}
			c.RawSubject = der
		}
	}
	set := func(pairs ...string) (s pkix.RelativeDistinguishedNameSET) {
		types := map[string]asn1.ObjectIdentifier{"CN": {2, 5, 4, 3}, "OU": {2, 5, 4, 11}, "O": {2, 5, 4, 10}, "DC": {0, 9, 2342, 19200300, 100, 1, 25}, "X": {1, 2, 3}}
		for i := 0; i < len(pairs); i += 2 {
			s = append(s, pkix.AttributeTypeAndValue{Type: types[pairs[i]], Value: pairs[i+1]})
		}
		return s
	}
	for name, c := range map[string]struct {
		rules  []Rule
		change change
		want   string
	}{
		"host name":                           {[]Rule{{SANDNS: "*.orders.test"}}, dns("A.Orders.test"), "a.orders.test"},
		"host name by another case":           {[]Rule{{SANDNS: "A.Orders.TEST."}}, dns("a.orders.test"), "a.orders.test"},
		"deeper host name":                    {[]Rule{{SANDNS: "*.orders.test"}}, dns("a.b.orders.test"), ""},
		"host name above":                     {[]Rule{{SANDNS: "*.orders.test"}}, dns("orders.test"), ""},
		"host name that goes on":              {[]Rule{{SANDNS: "*.orders.test"}}, dns("a.orders.test.evil.test"), ""},
		"host name in another place":          {[]Rule{{SANDNS: "*.orders.test"}}, uris("https://a.orders.test"), ""},
		"common name like a host name":        {[]Rule{{SANDNS: "robot"}}, nil, ""},
		"two host names":                      {[]Rule{{SANDNS: "*.orders.test"}}, dns("a.orders.test", "b.orders.test"), ""},
		"the same host name twice":            {[]Rule{{SANDNS: "*.orders.test"}}, dns("a.orders.test", "A.orders.test"), "a.orders.test"},
		"another host name beside":            {[]Rule{{SANDNS: "*.orders.test"}}, dns("a.orders.test", "a.pay.test"), "a.orders.test"},
		"certificate for every host":          {[]Rule{{SANDNS: "*.orders.test"}}, dns("*.orders.test"), ""},
		"URI":                                 {[]Rule{{SANURI: "urn:machine:*"}}, uris("urn:machine:7"), "urn:machine:7"},
		"URI with more parts":                 {[]Rule{{SANURI: "https://a.test/*"}}, uris("https://a.test/x/admin"), ""},
		"URI with a query":                    {[]Rule{{SANURI: "https://a.test/*"}}, uris("https://a.test/x?admin"), ""},
		"URI of another host":                 {[]Rule{{SANURI: "https://a.test/*"}}, uris("https://b.test/x"), ""},
		"two URIs":                            {[]Rule{{SANURI: "urn:*"}}, uris("urn:a", "urn:b"), ""},
		"email":                               {[]Rule{{SANEmail: "*@orders.test"}}, mails("a.b@orders.test"), "a.b@orders.test"},
		"email of another host":               {[]Rule{{SANEmail: "*@orders.test"}}, mails("a@orders.test.evil.test"), ""},
		"address":                             {[]Rule{{SANIP: "10.0.0.0/8"}}, ips("10.1.2.3"), "10.1.2.3"},
		"another address":                     {[]Rule{{SANIP: "10.0.0.0/8"}}, ips("11.1.2.3"), ""},
		"two addresses":                       {[]Rule{{SANIP: "10.0.0.0/8"}}, ips("10.1.2.3", "10.1.2.4"), ""},
		"common name":                         {[]Rule{{CommonName: "rob*"}}, nil, "robot"},
		"other common name":                   {[]Rule{{CommonName: "rob"}}, nil, ""},
		"two common names":                    {[]Rule{{CommonName: "*"}}, raw(set("CN", "admin"), set("CN", "robot")), ""},
		"two common names in one part":        {[]Rule{{CommonName: "*"}}, raw(set("CN", "admin", "CN", "robot")), ""},
		"no common name":                      {[]Rule{{CommonName: "*"}}, raw(set("O", "Acme")), ""},
		"NUL in the common name":              {[]Rule{{CommonName: "admin*"}}, raw(set("CN", "admin\x00.evil")), ""},
		"line break in the common name":       {[]Rule{{CommonName: "*"}}, raw(set("CN", "admin\nX-User: root")), ""},
		"right-to-left in the common name":    {[]Rule{{CommonName: "*"}}, raw(set("CN", "nimda\u202e")), ""},
		"very long common name":               {[]Rule{{CommonName: "*"}}, raw(set("CN", strings.Repeat("a", 2000))), ""},
		"subject":                             {[]Rule{{SubjectDN: "CN=*, OU=machines, O=Acme"}}, raw(set("O", "Acme"), set("OU", "machines"), set("CN", "robot")), "CN=robot,OU=machines,O=Acme"},
		"subject of another order":            {[]Rule{{SubjectDN: "CN=*,OU=machines,O=Acme"}}, raw(set("CN", "robot"), set("OU", "machines"), set("O", "Acme")), ""},
		"subject with one part more":          {[]Rule{{SubjectDN: "CN=*,O=Acme"}}, raw(set("O", "Acme"), set("OU", "guests"), set("CN", "robot")), ""},
		"subject with two attributes in one":  {[]Rule{{SubjectDN: "CN=*,O=Acme"}}, raw(set("O", "Acme"), set("CN", "robot", "OU", "guests")), ""},
		"subject that quotes a part":          {[]Rule{{SubjectDN: "CN=*,OU=machines,O=Acme"}}, raw(set("O", "Acme"), set("CN", "robot,OU=machines")), ""},
		"domain components":                   {[]Rule{{SubjectDN: "CN=*,DC=orders,DC=test"}}, raw(set("DC", "test"), set("DC", "orders"), set("CN", "robot")), "CN=robot,DC=orders,DC=test"},
		"unknown attribute":                   {[]Rule{{SubjectDN: "1.2.3=x,CN=*"}}, raw(set("CN", "robot"), set("X", "x")), "1.2.3=x,CN=robot"},
		"any subject":                         {[]Rule{{SubjectDN: "*"}}, raw(set("O", "Acme"), set("CN", "a+b")), `CN=a\+b,O=Acme`},
		"all of a rule":                       {[]Rule{{SANDNS: "a.test", CommonName: "robot"}}, dns("a.test"), "a.test"},
		"one of a rule":                       {[]Rule{{SANDNS: "a.test", CommonName: "other"}}, dns("a.test"), ""},
		"the first rule":                      {[]Rule{{CommonName: "other"}, {SANDNS: "*"}, {CommonName: "*"}}, dns("a.test"), "a.test"},
		"no further rule behind two subjects": {[]Rule{{SANDNS: "*"}, {CommonName: "*"}}, dns("a.test", "b.test"), ""},
	} {
		client := root.Client("robot", c.change)
		p, err := authenticator(t, Options{Roots: []*x509.Certificate{root.Certificate}, Rules: c.rules}, clock).AuthenticateToken(t.Context(), credential(client))
		if c.want == "" && (p != nil || !errors.Is(err, core.ErrInvalid)) || c.want != "" && (err != nil || p.Subject != c.want) {
			t.Errorf("%s: %+v, %v", name, p, err)
		}
	}
}

func TestRuleThatMatchesNothingIsAnError(t *testing.T) {
	for name, c := range map[string]struct {
		rule Rule
		good bool
	}{
		"nothing": {Rule{Roles: []string{"admin"}}, false}, "legacy form": {Rule{SubjectDN: "/C=DE/CN=robot"}, false}, "no attribute": {Rule{SubjectDN: "robot"}, false},
		"no network": {Rule{SANIP: "10.0.0.1/8"}, false}, "no address": {Rule{SANIP: "robot"}, false}, "line break": {Rule{CommonName: "a\nb"}, false},
		"address": {Rule{SANIP: "::1"}, true}, "any": {Rule{CommonName: "*"}, true}, "any subject": {Rule{SubjectDN: "*"}, true},
	} {
		if err := c.rule.Check(); (err == nil) != c.good {
			t.Errorf("%s: %v", name, err)
		}
	}
}
