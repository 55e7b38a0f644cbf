package clientcert

import (
	"crypto/x509"
	"encoding/base64"
	"net/url"
	"strings"
	"testing"

	"gatehouse/core/coretest"
)

// Whatever a header holds, what is read out of it is a certificate that stands in it as a
// whole, or nothing: no form is read as two different chains, and none is read as
// "verified".
func FuzzCertificateHeader(f *testing.F) {
	der := coretest.Certificate(f, "client").Certificate[0]
	whole, encoded := pemOf(der), base64.StdEncoding.EncodeToString(der)
	for _, seed := range []string{
		"", "::", ":" + encoded + ":", encoded, encoded + "," + encoded, whole, url.PathEscape(whole), url.QueryEscape(whole),
		`By=spiffe://a;Hash=x;Cert="` + url.PathEscape(whole) + `";Subject="CN=a,O=\"b;Cert=c\""`, `Cert="` + url.PathEscape(whole) + `",Cert="x"`,
		`Chain="` + url.PathEscape(whole+whole) + `"`, `Cert="` + url.PathEscape(whole) + `";Chain="` + url.PathEscape(whole+whole) + `"`, ":" + encoded + ":, :" + encoded + ":",
		`Cert=` + url.PathEscape(whole), `Cert="";Cert="` + url.PathEscape(whole) + `"`, `Subject="`, `Cert="\"`, "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n",
		strings.Repeat(whole, 3), whole + "x", ":" + encoded[:40] + ":", "%", "%0", `cert="` + url.PathEscape(whole) + `"`, `Cert;Cert="a"`, ";;;", "=", ",",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		for form, parse := range map[string]func(string) ([]*x509.Certificate, error){
			"RFC 9440": ByteSequence, "escaped PEM": EscapedPEM, "base64": Base64List, "XFCC": XFCC, "PEM": parsePEM,
		} {
			chain, err := parse(value)
			if err != nil && chain != nil {
				t.Errorf("%s: %d certificates beside an error: %v", form, len(chain), err)
			}
			if len(chain) > maxChain || len(chain) > 0 && len(value) > maxChain*maxSize {
				t.Errorf("%s: %d certificates of %d bytes", form, len(chain), len(value))
			}
			for _, c := range chain {
				if !holds(value, c.Raw) {
					t.Errorf("%s: a certificate that is not in %q", form, value)
				}
			}
			if form == "XFCC" && err == nil && len(chain) > 0 {
				if again, err := XFCC(value + ";By=x"); strings.Count(value, `"`)%2 == 0 && (err != nil || !again[0].Equal(chain[0])) {
					t.Errorf("one more key changes the certificate of %q: %v", value, err)
				}
			}
			if err == nil && len(chain) == 0 && (form != "RFC 9440" || strings.Trim(value, " \t\r\n") != "::") {
				t.Errorf("%s: %q is read as no certificate", form, value)
			}
		}
		if list, err := ByteSequences(value); err == nil {
			for _, c := range list {
				if !strings.Contains(strings.ToLower(value), ":") || len(list) > maxChain || c == nil {
					t.Errorf("a chain out of %q", value)
				}
			}
		} else if list != nil {
			t.Errorf("a chain beside an error: %v", err)
		}
		for _, verify := range []string{"", "NONE", "FAILED:x", "success", "SUCCESS "} {
			if facts, err := FromNGINX(value, verify); err == nil && facts.Verified {
				t.Errorf("%q is verified", verify)
			}
		}
		if facts, err := FromNGINX(value, "SUCCESS"); err == nil && len(facts.Chain) == 0 {
			t.Errorf("%q is verified, and no certificate", value)
		}
	})
}

// holds reports whether a certificate stands in a value, in whatever form.
func holds(value string, der []byte) bool {
	text := value
	if unescaped, err := url.PathUnescape(value); err == nil {
		text = unescaped
	}
	spaces := strings.NewReplacer("\r", "", "\n", "", " ", "", "\t", "")
	for _, part := range []string{value, text} {
		if strings.Contains(spaces.Replace(part), base64.StdEncoding.EncodeToString(der)) {
			return true
		}
	}
	// The escapes of an element of XFCC alone can be those of a URL.
	for part := range strings.SplitSeq(value, ";") {
		if _, quoted, ok := strings.Cut(part, "="); ok {
			if unescaped, err := url.PathUnescape(strings.Trim(quoted, `"`)); err == nil && strings.Contains(spaces.Replace(unescaped), base64.StdEncoding.EncodeToString(der)) {
				return true
			}
		}
	}
	return false
}
