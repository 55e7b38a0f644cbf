// Package apitoken judges API tokens: random secrets that scripts and service accounts
// present, of which only digests are kept.
//
// A token is gth_, 43 characters of randomness and a checksum of 6 characters. What has
// another checksum is refused before any look-up. Its record says whose it is and what
// it may do, which is never more than its owner may when it is used.
package apitoken
