package spiffe

import (
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"strings"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// maxID is the length of the longest SPIFFE ID (SPIFFE-ID section 2.3), in bytes.
const maxID = 2048

// parseID reads the id of a workload. The id of a trust domain, which has no path, is none.
func parseID(text string) (spiffeid.ID, error) {
	if len(text) > maxID {
		return spiffeid.ID{}, fmt.Errorf("the SPIFFE ID is longer than %d bytes", maxID)
	}
	id, err := spiffeid.FromString(text)
	switch {
	case err != nil:
		return id, fmt.Errorf("%.200q is no SPIFFE ID: %w", text, err)
	case id.Path() == "":
		return id, fmt.Errorf("%s is the id of a trust domain and of no workload", id)
	}
	return id, nil
}

// IsSVID reports whether a certificate names a SPIFFE ID, sound or not.
func IsSVID(c *x509.Certificate) bool {
	for _, u := range c.URIs {
		if strings.EqualFold(u.Scheme, "spiffe") {
			return true
		}
	}
	return false
}

// idOf is the id in a certificate: its one URI, exactly as it was signed.
func idOf(c *x509.Certificate) (spiffeid.ID, error) {
	uris, err := uriNames(c)
	switch {
	case err != nil:
		return spiffeid.ID{}, err
	case len(uris) != 1:
		return spiffeid.ID{}, fmt.Errorf("has %d URI names, of which an X509-SVID has one (X509-SVID section 2)", len(uris))
	}
	return parseID(uris[0])
}

var (
	subjectAlternativeName = asn1.ObjectIdentifier{2, 5, 29, 17}
	errNames               = errors.New("has subject alternative names that cannot be read")
)

// uriTag is that of uniformResourceIdentifier in a GeneralName (RFC 5280 section 4.2.1.6).
const uriTag = 6

// uriNames are the URIs as they stand in a certificate. x509.Certificate has them parsed,
// so that two texts, such as one with an empty fragment, look like one.
func uriNames(c *x509.Certificate) (uris []string, err error) {
	for _, e := range c.Extensions {
		if !e.Id.Equal(subjectAlternativeName) {
			continue
		}
		var names asn1.RawValue
		if rest, err := asn1.Unmarshal(e.Value, &names); err != nil || len(rest) > 0 {
			return nil, errNames
		}
		for rest := names.Bytes; len(rest) > 0; {
			var name asn1.RawValue
			if rest, err = asn1.Unmarshal(rest, &name); err != nil {
				return nil, errNames
			}
			if name.Class == asn1.ClassContextSpecific && name.Tag == uriTag {
				uris = append(uris, string(name.Bytes))
			}
		}
	}
	return uris, nil
}
