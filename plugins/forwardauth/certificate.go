package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"
	"time"
)

// lookInterval is how often the files of a certificate are looked at, as those of
// a permission table are.
const lookInterval = time.Second

// certificates are what a listener shows and accepts. They follow their files: a
// change counts from the next connection on, as a whole or not at all. While the
// files do not fit each other, the last good ones stay.
type certificates struct {
	files   tlsAt
	log     *slog.Logger
	current atomic.Pointer[tls.Config]
	// seen is what the files held at the last look, tried what was last taken
	// over or refused. One goroutine looks.
	seen, tried material
}

// material is what the files hold, or why they cannot be read.
type material struct{ pair, key, clientCA, failure string }

// newCertificates loads the files. The error says why they do not load.
func newCertificates(files tlsAt, log *slog.Logger) (*certificates, error) {
	c := &certificates{files: files, log: log}
	c.tried = files.read()
	return c, c.load(c.tried)
}

// server is the configuration of the server, which has each connection use the
// certificates of its time.
func (c *certificates) server() *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS12,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return c.current.Load(), nil },
	}
}

// follow looks at the files until the context ends.
func (c *certificates) follow(ctx context.Context) {
	tick := time.NewTicker(lookInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			c.look()
		}
	}
}

// look takes over what has changed and then stood still for one look: a
// certificate and its key are seldom written at one moment.
func (c *certificates) look() {
	now := c.files.read()
	still := now == c.seen
	c.seen = now
	if !still || now == c.tried {
		return
	}
	c.tried = now
	if err := c.load(now); err != nil {
		c.log.Error("certificate did not load; the last good one stays in use", "cert_file", c.files.CertFile, "error", err)
	}
}

func (c *certificates) load(m material) error {
	config, err := m.config()
	if err != nil {
		return err
	}
	c.current.Store(config)
	c.log.Info("certificate loaded", "cert_file", c.files.CertFile, "expires", config.Certificates[0].Leaf.NotAfter)
	return nil
}

func (t *tlsAt) read() (m material) {
	for _, file := range []struct {
		path string
		into *string
	}{{t.CertFile, &m.pair}, {t.KeyFile, &m.key}, {t.ClientCAFile, &m.clientCA}} {
		if file.path == "" { // client_ca_file, which is optional
			continue
		}
		text, err := os.ReadFile(file.path)
		if err != nil {
			return material{failure: err.Error()}
		}
		*file.into = string(text)
	}
	if t.ClientCAFile != "" && m.clientCA == "" {
		return material{failure: t.ClientCAFile + " is empty"} // and not the same as none
	}
	return m
}

// config is that of one connection.
func (m material) config() (*tls.Config, error) {
	if m.failure != "" {
		return nil, errors.New(m.failure)
	}
	pair, err := tls.X509KeyPair([]byte(m.pair), []byte(m.key))
	if err != nil {
		return nil, fmt.Errorf("cert_file and key_file: %w", err)
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}, NextProtos: []string{"h2", "http/1.1"}}
	if m.clientCA == "" {
		return c, nil
	}
	c.ClientCAs = x509.NewCertPool()
	if !c.ClientCAs.AppendCertsFromPEM([]byte(m.clientCA)) {
		return nil, errors.New("client_ca_file holds no certificate")
	}
	c.ClientAuth = tls.RequireAndVerifyClientCert
	return c, nil
}
