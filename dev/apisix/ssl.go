package apisix

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// ssl is a certificate for names of servers (SNI), and what it asks of clients.
type ssl struct {
	snis   []string
	server tls.Certificate
	// client are the authorities of clients; nil: they are asked for nothing.
	client *x509.CertPool
	// skip are the paths that need no certificate; nil: the handshake needs one.
	skip []*regexp.Regexp
}

func (r *configReader) ssl(n *yaml.Node, path, _ string) {
	s, status := &ssl{}, 1
	var sni, cert, key, kind string
	r.object(n, path, described(map[string]field{
		"sni": r.text(&sni), "snis": r.texts(&s.snis), "cert": r.text(&cert), "key": r.text(&key), "status": r.integer(&status), "type": r.text(&kind),
		"client": func(n *yaml.Node, path string) { r.sslClient(s, n, path) },
	}))
	r.exclusive(n, path, "sni", sni, "snis", &s.snis)
	if len(s.snis) == 0 {
		r.problem(n, path, "needs sni or snis")
	}
	r.checkHosts(n, path, s.snis)
	if kind != "" && kind != "server" {
		r.problem(n, path+".type", "the local gateway knows server only, got %q", kind)
	}
	var err error
	if s.server, err = tls.X509KeyPair([]byte(cert), []byte(key)); err != nil && r.skip { // such as a reference to a secret
		r.reader.skipped = append(r.reader.skipped, leftOut{"ssls", path, fmt.Sprintf("%s:%d:%d", r.file, n.Line, n.Column), false})
		return
	} else if err != nil {
		r.problem(n, path, "cert and key: %v", err)
	}
	if status == 1 {
		r.ssls = append(r.ssls, s)
	}
}

func (r *configReader) sslClient(s *ssl, n *yaml.Node, path string) {
	var ca string
	var depth int
	var skip []string
	r.object(n, path, map[string]field{"ca": r.text(&ca), "depth": r.integer(&depth), "skip_mtls_uri_regex": r.texts(&skip)})
	s.client = x509.NewCertPool()
	if !s.client.AppendCertsFromPEM([]byte(ca)) {
		r.problem(n, path+".ca", "holds no certificate")
	}
	for _, text := range skip {
		pattern, err := regexp.Compile(text)
		if err != nil {
			r.problem(n, path+".skip_mtls_uri_regex", "%v", err)
			continue
		}
		s.skip = append(s.skip, pattern)
	}
}

// serves reports whether a name of a server is one of the certificate's: "*." stands for
// one label.
func (s *ssl) serves(name string) bool {
	_, parent, _ := strings.Cut(name, ".")
	return name != "" && (slices.Contains(s.snis, name) || slices.Contains(s.snis, "*."+parent) || slices.Contains(s.snis, "*"))
}

// sslFor is the first of a name; nil: none.
func (c *config) sslFor(name string) *ssl {
	for _, s := range c.ssls {
		if s.serves(strings.ToLower(name)) {
			return s
		}
	}
	return nil
}

// tlsConfig ends the handshake of a client that asks for a name without a certificate, and
// of one that cannot show the certificate which every path needs.
func (g *Gateway) tlsConfig() *tls.Config {
	return &tls.Config{GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		s := g.state.Load().config.sslFor(hello.ServerName)
		if s == nil {
			return nil, fmt.Errorf("failed to find any SSL certificate by SNI: %q", hello.ServerName)
		}
		own := &tls.Config{Certificates: []tls.Certificate{s.server}, NextProtos: []string{"http/1.1"}, ClientCAs: s.client}
		switch {
		case s.client != nil && s.skip == nil:
			own.ClientAuth = tls.RequireAndVerifyClientCert
		case s.client != nil:
			own.ClientAuth = tls.RequestClientCert
		}
		return own, nil
	}}
}

// clientVerify is $ssl_client_verify, by the authorities of the name that the client asked
// for in its handshake.
func (x *exchange) clientVerify() string {
	if x.req.TLS == nil {
		return ""
	}
	var authorities *x509.CertPool
	if s := x.state.config.sslFor(x.req.TLS.ServerName); s != nil {
		authorities = s.client
	}
	return x.req.ClientVerify(authorities, x.gateway.now())
}

// verifyClient refuses a request without the certificate that its path, or its host, needs.
func (x *exchange) verifyClient() bool {
	if x.req.TLS == nil {
		return true
	}
	verified := x.clientVerify() == "SUCCESS"
	needs := func(s *ssl) bool {
		return s != nil && s.client != nil && !slices.ContainsFunc(s.skip, func(p *regexp.Regexp) bool { return p.MatchString(x.uri) })
	}
	if needs(x.state.config.sslFor(x.req.TLS.ServerName)) && !verified {
		return false
	}
	of := x.state.config.sslFor(x.host)
	return of == nil || of.client == nil || x.req.TLS.ServerName == x.host && (verified || !needs(of))
}
