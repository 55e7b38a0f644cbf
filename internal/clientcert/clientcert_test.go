package clientcert

import (
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
