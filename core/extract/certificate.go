package extract

import (
	"errors"
	"fmt"

	"gatehouse/core"
)

// CertificatePlace is the TLS connection of the client.
var CertificatePlace = Place{Name: core.ClientCertificate}

// Certificate is the credential of a client that has shown a certificate. It is ambient
// like a cookie: browsers send one by themselves, whoever caused the request. A host that
// cannot tell, for this request, whether there is one is an error other than
// core.ErrMissing.
func Certificate(r *core.Request) (core.Credential, error) {
	if r.AskTLS == nil {
		return core.Credential{}, fmt.Errorf("%w: the host does not tell the client's certificate", core.ErrMissing)
	}
	facts, err := r.ClientTLS()
	switch {
	case errors.Is(err, core.ErrBadRequest):
		return core.Credential{}, err
	case err != nil:
		return core.Credential{}, fmt.Errorf("whether the client has a certificate is not known: %w", err)
	case len(facts.Chain) == 0:
		return core.Credential{}, fmt.Errorf("%w: the client has shown no certificate", core.ErrMissing)
	}
	size := len(facts.Staple)
	for _, c := range facts.Chain {
		size += len(c.Raw)
	}
	value := make([]byte, 0, size)
	for _, c := range facts.Chain {
		value = append(value, c.Raw...)
	}
	return core.Credential{Place: core.ClientCertificate, Value: string(append(value, facts.Staple...)), Parsed: facts}, nil
}
