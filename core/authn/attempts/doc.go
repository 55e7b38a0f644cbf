// Package attempts limits failed attempts to authenticate, for each client and for
// each credential that fails. What is remembered as good is never limited and costs
// nothing here. A limit bounds what a flood of bad credentials costs; it opens
// nothing: a request that it lets pass is judged as ever.
package attempts
