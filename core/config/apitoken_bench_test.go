package config

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatehouse/core"
	"gatehouse/core/authn/apitoken"
	"gatehouse/core/authn/apitoken/tokenfile"
)

// BenchmarkAPIToken looks one of 10,000 tokens of a file up, as a gate with its cache
// does, and without it.
func BenchmarkAPIToken(b *testing.B) {
	path, token := filepath.Join(b.TempDir(), "tokens.yaml"), apitoken.Generate()
	var text strings.Builder
	text.WriteString("version: 1\nusers:\n- {subject: ada, roles: [clerk]}\ntokens:\n" + tokenRow("t", token, adaRow+", roles: [clerk]"))
	for i := range 10_000 {
		text.WriteString(tokenRow(fmt.Sprint("t", i), apitoken.Generate(), adaRow))
	}
	if err := os.WriteFile(path, []byte(text.String()), 0o600); err != nil {
		b.Fatal(err)
	}
	now := func() time.Time { return time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC) }
	gate, err := NewBuilder(BuilderOptions{Now: now}).Gate([]byte(fmt.Sprintf("api_token: {token_file: %q}\npermission_table: %q\n", path, apiTable)))
	if err != nil {
		b.Fatal(err)
	}
	b.Run("gate, cached", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			r := core.Request{Method: "GET", Target: "/orders", Host: "api.test", Header: []core.Header{bearer(token)}}
			if d := gate.Check(b.Context(), &r); d.Outcome != core.Allow {
				b.Fatal(d.Cause)
			}
		}
	})
	store := tokenfile.Open(path, slog.New(slog.DiscardHandler), now)
	a, err := apitoken.New(apitoken.Options{Store: store, Owners: store, MaxLifetime: 365 * 24 * time.Hour, Now: now})
	if err != nil {
		b.Fatal(err)
	}
	for name, value := range map[string]string{"look-up of a good one": token, "look-up of an unknown one": apitoken.Generate(), "refused by its checksum": token[:52] + "-"} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if p, err := a.AuthenticateToken(b.Context(), core.Credential{Place: core.BearerToken, Value: value}); (err == nil) != (value == token) || (p != nil) != (value == token) {
					b.Fatal(err)
				}
			}
		})
	}
}
