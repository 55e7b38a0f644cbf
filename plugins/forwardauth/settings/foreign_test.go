package settings

import (
	"strings"
	"testing"

	"gatehouse/core/setting"
)

// follows are settings with a value at each path that a hint names.
const follows = `
listen: [{address: "127.0.0.1:4180", tls: {cert_file: c, key_file: k, client_ca_file: a}}]
trusted_proxies: [10.0.0.0/8]
endpoints: [{path: /auth, dialect: traefik, gate: main}]
drain_timeout: 5
gates: {main: {file: x}}
`

func TestHintsForForeignNamesAreTrue(t *testing.T) {
	s := &Settings{}
	if problems := append(setting.Decode([]byte(follows), s), s.Problems()...); len(problems) > 0 {
		t.Fatal(problems)
	}
	for _, f := range (Settings{}).ForeignNames() {
		for name := range strings.SplitSeq(f.Names, ", ") {
			problems := setting.Decode([]byte(name+": x"+follows), &Settings{})
			if len(problems) != 1 || problems[0].Path != name || !strings.Contains(problems[0].Text, f.Note) {
				t.Errorf("%s: %v", name, problems)
			}
		}
		for path := range strings.SplitSeq(f.Paths, ", ") {
			for part := range strings.SplitSeq(strings.ReplaceAll(path, "[]", ""), ".") {
				if !strings.Contains(follows, part) {
					t.Errorf("%s: the test has no value for %s", f.Names, path)
				}
			}
		}
	}
}
