package setting

import (
	"os"
	"path/filepath"
	"reflect"
	"testing"
)

type hostSettings struct {
	Listen  []hostListener `config:"listen" required:"true" doc:"Where to listen."`
	Drain   Seconds        `config:"drain_timeout" default:"10" between:"0,60" doc:"Time to drain."`
	Trusted []string       `config:"trusted_proxies" default:"127.0.0.1/32" doc:"Who is trusted."`
	Gates   map[string]any `config:"gates" doc:"What somebody else decodes."`
}

type hostListener struct {
	Address string `config:"address" required:"true" doc:"The address."`
	Mode    string `config:"mode" one_of:"0600,0660" default:"0600" doc:"The mode."`
}

func TestHostsDecodeTheirOwnSettings(t *testing.T) {
	for name, c := range map[string]struct {
		text    string
		want    hostSettings
		mistake string
	}{
		"defaults": {
			text: "listen: [{address: a}]\ngates: {main: {file: x, deep: [1]}}",
			want: hostSettings{
				Listen: []hostListener{{"a", "0600"}}, Drain: 10, Trusted: []string{"127.0.0.1/32"},
				Gates: map[string]any{"main": map[string]any{"file": "x", "deep": []any{1}}},
			},
		},
		"every mistake": {
			text:    "listen: [{adress: a}]\ngates: [main]\ndrain_timeout: soon",
			mistake: "FILE: configuration has 4 mistake(s)\n  drain_timeout: must be a number, not a string\n  gates: must be a map, not a list\n  listen[0].address: is required: The address.\n  listen[0].adress: is not a setting; did you mean listen[0].address?",
		},
		"tags": {
			text:    "listen: [{mode: '0777'}]\ndrain_timeout: 61",
			mistake: "FILE: configuration has 3 mistake(s)\n  drain_timeout: must be between 0 and 60\n  listen[0].address: is required: The address.\n  listen[0].mode: must be one of 0600, 0660",
		},
		"key twice": {text: "listen: []\nlisten: []", mistake: "FILE: configuration has 1 mistake(s)\n  line 2: mapping key \"listen\" already defined at line 1"},
	} {
		path := filepath.Join(t.TempDir(), "host.yaml")
		if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		var got hostSettings
		err := DecodeFile(path, &got)
		if want := c.mistake; want != "" {
			if err == nil || err.Error() != path+want[len("FILE"):] {
				t.Errorf("%s: %v, want %s", name, err, want)
			}
		} else if err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %+v, %v, want %+v", name, got, err, c.want)
		}
	}
	if err := DecodeFile(filepath.Join(t.TempDir(), "none"), &hostSettings{}); err == nil {
		t.Error("a file that is not there loads")
	}
}
