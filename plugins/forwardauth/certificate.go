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

	"gatehouse/core/follow"
	"gatehouse/plugins/forwardauth/settings"
)

// lookInterval is how often the files of a certificate are looked at, as those of
// a permission table are.
const lookInterval = time.Second

// certificates are what a listener shows and accepts. They follow their files: a
// change counts from the next connection on, as a whole or not at all. While the
// files do not fit each other, the last good ones stay.
type certificates struct {
	files   settings.TLS
	changes *follow.Files
	log     *slog.Logger
	current atomic.Pointer[tls.Config]
	loaded  material // what was last loaded or refused
}

// material is what the files hold, or why they cannot be read.
type material struct{ pair, key, clientCA, failure string }

// newCertificates loads the files. The error says why they do not load.
func newCertificates(files settings.TLS, log *slog.Logger) (*certificates, error) {
	c := &certificates{files: files, changes: follow.New(tlsPaths(&files)...), log: log}
	c.changes.Read(func() { c.loaded = readTLS(&files) })
	return c, c.load()
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
func (c *certificates) follow(ctx context.Context) { follow.Every(ctx, lookInterval, c.look) }

// look loads the files again when they have changed.
func (c *certificates) look() {
	if !c.changes.Changed() {
		return
	}
	var now material
	if !c.changes.Read(func() { now = readTLS(&c.files) }) || now == c.loaded {
		return
	}
	c.loaded = now
	if err := c.load(); err != nil {
		c.log.Error("certificate did not load; the last good one stays in use", "cert_file", c.files.CertFile, "error", err)
	}
}

func (c *certificates) load() error {
	config, err := c.loaded.config()
	if err != nil {
		return err
	}
	c.current.Store(config)
	c.log.Info("certificate loaded", "cert_file", c.files.CertFile, "expires", config.Certificates[0].Leaf.NotAfter)
	return nil
}

// tlsPaths are the files that are configured.
func tlsPaths(t *settings.TLS) []string {
	paths := []string{t.CertFile, t.KeyFile}
	if t.ClientCAFile != "" {
		paths = append(paths, t.ClientCAFile)
	}
	return paths
}

func readTLS(t *settings.TLS) (m material) {
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
