// Package authzen has what is said on the wire of the OpenID AuthZEN Authorization API 1.0:
// questions, answers and metadata, read strictly and within bounds. Who asks and who
// decides stand above it.
//
// A member that repeats, a text that is not UTF-8, a value of another type and whatever is
// longer than the limits are errors. Members that are not known are ignored (section
// "JSON Serialization").
package authzen
