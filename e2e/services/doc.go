// Package services tests tokens for services with what others have written: the JWT
// libraries of Go, Node and Python, and a certified authorization server that exchanges
// tokens.
package services
