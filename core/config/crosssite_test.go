package config_test

import (
	"strings"
	"testing"

	"gatehouse/core/config"
)

func TestOriginsThatMayWriteAreWrittenAsBrowsersWriteThem(t *testing.T) {
	const rest = `
session: {kratos_url: "http://kratos.test"}
permission_table: "{}"
`
	for settings, want := range map[string]string{
		`{}`:              "",
		`{policy: allow}`: "",
		`{trusted_origins: ["https://*.example.com", "http://localhost:3000"]}`: "",
		`{trusted_origins: ["*"]}`:                           "trusted_origins[0]",
		`{trusted_origins: ["null"]}`:                        "the origin of sandboxed frames",
		`{trusted_origins: ["https://a.test", "a.test"]}`:    "trusted_origins[1]",
		`{trusted_origins: ["https://*.com"]}`:               "a whole top-level domain",
		`{trusted_origins: ["https://a.test/"]}`:             "without a path or a slash",
		`{policy: allow, trusted_origins: [https://a.test]}`: "says nothing beside policy: allow",
		`{policy: off}`: "policy",
	} {
		_, err := config.Load([]byte("cross_site_writes: " + settings + rest))
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v; want %q", settings, err, want)
		}
	}
}
