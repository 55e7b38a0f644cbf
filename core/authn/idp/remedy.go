package idp

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"
)

// remedy is what an operator can do about a call that failed; empty where the error
// says all there is.
func remedy(err error) string {
	var unknown x509.UnknownAuthorityError
	var name x509.HostnameError
	var certificate x509.CertificateInvalidError
	var record tls.RecordHeaderError
	var lookup *net.DNSError
	switch {
	case errors.As(err, &unknown):
		return "; name the file with its authority's certificate in http.ca_file"
	case errors.As(err, &name):
		return "; use a host name of its certificate in the URL"
	case errors.As(err, &certificate) && certificate.Reason == x509.Expired:
		return "; renew its certificate, and check the clocks"
	case errors.As(err, &record), strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"):
		return "; it does not speak TLS there: write http, or another port"
	case errors.As(err, &lookup) && lookup.IsNotFound:
		return "; check the host name in the URL, as the gateway's machine knows it"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "; nothing listens there: check host and port, and whether the provider runs"
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return "; check the network between the gateway and the provider"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), strings.Contains(err.Error(), "server closed idle connection"):
		return "; it closed the connection without a response: check the scheme and the port"
	}
	return ""
}

// expectsTLS reports whether a response is what servers with TLS say to a request
// without: Go's, nginx and Apache httpd in their words.
func (r *Response) expectsTLS() bool {
	for _, text := range []string{"HTTP request to an HTTPS server", "plain HTTP request was sent to HTTPS port", "speaking plain HTTP to an SSL-enabled server port"} {
		if bytes.Contains(r.Body, []byte(text)) {
			return r.Status == 400
		}
	}
	return false
}
