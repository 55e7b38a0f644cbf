// Probe is the plugin that was behind the captures of real Kong: it reads the
// request in the usual three calls, and answers or changes headers so that the
// gateway's part can be seen from outside.
package main

import (
	"log"

	"github.com/Kong/go-pdk"
	"github.com/Kong/go-pdk/server"
)

// Config is what the captured gateway was configured with.
type Config struct {
	Realm  string            `json:"realm"`
	Scopes []string          `json:"scopes"`
	TTL    int               `json:"ttl"`
	Map    map[string]string `json:"map"`
}

// Access handles the access phase.
func (c *Config) Access(kong *pdk.PDK) {
	headers, headersErr := kong.Request.GetHeaders(1000)
	_, lineErr := kong.Nginx.GetVar("request")
	path, pathErr := kong.Request.GetPath()
	switch {
	case headersErr != nil || lineErr != nil || pathErr != nil:
		kong.Response.Exit(400, []byte(`{"error":"unreadable"}`), map[string][]string{"content-type": {"application/json"}})
	case headers["x-deny"] != nil:
		kong.Response.Exit(401, []byte(`{"error":"denied"}`), map[string][]string{
			"content-type":     {"application/problem+json"},
			"www-authenticate": {`Bearer realm="x"`},
			"set-cookie":       {"a=1", "b=2"},
		})
	default:
		_ = kong.ServiceRequest.SetHeaders(map[string][]string{
			"X-User-Id": {"u1"}, "X-Seen-Path": {path}, "X-User-Email": {}, "X_User_Id": {},
		})
	}
}

func main() {
	if err := server.StartServer(func() any { return &Config{} }, "1.0.0", 1000); err != nil {
		log.Fatal(err)
	}
}
