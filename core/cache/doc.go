// Package cache remembers who a credential belongs to, for a moment.
//
// [Memo] is an authenticator around another. It keys what it knows by a keyed
// hash of everything the answer depended on, never by a secret; keeps no
// answer beyond the principal's expiry and no outage at all; and asks once
// when many ask the same. What a principal may do is decided after the cache,
// on every request.
//
// [Memory] is the [Store] of one process.
package cache
