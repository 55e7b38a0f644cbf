// Package certificate judges client certificates as credentials of their own: a caller whose
// certificate an authority that is trusted has signed needs no token.
//
// The handshake of TLS has proven that the client holds the key; whoever ended the
// connection tells the certificate. Who signed it is verified here and nowhere else, so that
// it does not matter what a gateway or a proxy has verified.
package certificate
