package setting

import (
	"fmt"
	"os"
	"strings"
)

// fileReference begins a reference to a file.
const fileReference = "$file://"

// maxSecret bounds a secret's file.
const maxSecret = 64 << 10

// foreign begin references of gateways, in any case. What comes here was not resolved
// there, and as a literal it would be a secret that everybody can guess.
var foreign = []string{"$secret://", "{vault://", "$env://", fileReference}

// Resolve returns a secret: a literal value, $env://NAME for an environment
// variable (the spelling of APISIX) or $file:///path for a file's text without
// its last newline.
func Resolve(reference string) (string, error) {
	if name, ok := strings.CutPrefix(reference, "$env://"); ok {
		value := os.Getenv(name)
		if value == "" {
			return "", fmt.Errorf("the environment variable %s is not set; gateways pass on only those they are told to", name)
		}
		return value, nil
	}
	if path, ok := strings.CutPrefix(reference, fileReference); ok {
		text, err := ReadBounded(path, maxSecret)
		if err != nil {
			return "", err
		}
		value := strings.TrimRight(string(text), "\r\n")
		if value == "" {
			return "", fmt.Errorf("the file %s is empty", path)
		}
		return value, nil
	}
	for _, start := range foreign {
		if len(reference) >= len(start) && strings.EqualFold(reference[:len(start)], start) {
			return "", fmt.Errorf("the reference %q was not resolved by the gateway; $env://NAME and $file:///path are resolved here", reference)
		}
	}
	return reference, nil
}
