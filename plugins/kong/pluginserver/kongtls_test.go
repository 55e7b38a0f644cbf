package pluginserver

import (
	"os"
	"path/filepath"
	"testing"
)

// What Kong 3.9 writes for nginx with nginx_proxy_ssl_verify_client and its kin.
func TestDirectiveByWhichKongAsksForCertificates(t *testing.T) {
	const proxy, admin = "server {\n    server_name kong;\n    listen 0.0.0.0:8443 ssl;\n", "server {\n    # Admin API\n    server_name kong_admin;\n"
	for text, want := range map[string]bool{
		proxy + "}\n" + admin + "}\n":                                                                       false,
		proxy + "    ssl_verify_client optional_no_ca;\n}\n" + admin + "}\n":                                true,
		proxy + "    ssl_verify_client on;\n}\n":                                                            true,
		proxy + "    ssl_verify_client off;\n}\n":                                                           false,
		proxy + "    # ssl_verify_client on;\n}\n":                                                          false,
		proxy + "}\n" + admin + "    ssl_verify_client on;\n}\n":                                            false,
		"ssl_verify_client optional;\n\n" + proxy + "}\n" + admin + "}\n":                                   true,
		"ssl_verify_client optional;\n\n" + proxy + "    ssl_verify_client off;\n}\n" + admin + "}\n":       false,
		"ssl_verify_client off;\n\n" + proxy + "    ssl_verify_client optional_no_ca;\n}\n" + admin + "}\n": true,
		"": false,
	} {
		prefix := t.TempDir()
		if err := os.WriteFile(filepath.Join(prefix, "nginx-kong.conf"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := AsksForCertificate(prefix); got != want {
			t.Errorf("%v with\n%s", got, text)
		}
	}
	if !AsksForCertificate(t.TempDir()) {
		t.Error("a configuration that cannot be read says that nobody is asked")
	}
}
