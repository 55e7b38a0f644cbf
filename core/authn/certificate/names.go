package certificate

import (
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Claim is the claim with what a verified certificate says. Of a token it is removed, see
// [Around].
const Claim = "certificate"

// Fingerprint is the SHA-256 of a certificate, in hexadecimal.
func Fingerprint(c *x509.Certificate) string {
	sum := sha256.Sum256(c.Raw)
	return hex.EncodeToString(sum[:])
}

// Facts are the members of the claim "certificate". A name that cannot be written as a text
// is left out.
func Facts(c *x509.Certificate) map[string]any {
	sum := sha256.Sum256(c.Raw)
	facts := map[string]any{
		"serial_number": c.SerialNumber.Text(16),
		"fingerprint":   hex.EncodeToString(sum[:]),
		"x5t#S256":      base64.RawURLEncoding.EncodeToString(sum[:]),
	}
	for name, raw := range map[string][]byte{"subject": c.RawSubject, "issuer": c.RawIssuer} {
		if dn, err := distinguishedName(raw); err == nil && dn != "" {
			facts[name] = dn
		}
	}
	for name, values := range alternativeNames(c) {
		var list []any
		for _, value := range values {
			if isName(value) {
				list = append(list, value)
			}
		}
		if list != nil {
			facts[name] = list
		}
	}
	return facts
}

// alternativeNames are those of a certificate by the setting that matches them.
func alternativeNames(c *x509.Certificate) map[string][]string {
	names := map[string][]string{"san_email": c.EmailAddresses}
	for _, name := range c.DNSNames {
		names["san_dns"] = append(names["san_dns"], strings.ToLower(strings.TrimSuffix(name, ".")))
	}
	for _, uri := range c.URIs {
		names["san_uri"] = append(names["san_uri"], uri.String())
	}
	for _, ip := range c.IPAddresses {
		names["san_ip"] = append(names["san_ip"], ip.String())
	}
	return names
}

// maxName bounds a name, in bytes.
const maxName = 1024

// isName reports whether a text can be the name of a caller: one line that reads like it
// compares.
func isName(text string) bool {
	return text != "" && len(text) <= maxName && utf8.ValidString(text) && strings.IndexFunc(text, func(r rune) bool { return !unicode.IsGraphic(r) }) < 0
}

// attributeTypes are the names of RFC 4514 section 3, and two that OpenSSL writes.
var attributeTypes = map[string]string{
	"2.5.4.3": "CN", "2.5.4.7": "L", "2.5.4.8": "ST", "2.5.4.10": "O", "2.5.4.11": "OU", "2.5.4.6": "C", "2.5.4.9": "STREET",
	"0.9.2342.19200300.100.1.25": "DC", "0.9.2342.19200300.100.1.1": "UID", "2.5.4.5": "serialNumber", "1.2.840.113549.1.9.1": "emailAddress",
}

// distinguishedName writes a name in the form of RFC 4514, in the order of RFC 2253: as
// openssl x509 -nameopt RFC2253 does. crypto/x509/pkix.Name would sort attributes and take
// one of several common names.
func distinguishedName(raw []byte) (string, error) {
	sequence, err := parseName(raw)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	for i := len(sequence) - 1; i >= 0; i-- {
		if b.Len() > 0 {
			b.WriteByte(',')
		}
		for j, attribute := range sequence[i] {
			if j > 0 {
				b.WriteByte('+')
			}
			if err := writeAttribute(&b, attribute); err != nil {
				return "", err
			}
		}
	}
	if b.Len() > maxName {
		return "", fmt.Errorf("the subject of the certificate has more than %d bytes", maxName)
	}
	return b.String(), nil
}

func parseName(raw []byte) (pkix.RDNSequence, error) {
	var sequence pkix.RDNSequence
	if rest, err := asn1.Unmarshal(raw, &sequence); err != nil || len(rest) > 0 {
		return nil, errors.New("the name in the certificate is no sequence of attributes")
	}
	return sequence, nil
}

func writeAttribute(b *strings.Builder, a pkix.AttributeTypeAndValue) error {
	text, isText := a.Value.(string)
	name, known := attributeTypes[a.Type.String()]
	if !known {
		name = a.Type.String()
	}
	if !isText || !isName(text) {
		return fmt.Errorf("the attribute %s in a name of the certificate is not a line of text", name)
	}
	b.WriteString(name)
	b.WriteByte('=')
	for i, r := range text {
		first, last := i == 0, i == len(text)-1
		if strings.ContainsRune(`,+"\<>;=`, r) || first && (r == ' ' || r == '#') || last && r == ' ' {
			b.WriteByte('\\')
		}
		b.WriteRune(r)
	}
	return nil
}

// commonName is that of the subject, which has to be the only one.
func commonName(c *x509.Certificate) (string, error) {
	sequence, err := parseName(c.RawSubject)
	if err != nil {
		return "", err
	}
	found := ""
	for _, set := range sequence {
		for _, a := range set {
			if attributeTypes[a.Type.String()] != "CN" {
				continue
			}
			text, _ := a.Value.(string)
			if !isName(text) {
				return "", errors.New("the common name of the certificate is not a line of text")
			}
			if found != "" {
				return "", errors.New("the certificate has more than one common name")
			}
			found = text
		}
	}
	return found, nil
}
