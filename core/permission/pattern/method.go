package pattern

import (
	"fmt"
	"slices"
	"strings"
)

// AnyMethod among the methods of an activity stands for every method.
const AnyMethod = "ANY"

// MethodPattern is the form of a method.
const MethodPattern = "[A-Z][A-Z0-9-]*"

func isMethod(m string) bool {
	for i := range len(m) {
		c := m[i]
		if !('A' <= c && c <= 'Z' || i > 0 && ('0' <= c && c <= '9' || c == '-')) {
			return false
		}
	}
	return m != ""
}

// MethodProblem says what is wrong with one of the methods of an activity, or
// nothing.
func MethodProblem(methods []string, i int) string {
	m := methods[i]
	switch {
	case m == "":
		return "an empty method; write a method such as GET"
	case m == "*":
		return `the method "*" is not accepted; write ANY for every method`
	case slices.Contains(methods[:i], m):
		return fmt.Sprintf("method %s is listed twice; remove one", m)
	case m == AnyMethod && len(methods) > 1:
		return "ANY stands for every method; remove the other methods"
	case isMethod(m):
		return ""
	case isMethod(strings.ToUpper(m)):
		return fmt.Sprintf("method %q is not in upper case; methods are case-sensitive (RFC 9110 section 9.1), so write %s", m, strings.ToUpper(m))
	}
	return fmt.Sprintf("%q is not a method; use upper-case letters, digits and '-'", m)
}
