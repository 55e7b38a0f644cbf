package authn

import (
	"encoding/base64"
	"strings"

	"gatehouse/core"
	"gatehouse/core/authn/claims"
)

// PeekIssuer reports whether a token has the shape of a JWT (RFC 7519): three
// parts in base64url of which the first is a JSON object with an alg. issuer
// is its iss, which nobody has verified: good for choosing who verifies it and
// for nothing else. It is empty where the payload names none.
func PeekIssuer(token string) (issuer string, isJWT bool) {
	if len(token) > core.MaxCredential {
		return "", false
	}
	header, rest, _ := strings.Cut(token, ".")
	payload, signature, found := strings.Cut(rest, ".")
	if !found || signature == "" || strings.Contains(signature, ".") {
		return "", false
	}
	if alg, ok := peek(header)["alg"].(string); !ok || alg == "" {
		return "", false
	}
	issuer, _ = peek(payload)["iss"].(string)
	return issuer, true
}

func peek(part string) map[string]any {
	data, err := base64.RawURLEncoding.DecodeString(part)
	if err != nil {
		return nil
	}
	object, err := claims.Decode(data)
	if err != nil {
		return nil
	}
	return object
}
