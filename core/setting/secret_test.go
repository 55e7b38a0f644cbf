package setting

import (
	"strings"
	"testing"
)

// APISIX hands on a reference that it could not resolve, as it is.
func TestReferenceThatTheGatewayDidNotResolveIsNoSecret(t *testing.T) {
	t.Setenv("SECRET", "s3cret")
	for _, reference := range []string{
		"$secret://vault/1/gatehouse/secret", "$SECRET://vault/1/gatehouse/secret", "$secret://", "{vault://env/secret}", "{VAULT://env/secret}",
		"$ENV://SECRET", "$Env://SECRET", "$FILE:///etc/secret",
	} {
		if value, err := Resolve(reference); err == nil || !strings.Contains(err.Error(), "not resolved") {
			t.Errorf("%s is the secret %q, %v", reference, value, err)
		}
	}
	for reference, want := range map[string]string{"$env://SECRET": "s3cret", "literal": "literal", "$secretive": "$secretive", "$": "$", "{vault": "{vault"} {
		if value, err := Resolve(reference); value != want || err != nil {
			t.Errorf("%s is %q, %v", reference, value, err)
		}
	}
}
