// Package apitokens tests API tokens against a real PostgreSQL and a real Redis, with
// the programs as they are.
package apitokens
