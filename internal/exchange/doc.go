// Package exchange is how a gateway's own Lua file has a request decided: one message
// to the process and one back, over a pooled unix socket.
//
// The exchange is served on the sockets that Kong and APISIX know of already, beside
// their own plugin protocols: [Serve] tells them apart by the first bytes of a
// connection. The decision is that of the same gates.
//
// # Protocol
//
// A connection begins with four bytes of the client: "GHX" and the version of the
// protocol. The program replies to a version that is not its own with a message V and
// closes, so that files and a program of different releases deny everything and say why.
//
// Then come messages in turn. Each is a length of four bytes and as many bytes, the
// first of which is the type. A number is four bytes, big-endian; a text is a number
// and as many bytes, whatever they are; a list is a number and as many elements.
//
//	C  configuration: the rest is JSON or YAML     -> c
//	R  request, to be decided                       -> u, b, A or D
//	B  the body that was asked for, or a part of it -> A or D
//	X  the body cannot be read: the rest says why   -> A or D
//	F  the caller goes on, as a consumer or as none
//	N  there is no such consumer; where that could
//	   not be told, the rest says why               -> D
//
//	V  another version: the rest is the program's
//	c  name of the configuration, then what is wrong with it, as a text; empty: nothing
//	u  the name of the configuration is not known: hand it over, and ask again
//	b  number: the body is needed, this many bytes of it at most, and one more if it is longer
//	A  admitted: see appendAllowed; -> F or N, if the caller is to be a consumer
//	D  answered: see appendAnswered
//
// The name of a configuration is the SHA-256 of its text. So it never means another
// configuration, in whatever process.
//
// A client that gets an error instead of a reply may ask once more, on a fresh
// connection, if no byte of a reply has come. A request may be decided twice, then,
// and never passes undecided; what counts once is known by the id of the request (see
// core/secondrun), and the second run gets what the first one did. After any other error it denies, and closes the
// connection, so that nobody reads a reply to somebody else's request.
package exchange
