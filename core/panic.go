package core

import (
	"errors"
	"fmt"
	"runtime"
)

// Thrown is what the log may say of a recovered panic: the text of the Go
// runtime's own. Any other value may hold what a client sent, the credential
// included, so only its type is shown.
func Thrown(v any) string {
	var fault runtime.Error
	if err, ok := v.(error); ok && errors.As(err, &fault) {
		return fault.Error()
	}
	return fmt.Sprintf("a value of type %T", v)
}
