// Package ask makes of a call the question that an activity wants a decision point to
// answer (OpenID AuthZEN). What the question holds is written with placeholders, which
// name values of the caller and of the request. A value that is absent denies.
package ask
