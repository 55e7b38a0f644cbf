package pluginserver

import (
	"bytes"
	"os"
	"path/filepath"
)

// AsksForCertificate reports whether Kong asks every client that connects by TLS for its
// certificate, as the configuration says that Kong has written for nginx. Where that cannot
// be read it is not known, and what nginx knows of a client counts.
func AsksForCertificate(prefix string) bool {
	text, err := os.ReadFile(filepath.Join(prefix, "nginx-kong.conf"))
	if err != nil {
		return true
	}
	server, asks := "", false // the directives before the first server are those of all
	for line := range bytes.Lines(text) {
		switch name, value := directive(line); {
		case name == "server_name":
			server = value
		case name == "ssl_verify_client" && (server == "" || server == "kong"):
			asks = value != "off"
		}
	}
	return asks
}

// directive reads one that stands on a line by itself.
func directive(line []byte) (name, value string) {
	words := bytes.Fields(bytes.TrimSuffix(bytes.TrimSpace(line), []byte(";")))
	if len(words) != 2 {
		return "", ""
	}
	return string(words[0]), string(words[1])
}
