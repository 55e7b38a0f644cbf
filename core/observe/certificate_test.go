package observe

import (
	"log/slog"
	"strings"
	"testing"

	"gatehouse/core"
	"gatehouse/core/coretest"
)

// A line names the certificate that the gate has verified.
func TestLogNamesTheCertificateOfTheCaller(t *testing.T) {
	log := &coretest.Log{}
	l := NewLog(slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})))
	p := &core.Principal{Subject: "robot-7", Kind: core.KindMTLS, Claims: map[string]any{"certificate": map[string]any{"subject": "CN=robot-7", "issuer": "CN=machines", "fingerprint": "ab12", "san_dns": []any{"x"}}}}
	l.End(t.Context(), core.Event{Request: &core.Request{}, Decision: &core.Decision{Outcome: core.Allow, Principal: p}})
	for _, want := range []string{`cert_subject="CN=robot-7"`, `cert_issuer="CN=machines"`, "cert_fingerprint=ab12", "kind=mtls"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("no %s in %s", want, log)
		}
	}
}
