package apisix

import (
	"encoding/json"
	"os"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// parseFileLogger reads file-logger. Its file has to be named on the plugin.
func parseFileLogger(r *reader, p *plugin, n *yaml.Node, path string) {
	var c fileLogger
	r.plugin(p, n, path, map[string]field{
		"path": r.text(&c.path), "log_format": func(n *yaml.Node, path string) {
			c.format = map[string]string{}
			r.pairs(n, path, func(key string, _, value *yaml.Node) {
				var text string
				r.text(&text)(value, join(path, key))
				c.format[key] = text
			})
		},
	})
	if c.path == "" {
		r.problem(n, join(path, "path"), "want the path of a file")
	}
	p.header = c.header
}

// fileLogger writes a line for each response. APISIX does so when the response has been
// sent, this one when its header is: nothing that it logs changes in between.
type fileLogger struct {
	path   string
	format map[string]string
}

func (c *fileLogger) header(x *exchange, head *responseHead) {
	entry := map[string]any{}
	for key, value := range c.format {
		name, isVariable := strings.CutPrefix(value, "$")
		switch known, ok := x.variable(name); {
		case !isVariable:
			entry[key] = value
		case name == "status":
			entry[key] = strconv.Itoa(head.status)
		case ok:
			entry[key] = known
		}
	}
	if c.format == nil {
		entry["request"] = map[string]any{"method": x.method, "uri": x.normalised, "headers": x.loggedHeaders()}
		entry["response"] = map[string]any{"status": head.status}
	}
	if x.route != nil {
		entry["route_id"] = x.route.id
	}
	line, err := json.Marshal(entry)
	if err == nil {
		err = appendLine(c.path, append(line, '\n'))
	}
	if err != nil {
		x.log.Error("file-logger", "error", err)
	}
}

// loggedHeaders are the request's headers as they are now, credentials and all.
func (x *exchange) loggedHeaders() map[string]any {
	headers := map[string]any{}
	for _, h := range x.header {
		name := strings.ToLower(h.Name)
		switch before := headers[name].(type) {
		case string:
			headers[name] = []string{before, h.Value}
		case []string:
			headers[name] = append(before, h.Value)
		default:
			headers[name] = h.Value
		}
	}
	return headers
}

func appendLine(path string, line []byte) error {
	file, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(line)
	if closed := file.Close(); err == nil {
		err = closed
	}
	return err
}
