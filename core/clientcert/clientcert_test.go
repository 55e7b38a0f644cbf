package clientcert

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"net/url"
	"strings"
	"testing"

	"gatehouse/core/coretest"
)

func pemOf(der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

func TestCertificateOfNGINX(t *testing.T) {
	der := coretest.Certificate(t, "client").Certificate[0]
	for name, c := range map[string]struct {
		certificate, verify string
		chain               int
		verified, fails     bool
	}{
		"none":                     {"", "NONE", 0, false, false},
		"no TLS":                   {"", "", 0, false, false},
		"verified":                 {pemOf(der), "SUCCESS", 1, true, false},
		"presented, not verified":  {pemOf(der), "FAILED:self signed certificate", 1, false, false},
		"presented, result absent": {pemOf(der), "", 1, false, false},
		"verified and not there":   {"", "SUCCESS", 0, false, true},
		"refused and not there":    {"", "FAILED:certificate has expired", 0, false, true},
		"there and said not to be": {pemOf(der), "NONE", 0, false, true},
		"not PEM":                  {"certificate", "SUCCESS", 0, false, true},
	} {
		got, err := FromNGINX(c.certificate, c.verify)
		if (err != nil) != c.fails || err == nil && (len(got.Chain) != c.chain || got.Verified != c.verified) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

// What is cut short, or holds more than certificates, is an error and never "no
// certificate".
func TestTruncatedCertificateIsAnError(t *testing.T) {
	der := coretest.Certificate(t, "client").Certificate[0]
	whole, encoded := pemOf(der), base64.StdEncoding.EncodeToString(der)
	for name, text := range map[string]string{
		"empty": "", "spaces": " \n", "half": whole[:len(whole)/2], "no end": strings.TrimSuffix(whole, "-----END CERTIFICATE-----\n"),
		"text before": "x\n" + whole, "text behind": whole + "x", "a key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
		"not DER": pemOf(der[:len(der)-1]), "eleven": strings.Repeat(whole, 11), "too long": strings.Repeat("-", maxSize+1),
	} {
		if all, err := parsePEM(text); err == nil {
			t.Errorf("PEM, %s: %d certificates", name, len(all))
		}
	}
	for name, text := range map[string]string{
		"empty": "", "half": encoded[:len(encoded)/2], "line break": encoded[:64] + "\n" + encoded[64:], "space": " " + encoded,
		"more behind": encoded + "AAAA", "too long": strings.Repeat("A", maxSize+4),
	} {
		if _, err := parseBase64(text); err == nil {
			t.Errorf("base64, %s: no error", name)
		}
	}
	if all, err := parsePEM(whole + "\n" + whole); err != nil || len(all) != 2 {
		t.Errorf("two certificates: %d, %v", len(all), err)
	}
	if c, err := parseBase64(encoded); err != nil || c.Subject.CommonName != "client" {
		t.Errorf("base64: %v", err)
	}
}

// The rest of the chain, as far as a proxy has it, stands behind the client's own
// certificate, once and in its order.
func TestChainOfAClientCertificate(t *testing.T) {
	leaf, a, b := coretest.Certificate(t, "client").Certificate[0], coretest.Certificate(t, "a").Certificate[0], coretest.Certificate(t, "b").Certificate[0]
	item := func(ders ...[]byte) string {
		return ":" + base64.StdEncoding.EncodeToString(bytes.Join(ders, nil)) + ":"
	}
	escaped := func(ders ...[]byte) string {
		text := ""
		for _, der := range ders {
			text += pemOf(der)
		}
		return strings.ReplaceAll(url.PathEscape(text), "+", "%2B")
	}
	for what, c := range map[string]struct {
		cert, list string
		names      string // empty: an error
	}{
		"none":                     {item(leaf), "::", "client"},
		"two":                      {item(leaf), item(a) + ", " + item(b), "client a b"},
		"two in one item":          {item(leaf), item(a, b), "client a b"},
		"with the client's own":    {item(leaf), item(leaf) + "," + item(a), "client a"},
		"without a certificate":    {"::", item(a), ""},
		"cut short":                {item(leaf), item(a)[:40], ""},
		"cut short inside":         {item(leaf), item(a[:len(a)-1]), ""},
		"more behind":              {item(leaf), item(a) + ";x=1", ""},
		"no separator":             {item(leaf), item(a) + item(b), ""},
		"an empty element":         {item(leaf), item(a) + ",", ""},
		"eleven":                   {item(leaf), strings.Repeat(item(a)+",", 10) + item(b), ""},
		"ten and the client's own": {item(leaf), strings.Repeat(item(a)+",", 9) + item(b), ""},
		"eleven in one item":       {item(leaf), item(bytes.Repeat(a, 11)), ""},
		"too long":                 {item(leaf), ":" + strings.Repeat("A", maxChain*maxSize) + ":", ""},
		"an item that is too long": {item(leaf), ":" + strings.Repeat("A", maxSize+4) + ":", ""},
	} {
		own, err := ByteSequence(c.cert)
		if err != nil {
			t.Fatal(err)
		}
		list, err := ByteSequences(c.list)
		if err == nil {
			own, err = WithChain(own, list)
		}
		if got := names(own); (err == nil) != (c.names != "") || err == nil && got != c.names {
			t.Errorf("%s: %s, %v", what, got, err)
		}
	}
	for value, want := range map[string]string{
		`Chain="` + escaped(leaf, a) + `"`:                                     "client a",
		`Hash=x;Cert="` + escaped(leaf) + `";Chain="` + escaped(leaf, a) + `"`: "client a",
		`Chain="` + escaped(leaf, a) + `";cert="` + escaped(leaf) + `"`:        "client a",
		`Cert="` + escaped(leaf) + `";Chain="` + escaped(a, leaf) + `"`:        "",
		`Cert="` + escaped(leaf, a) + `"`:                                      "",
		`Chain="` + escaped(leaf) + `";Chain="` + escaped(leaf, a) + `"`:       "",
		`Cert="` + escaped(leaf) + `";Chain="` + escaped(leaf)[:90] + `"`:      "",
		`Cert="` + escaped(leaf) + `";Chain=""`:                                "",
	} {
		chain, err := XFCC(value)
		if got := names(chain); (err == nil) != (want != "") || err == nil && got != want {
			t.Errorf("%.40s: %s, %v", value, got, err)
		}
	}
}

func names(chain []*x509.Certificate) string {
	var all []string
	for _, c := range chain {
		all = append(all, c.Subject.CommonName)
	}
	return strings.Join(all, " ")
}

func TestXFCCWithMoreThanOneElementIsRefused(t *testing.T) {
	der := coretest.Certificate(t, "client").Certificate[0]
	escaped := strings.ReplaceAll(url.PathEscape(string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))), "+", "%2B")
	cert := `Cert="` + escaped + `"`
	for value, good := range map[string]bool{
		cert: true, `By=spiffe://a;` + cert: true, `Subject="O=\",Cert=x"; ` + cert: false, `Subject="O=\";";` + cert: true,
		cert + ";" + cert: false, cert + "," + cert: false, "Hash=a": false, `Cert="` + escaped: false, `Cert=""`: false,
	} {
		chain, err := XFCC(value)
		if (err == nil) != good || good && len(chain) != 1 {
			t.Errorf("%.60s: %v", value, err)
		}
	}
}
