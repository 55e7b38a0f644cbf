// Package front is the HTTP edge of the local development gateways: a small
// HTTP/1.x server and forwarder that reads and writes the bytes itself,
// because what a gateway plugin has to defend against is exactly what
// net/http would tidy away. Its rules are those of nginx, which both Kong and
// Apache APISIX are built on.
//
// It is for development and tests. It serves plain HTTP/1.0 and HTTP/1.1,
// binds loopback by default, and bounds everything that a client
// controls.
//
// # How a gateway uses it
//
// A gateway supplies an [Options.Handler]. It is called once for each request
// that nginx would accept, before the body is read, and returns one of two
// replies:
//
//   - [*OwnResponse]: the gateway (or its plugin) responds; the upstream receives nothing.
//   - [*Forward]: the request goes to an upstream. [Forward.Set] are the lines
//     of the gateway itself (what proxy_set_header does: an empty value writes
//     nothing and also drops the client's line), [Forward.Pass] are the
//     client's lines as the plugins left them. Hop-by-hop lines, Host and the
//     framing lines of the client never pass.
//
// What nginx refuses never reaches the handler. [Options.Refuse] renders it in
// the gateway's own words.
//
// # What it refuses
//
//   - 400: malformed request line or header line, lower-case or otherwise bad
//     method, authority form, asterisk form, a bad or cut percent escape, an
//     escaped NUL, a path that climbs above "/", no Host in HTTP/1.1, a bad or
//     repeated Host, a repeated Authorization (and the other fields that nginx
//     holds unique), a bad Content-Length, Content-Length beside
//     Transfer-Encoding, a space before the colon, a folded line, a header
//     section over the limits.
//   - 405: TRACE and CONNECT. 413: a body over [Options.MaxBody].
//   - 414: a request line over [Options.MaxLine]. 501: an unknown transfer
//     coding. 505: another major version than 1.
//
// Stricter than nginx on purpose: HTTP/0.9 and an absolute target with a query
// and no path are 400.
//
// Header names that are not made of letters, digits, "-" and "_" are dropped
// with their line, as nginx drops them; underscores are kept, as both gateways
// configure it.
package front
