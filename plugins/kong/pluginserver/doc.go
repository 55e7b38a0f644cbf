// Package pluginserver serves one Go plugin to Kong.
//
// It speaks Kong's ProtoBuf:1 plugin protocol over a unix socket and hands
// each request to the plugin together with what stands for Kong.
// It stands where the server of github.com/Kong/go-pdk would, because an authentication
// plugin needs more than that one promises:
//
//   - A handler that panics, fails to build or whose call to Kong failed
//     denies its request with 503. The process goes on.
//   - An event ends with the frames that let the request pass, or with an exit, whatever
//     comes from Kong: see below.
//   - An instance lives until Kong closes it. The library's server forgets every
//     instance older than sixty seconds whenever one is closed.
//   - Instance ids are never used twice, and another process counts from
//     elsewhere, so that a number from before a restart names nothing.
//   - The end of an event, which is what lets a request through, is written only
//     after a handler that returned normally and whose every call was
//     delivered and got its response, or is one that Kong fails on.
//   - One write for several calls, buffered reads, bounded frames, no line in the log
//     per request.
//   - A graceful stop, and a socket that is replaced in one step and removed only
//     by the server it belongs to.
//
// # Kong versions
//
// Kong 3.8 is the oldest that denies a request when the plugin server is gone or
// hangs up; earlier ones log an error and let it through. Of Kong Enterprise it is
// 3.14. The protocol does not
// carry Kong's version and no call returns it, so an old Kong cannot be
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
//
// # Ends of connections
//
// Kong 3.8 to 3.10 run their handler again when they read the end of a connection
// (the error "closed") in the middle of an event: reset_instance, then handle_event, at
// once, without end. After all else they respond with 500: an error of writing or of
// decoding is thrown, any other error of reading has another text, and so has the end of
// a connection where they wait for a return. So:
//
//   - Where an event is open, or may be, an exit is written before the connection is
//     closed: see [event] and deny.
//   - An unknown instance is the exception, for Kong to start it again. Only so many times
//     for one id: see unknownInstance.
//   - A start is responded to with an instance, one that denies if need be. To respond
//     with anything else leaves Kong's claim on the instance behind, for which other
//     requests wait ten seconds; so a start that cannot be decoded is hung up on.
//
// # Calls in one write
//
// These Kongs read one frame after the other, make a call when they have read it, and
// leave the event, which is 500 for the client, when it fails (Rpc:call and call_pdk in
// pb_rpc.lua). So the calls with which a handler begins are written together, on every
// Kong: to read changes nothing. Calls that change the request are written together with
// the end of the event only if Kong is known to be one of these: see callsInOrder.
package pluginserver
