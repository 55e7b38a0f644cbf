// Package kong is a local stand-in for Kong Gateway 3.9: a small reverse proxy
// that loads a real declarative config file, starts the real plugin binary as
// Kong would, and speaks Kong's plugin protocol with it. It is for development
// and tests, binds loopback by default, and says so in its log.
//
// What it does was measured on a real Kong: a test replays 315 captured
// requests and wants the same response and the same upstream request.
//
// # Config file
//
// YAML or JSON with _format_version "3.0". Supported are
//
//   - services: name, id, url or protocol (http, https), host, port and path,
//     retries, connect_timeout, write_timeout, read_timeout (milliseconds,
//     default 60000), tls_verify, enabled, tags, with nested routes and plugins
//   - routes: name, id, paths (prefixes and ~regexes), methods, hosts, headers,
//     protocols (http, https), strip_path, preserve_host, regex_priority,
//     https_redirect_status_code, path_handling v0, response_buffering, tags,
//     with nested plugins
//   - plugins: the one under development, and of Kong's own acl and
//     rate-limiting (policy local), with instance_name, enabled, protocols and
//     config, globally, for a service, a route, or both
//   - upstreams with round-robin targets
//
// Anything else is an error that names its line and path, unless
// [Options.SkipUnsupported] leaves it out. So is a plugin
// config that the plugin's own schema does not allow. The file is read again
// when it changes; a bad one is reported and the old one stays.
//
// # Plugin
//
// "<binary> -dump" must print one JSON value with Protocol "ProtoBuf:1", else
// the gateway does not start. "<binary> -kong-prefix <prefix>" then has to
// listen on <prefix>/<base name>.socket. It is started again at once when it
// ends, or one second after its last start. While it is gone, every request
// that needs it gets a 500.
//
// Plugins run in the order of their priorities, in the access phase only. Of
// the PDK there are kong.client (addresses, protocol, authenticate),
// kong.ctx.shared, kong.ip, kong.log (levels),
// kong.nginx (get_var for the variables of a request, contexts), kong.request
// (all but the parsed query and the captures), kong.response (exit
// and the header setters), and kong.service.request (the header setters and
// set_raw_query). Any other call, and any problem in one, is a 500.
//
// # Differences from Kong
//
//   - few plugins, no consumers, no gRPC, no Admin API
//   - the TLS listener speaks HTTP/1.1 only, has one certificate, and asks for
//     those of clients as nginx_proxy_ssl_verify_client says, never in a plugin
//   - counters of rate-limiting begin anew when the file changes
//   - a handler whose connection closes runs again at most 10 times; Kong has
//     no limit
//   - [Start] waits up to 15 s for the plugin's socket; Kong responds with 500
//   - the plugin sees the whole environment; Kong passes on what its nginx
//     configuration names
//   - certificates of https upstreams are verified unless tls_verify is false;
//     Kong verifies if tls_verify is true
//   - a body of any size is handed over in memory; Kong puts one above
//     client_body_buffer_size into a file and hands over its path
//   - of routes with equal priority the first in the file wins; Kong goes by id
//   - {vault://env/…} is the only vault
//   - YAML that two versions of YAML understand differently is refused
package kong
