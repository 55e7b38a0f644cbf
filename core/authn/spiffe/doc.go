// Package spiffe verifies SPIFFE Verifiable Identity Documents (SVIDs): the certificate of
// a client (X509-SVID) and JWTs that come as bearer tokens (JWT-SVID).
//
// What vouches for the ids of a trust domain is the bundle of that domain alone; bundles
// are never merged. They come from a file, from a SPIFFE bundle endpoint (SPIFFE
// Federation) or from the SPIFFE Workload API, and are replaced while the process runs.
// While one cannot be had, the last good one counts, for as long as is configured.
package spiffe
