package luagate

import (
	"encoding/json"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gatehouse/dev/apisix"
	"gatehouse/dev/kong"
	"gatehouse/e2e/vector"
)

// TestVectorsOfConsumers replays the vectors about consumers through the Lua files, which
// look consumers up, and through the gateways' own protocols, which cannot and deny.
func TestVectorsOfConsumers(t *testing.T) {
	suite, err := vector.Load(os.DirFS("../vectors/consumers"))
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range []string{"kong", "apisix"} {
		b, first, second := consumerBench(t, kind, `{"consumer_claim": "sub"}`)
		values := vector.Values{
			"ada": first.Token(map[string]any{"sub": "ada"}), "other.ada": second.Token(map[string]any{"sub": "ada"}),
			"nobody": first.Token(map[string]any{"sub": "nobody"}), "custom": first.Token(map[string]any{"sub": "c-ada"}),
			"capitals": first.Token(map[string]any{"sub": "ADA"}), "path": first.Token(map[string]any{"sub": "ada/credentials/x"}),
		}
		for host, address := range map[string]string{kind + "-lua": b.Address, kind: b.door()} {
			values["host"] = address
			for _, v := range suite.Vectors {
				request, err := v.Bytes(values)
				if err != nil {
					t.Fatal(err)
				}
				before := b.upstream.Hits()
				response, err := vector.Send(t.Context(), address, request)
				if err != nil {
					t.Fatal(err)
				}
				if reached := b.upstream.Hits() > before; reached != response.Served {
					t.Errorf("%s %q on %s: an upstream was reached: %v", v.Source, v.Name, host, reached)
				}
				for _, problem := range suite.Judge(v, host, request, response, values) {
					t.Errorf("%s %q on %s: %s", v.Source, v.Name, host, problem)
				}
			}
		}
	}
}

// door is the local gateway with the program's own protocol, and the same settings.
func (b *bench) door() string {
	b.t.Helper()
	settings := b.options.Routes[0].Config
	up := b.upstream.Addr().String()
	file := filepath.Join(b.t.TempDir(), "gateway.yaml")
	write := func(config any, end string) {
		text, err := json.Marshal(config)
		if err == nil {
			err = os.WriteFile(file, append(text, end...), 0o600)
		}
		if err != nil {
			b.t.Fatal(err)
		}
	}
	if b.kind == "kong" {
		write(map[string]any{"_format_version": "3.0", "services": []any{map[string]any{
			"name": "app", "url": "http://" + up, "routes": []any{map[string]any{"name": "all", "paths": []string{"/"}}},
			"plugins": []any{map[string]any{"name": "gatehouse", "config": settings}},
		}}}, "")
		g, err := kong.Start(kong.Options{Config: file, PluginBinary: b.options.Program, Listen: "127.0.0.1:0", Log: io.Discard})
		if err != nil {
			b.t.Fatal(err)
		}
		b.t.Cleanup(func() { g.Stop() })
		return strings.TrimPrefix(g.URL(), "http://")
	}
	value, err := json.Marshal(settings)
	if err != nil {
		b.t.Fatal(err)
	}
	write(map[string]any{"routes": []any{map[string]any{
		"uri": "/*", "upstream": map[string]any{"nodes": map[string]any{up: 1}},
		"plugins": map[string]any{"ext-plugin-pre-req": map[string]any{"conf": []any{map[string]any{"name": "gatehouse", "value": string(value)}}}},
	}}}, "\n#END\n")
	g, err := apisix.Start(apisix.Options{Config: file, RunnerBinary: b.options.Program, Listen: "127.0.0.1:0", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { g.Stop() })
	return strings.TrimPrefix(g.URL(), "http://")
}
