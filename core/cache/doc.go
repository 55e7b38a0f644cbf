// Package cache keeps, for a moment, who a credential belongs to.
//
// [Memo] is an authenticator around another. Its keys are keyed hashes of
// everything the result depended on, never a secret; it keeps no result beyond
// the principal's expiry and no outage at all; and concurrent calls for one
// credential share one call. What a principal may do is decided after the cache,
// on every request.
//
// [Memory] is the [Store] of one process.
package cache
