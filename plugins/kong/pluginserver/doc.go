// Package pluginserver serves one Go plugin to Kong.
//
// It speaks Kong's ProtoBuf:1 plugin protocol over a unix socket and hands
// each request to the plugin together with the PDK of github.com/Kong/go-pdk.
// It stands where that library's own server would, because an authentication
// plugin needs more than that one promises:
//
//   - A handler that panics, fails to build or leaves the PDK in a broken state
//     denies its request with 503. The process goes on.
//   - An instance lives until Kong closes it. The library's server forgets every
//     instance older than sixty seconds whenever one is closed.
//   - Instance ids are never used twice, and another process counts from
//     elsewhere, so that a number from before a restart names nothing.
//   - The end of an event, which is what lets a request through, is written only
//     after a handler that returned normally and whose every PDK call was
//     delivered and got its response.
//   - One write per PDK call, buffered reads, bounded frames, no line in the log
//     per request.
//   - A graceful stop, and a socket that is replaced in one step and removed only
//     by the server it belongs to.
//
// # Kong versions
//
// Kong 3.8 is the oldest that denies a request when the plugin server is gone or
// hangs up; earlier ones log an error and let it through. Of Kong Enterprise it is
// 3.14. The protocol does not
// carry Kong's version and no PDK call returns it, so an old Kong cannot be
// recognised by what it sends. What can be known is where this process runs:
// <prefix>/.kong_env, which Kong writes at every start and which holds the
// resolver_* settings from 3.8 on; KONG_VERSION, which the official images set
// and which reaches -dump but not the server, because nginx clears the
// environment; and /usr/local/share/lua/5.1/kong/meta.lua of the official
// packages. If one of them shows an older Kong, -dump fails, which keeps that
// Kong from starting, and the server denies every request: to exit instead would
// open the very hole. A plugin server in another container than its Kong sees
// none of the three and has to take the operator's word.
//
// A Kong that speaks MsgPack:1 (it does so when it read its -dump from another
// binary, or from none that names a protocol) gets the error that the instance does
// not exist, the only one after which it fails closed.
package pluginserver
