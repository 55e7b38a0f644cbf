// Package apisix is a local gateway that behaves as Apache APISIX in
// standalone mode does towards an external plugin runner. It loads the real
// apisix.yaml, starts the real runner binary, speaks the real wire protocol
// with it and forwards to real upstreams. It is for development and tests: it
// binds loopback by default, serves plain HTTP, and keeps nothing
// on disk but its socket.
//
// What it does is APISIX 3.18, including what surprises people: the token of a
// configuration outlives a reload of the gateway, the runner sees the decoded
// path and at most 100 header lines, allow_degradation passes requests on when the
// runner is gone. The captures in ../testdata are what the real gateway did;
// a test replays them.
//
// # What it loads
//
//   - apisix.yaml ending in "#END" (without it the file is not applied):
//     routes, services, upstreams, plugin_configs, global_rules, ssls, with the
//     attributes named in the errors of this package. ${{NAME}} and
//     ${{NAME:=default}} are replaced from the environment, as APISIX does.
//   - Plugins: ext-plugin-pre-req, ext-plugin-post-req, proxy-rewrite,
//     redirect, response-rewrite (status and headers), cors, request-id (uuid),
//     consumer-restriction, acl (of external users), limit-count (local, fixed
//     window), file-logger, and serverless-pre-function and
//     serverless-post-function in the phases rewrite and access; each with
//     _meta.disable and _meta.priority. Functions run in an interpreter of Lua
//     5.1, not in LuaJIT, with ctx and the part of ngx, apisix.core and
//     apisix.plugin that lua.go lists.
//   - Of config.yaml: ext-plugin.cmd, ext-plugin.path_for_test,
//     nginx_config.envs, the list of plugins, and the attributes that change
//     nothing here. deployment must say standalone (config_provider yaml).
//
// Anything else is an error with its place and path, unless
// [Options.SkipUnsupported] leaves it out. The real gateway ignores
// much of it silently; a tool to develop with should not.
//
// # Differences that are meant
//
//   - A file with an error is refused as a whole and the last good one stays;
//     APISIX skips the one object and serves the rest.
//   - Regular expressions are RE2, not PCRE: look-around and back-references
//     are refused when the file is loaded.
//   - The file's version is its modification time in seconds, as in APISIX, but
//     a second edit within the same second is also seen. A file that is put back
//     with its old time has its old version: its routes keep the tokens of then.
//   - One worker; connections to upstreams are not kept alive; a request body
//     is read whole before it goes upstream, and has at most 64 MiB.
//   - A response always has a Date.
//   - TLS has HTTP/1.1 only, and an own certificate for each name.
package apisix
