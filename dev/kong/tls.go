package kong

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"

	"gatehouse/dev/front"
)

// nginxConf is the part of the file that Kong writes for nginx by which a plugin server
// can know whether clients are asked for certificates.
func (g *Gateway) nginxConf() string {
	asks := ""
	if g.opts.SSLVerifyClient != "" {
		asks = "    ssl_verify_client " + g.opts.SSLVerifyClient + ";\n"
	}
	return "server {\n    server_name kong;\n" + asks + "}\n"
}

// tlsConfig is that of nginx with ssl_verify_client: the handshake does not fail, whatever
// a client shows.
func (g *Gateway) tlsConfig() (*tls.Config, error) {
	if g.opts.ListenTLS == "" {
		return nil, nil
	}
	own, err := front.OwnCertificate("localhost", g.now())
	if err != nil {
		return nil, err
	}
	config := &tls.Config{Certificates: []tls.Certificate{own}, NextProtos: []string{"http/1.1"}}
	switch g.opts.SSLVerifyClient {
	case "":
	case "optional_no_ca":
		config.ClientAuth = tls.RequestClientCert
	default:
		return nil, fmt.Errorf("SSLVerifyClient %q: the local gateway knows optional_no_ca only", g.opts.SSLVerifyClient)
	}
	if file := g.opts.SSLClientCertificate; file != "" {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		g.clientAuthorities = x509.NewCertPool()
		if !g.clientAuthorities.AppendCertsFromPEM(text) {
			return nil, errors.New(file + " holds no certificate")
		}
	}
	return config, nil
}
