package kong

import (
	"sync"

	"gatehouse/dev/kong/schema"
)

// entityDefinitions describe what this gateway knows of Kong's entities, in
// the language that Kong describes its own in. What is not named here is an
// error in the config file.
type entityDefinitions struct{ service, route, plugin, upstream, target *schema.Entity }

// common are the fields that every entity has.
const common = `
	{"id": {"type": "string", "uuid": true}},
	{"tags": {"type": "set", "elements": {"type": "string"}}},
	{"created_at": {"type": "integer"}},
	{"updated_at": {"type": "integer"}},
	{"_comment": {"type": "string"}},
	{"name": {"type": "string", "match": "^[%w%.%-%_~\u0080-\u00ff]+$",
		"err": "the only accepted ascii characters are alphanumerics or ., -, _, and ~"}}`

const milliseconds = `{"type": "integer", "default": 60000, "between": [1, 2147483646]}`

const protocol = `{"type": "string", "one_of": ["http", "https"], "err": "the local gateway knows http and https only"`

var definitions = sync.OnceValue(func() entityDefinitions {
	return entityDefinitions{
		service: schema.MustEntity(`{"fields": [` + common + `,
			{"url": {"type": "string"}},
			{"protocol": ` + protocol + `, "required": true, "default": "http"}},
			{"host": {"type": "string", "required": true}},
			{"port": {"type": "integer", "required": true, "default": 80, "between": [0, 65535]}},
			{"path": {"type": "string", "starts_with": "/", "match_none": [{"pattern": "//", "err": "must not have empty segments"}]}},
			{"retries": {"type": "integer", "default": 5, "between": [0, 32767]}},
			{"connect_timeout": ` + milliseconds + `},
			{"write_timeout": ` + milliseconds + `},
			{"read_timeout": ` + milliseconds + `},
			{"tls_verify": {"type": "boolean"}},
			{"enabled": {"type": "boolean", "required": true, "default": true}}]}`),
		route: schema.MustEntity(`{"fields": [` + common + `,
			{"protocols": {"type": "set", "required": true, "len_min": 1, "default": ["http", "https"], "elements": ` + protocol + `}}},
			{"https_redirect_status_code": {"type": "integer", "required": true, "default": 426, "one_of": [426, 301, 302, 307, 308]}},
			{"strip_path": {"type": "boolean", "required": true, "default": true}},
			{"preserve_host": {"type": "boolean", "required": true, "default": false}},
			{"request_buffering": {"type": "boolean", "required": true, "default": true, "eq": true,
				"err": "the local gateway always buffers requests"}},
			{"response_buffering": {"type": "boolean", "required": true, "default": true}},
			{"methods": {"type": "set", "elements": {"type": "string", "match": "^%u+$"}}},
			{"hosts": {"type": "array", "elements": {"type": "string",
				"match_all": [{"pattern": "^[^*]*%*?[^*]*$", "err": "invalid wildcard: must have at most one wildcard"}],
				"match_any": {"patterns": ["^%*%.", "%.%*$", "^[^*]*$"], "err": "invalid wildcard: must be placed at leftmost or rightmost label"}}}},
			{"paths": {"type": "array", "elements": {"type": "string",
				"match_any": {"patterns": ["^/", "^~/"], "err": "should start with: / (fixed path) or ~/ (regex path)"},
				"match_none": [{"pattern": "//", "err": "must not have empty segments"}]}}},
			{"headers": {"type": "map",
				"keys": {"type": "string", "match_none": [{"pattern": "^[Hh][Oo][Ss][Tt]$", "err": "cannot contain 'host' header, which must be specified in the 'hosts' attribute"}]},
				"values": {"type": "array", "elements": {"type": "string"}}}},
			{"regex_priority": {"type": "integer", "default": 0}},
			{"path_handling": {"type": "string", "default": "v0", "one_of": ["v0"], "err": "the local gateway knows path_handling v0 only"}}],
			"entity_checks": [{"at_least_one_of": ["methods", "hosts", "headers", "paths"]}]}`),
		plugin: schema.MustEntity(`{"fields": [` + common + `,
			{"instance_name": {"type": "string"}},
			{"enabled": {"type": "boolean", "required": true, "default": true}},
			{"protocols": {"type": "set", "required": true, "default": ["grpc", "grpcs", "http", "https"],
				"elements": {"type": "string", "one_of": ["grpc", "grpcs", "http", "https", "tcp", "tls", "tls_passthrough", "udp", "ws", "wss"]}}}],
			"entity_checks": []}`),
		upstream: schema.MustEntity(`{"fields": [` + common + `,
			{"algorithm": {"type": "string", "default": "round-robin", "one_of": ["round-robin"],
				"err": "the local gateway knows round-robin only"}}]}`),
		target: schema.MustEntity(`{"fields": [` + common + `,
			{"target": {"type": "string", "required": true}},
			{"weight": {"type": "integer", "default": 100, "between": [0, 65535]}}]}`),
	}
})
