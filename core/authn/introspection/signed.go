package introspection

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"mime"
	"strings"
	"time"

	"gatehouse/core/authn/claims"
	"gatehouse/core/authn/idp"
)

// Media types of responses: RFC 7662 section 2.2, and RFC 9701 section 4.
const (
	jsonType   = "application/json"
	signedType = "application/token-introspection+jwt"
)

// SignedType is the typ of a signed response (RFC 9701 section 5). No credential has it.
const SignedType = "token-introspection+jwt"

// Statements verify what an issuer has signed for us, as a jwt.Verifier does whose one
// issuer is the server, whose audience is our client id and whose one type is SignedType.
type Statements interface {
	Statement(ctx context.Context, text string) (claims.Set, error)
}

// maxSignedAge is the age from which a signed response does not count: the server makes one
// for each question. The leeway is added.
const maxSignedAge = time.Minute

// read returns what a response says of a token.
func (a *Authenticator) read(ctx context.Context, r *idp.Response, token string) (claims.Set, error) {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	switch wrong := fmt.Sprintf("has Content-Type %.60q", r.Header.Get("Content-Type")); {
	case a.options.Signed == nil && (err != nil || kind != jsonType):
		return nil, errors.New(wrong + ", not " + jsonType)
	case a.options.Signed == nil:
		return claims.Decode(r.Body)
	case err != nil || kind != signedType:
		return nil, errors.New(wrong + ", not " + signedType + ", which introspection_accept asks for (RFC 9701): have the server sign the responses for this client (introspection_signed_response_alg)")
	}
	set, err := a.statement(ctx, string(r.Body))
	if err != nil {
		return nil, fmt.Errorf("does not hold as a signed one (RFC 9701): %w", err)
	}
	return about(set, token)
}

// statement verifies a signed response. Its errors are about the server and never about the
// token that was asked about, so they do not wrap core.ErrInvalid.
func (a *Authenticator) statement(ctx context.Context, text string) (claims.Set, error) {
	if strings.Count(text, ".") == 4 {
		return nil, errors.New("it is encrypted (JWE), which is not supported; have the server sign the responses for this client and not encrypt them (introspection_encrypted_response_alg)")
	}
	set, err := a.options.Signed.Statement(ctx, text)
	if err != nil {
		return nil, errors.New(err.Error())
	}
	now := a.options.Now()
	issued, present, err := set.Time("iat")
	switch {
	case err != nil:
		return nil, err
	case !present:
		return nil, errors.New("it has no iat")
	case now.Sub(issued) > maxSignedAge+a.options.Leeway:
		return nil, fmt.Errorf("it is stale: it was made at %s; check the clocks", issued.UTC().Format(time.RFC3339))
	}
	if set["exp"] != nil { // should not be there
		if _, err := set.Expiry(now); err != nil {
			return nil, err
		}
	}
	return set, nil
}

// about is what a verified response says. It does not name the token that it is about
// (RFC 9701 section 8.1 relies on TLS there), but where both are JWTs with an id, that
// tells.
func about(set claims.Set, token string) (claims.Set, error) {
	said, ok := set["token_introspection"].(map[string]any)
	if !ok {
		return nil, errors.New("has no object token_introspection")
	}
	inner := claims.Set(said)
	active, _ := inner["active"].(bool)
	asked, err := payload(token).Text("jti")
	if err != nil || asked == "" || !active {
		return inner, nil
	}
	if answered, err := inner.Text("jti"); err != nil || answered != "" && answered != asked {
		return nil, errors.New("is about another token: the jti is not that of the token that was asked about")
	}
	return inner, nil
}

// payload is what a token says of itself, if it is a JWT. Nobody has verified it.
func payload(token string) claims.Set {
	parts := strings.SplitN(token, ".", 4)
	if len(parts) != 3 {
		return nil
	}
	text, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return nil
	}
	set, _ := claims.Decode(text) // nothing where it is no object
	return set
}
