package status

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// List is a list of revoked certificates (RFC 5280 section 5).
type List struct {
	*x509.RevocationList
	// name says which one it is, in errors.
	name string
	// revoked are the serial numbers.
	revoked map[string]bool
	// partial says that a certificate which is not in it may have been revoked all the same,
	// or one that is in it may be another's.
	partial, indirect bool
	scope             scope

	mutex  sync.Mutex
	signed map[[sha256.Size]byte]bool // by which authorities it is
}

// scope is the extension issuingDistributionPoint (RFC 5280 section 5.2.5).
type scope struct {
	Point struct {
		FullName     []asn1.RawValue `asn1:"optional,tag:0"`
		RelativeName asn1.RawValue   `asn1:"optional,tag:1"`
	} `asn1:"optional,tag:0"`
	OnlyUsers       bool           `asn1:"optional,tag:1"`
	OnlyAuthorities bool           `asn1:"optional,tag:2"`
	OnlyReasons     asn1.BitString `asn1:"optional,tag:3"`
	Indirect        bool           `asn1:"optional,tag:4"`
	OnlyAttributes  bool           `asn1:"optional,tag:5"`
}

const (
	oidScope             = "2.5.29.28"
	oidCertificateIssuer = "2.5.29.29"
	reasonRemoved        = 8
	tagURI               = 6
)

// ParseLists reads lists in PEM form, or one in DER form. A name says in errors where they are.
func ParseLists(name string, text []byte) (lists []*List, err error) {
	if !bytes.Contains(text, []byte("-----BEGIN ")) {
		one, err := parseList(name, text)
		return []*List{one}, err
	}
	for rest := text; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "X509 CRL" {
			return nil, fmt.Errorf("holds a %.40s; want X509 CRL", block.Type)
		}
		one, err := parseList(name, block.Bytes)
		if err != nil {
			return nil, err
		}
		lists = append(lists, one)
	}
	if len(lists) == 0 {
		return nil, errors.New("holds no list of revoked certificates (X509 CRL)")
	}
	return lists, nil
}

func parseList(name string, der []byte) (*List, error) {
	var whole asn1.RawValue
	rest, err := asn1.Unmarshal(der, &whole)
	if err == nil && len(rest) > 0 {
		err = errors.New("goes on behind its end")
	}
	var parsed *x509.RevocationList
	if err == nil {
		parsed, err = x509.ParseRevocationList(der)
	}
	if err != nil {
		return nil, fmt.Errorf("is no list of revoked certificates: %w", err)
	}
	if parsed.NextUpdate.IsZero() {
		return nil, errors.New("does not say when it is updated next: nobody could tell that it is old")
	}
	l := &List{RevocationList: parsed, name: name, revoked: map[string]bool{}, signed: map[[sha256.Size]byte]bool{}}
	for _, e := range parsed.Extensions {
		if err := l.extension(e.Id.String(), e.Critical, e.Value); err != nil {
			return nil, err
		}
	}
	for _, e := range parsed.RevokedCertificateEntries {
		for _, x := range e.Extensions {
			l.indirect = l.indirect || x.Id.String() == oidCertificateIssuer
			l.partial = l.partial || x.Critical
		}
		if e.ReasonCode != reasonRemoved {
			l.revoked[string(e.SerialNumber.Bytes())] = true
		}
	}
	parsed.RevokedCertificateEntries = nil // which take more memory than all else
	return l, nil
}

// extension reads one. A list with a critical one that is not known here, such as that of
// changes alone, tells only what is in it.
func (l *List) extension(id string, critical bool, value []byte) error {
	if id != oidScope {
		l.partial = l.partial || critical
		return nil
	}
	if rest, err := asn1.Unmarshal(value, &l.scope); err != nil || len(rest) > 0 {
		return errors.New("has an extension issuingDistributionPoint that cannot be read")
	}
	s := &l.scope
	l.indirect = l.indirect || s.Indirect
	l.partial = l.partial || s.Indirect || s.OnlyAttributes || s.OnlyReasons.BitLength > 0 || len(s.Point.RelativeName.FullBytes) > 0
	return nil
}

// covers reports whether a certificate is good if the list does not have it.
func (l *List) covers(c *x509.Certificate) bool {
	switch {
	case l.partial || l.indirect:
		return false
	case c.IsCA && l.scope.OnlyUsers || !c.IsCA && l.scope.OnlyAuthorities:
		return false
	case len(l.scope.Point.FullName) == 0:
		return true
	}
	return slices.ContainsFunc(l.scope.Point.FullName, func(name asn1.RawValue) bool {
		return name.Tag == tagURI && slices.Contains(c.CRLDistributionPoints, string(name.Bytes))
	})
}

// maxSigners bounds the authorities that are remembered of a list.
const maxSigners = 256

// isOf reports whether an authority has signed the list.
func (l *List) isOf(issuer *x509.Certificate) bool {
	if !bytes.Equal(l.RawIssuer, issuer.RawSubject) {
		return false
	}
	key := sha256.Sum256(issuer.Raw)
	l.mutex.Lock()
	defer l.mutex.Unlock()
	signed, known := l.signed[key]
	if !known {
		signed = l.CheckSignatureFrom(issuer) == nil
		if len(l.signed) < maxSigners {
			l.signed[key] = signed
		}
	}
	return signed
}

// Lists are the lists of some authorities.
type Lists struct {
	All []*List
	// Late is for how long a list counts after its next update was due.
	Late time.Duration
}

// Stale are the names of lists whose next update is due.
func (ls Lists) Stale(now time.Time) (names []string) {
	for _, l := range ls.All {
		if now.After(l.NextUpdate.Add(ls.Late)) {
			names = append(names, l.name)
		}
	}
	return names
}

// ask says what the lists tell of a certificate.
func (ls Lists) ask(c, issuer *x509.Certificate, now time.Time) answer {
	best := answer{reason: fmt.Errorf("no list of revoked certificates is of %.120q", issuer.Subject)}
	for _, l := range ls.All {
		if !l.isOf(issuer) {
			continue
		}
		end := l.NextUpdate.Add(ls.Late)
		switch {
		case !l.indirect && l.revoked[string(c.SerialNumber.Bytes())]:
			return answer{status: revoked, reason: fmt.Errorf("%s has it", l.name)}
		case !l.covers(c):
			best.reason = fmt.Errorf("the list %s is about other certificates", l.name)
		case !now.Before(end):
			best.reason = fmt.Errorf("the list %s is out of date: its update was due at %s", l.name, l.NextUpdate.UTC().Format(time.RFC3339))
		case now.Add(skew).Before(l.ThisUpdate):
			best.reason = fmt.Errorf("the list %s is of the future", l.name)
		case best.status != good || end.After(best.until):
			best = answer{status: good, until: end}
		}
	}
	return best
}
