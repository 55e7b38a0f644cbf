package receive

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"gatehouse/core"
	"gatehouse/core/httpsyntax"
)

// Secrets are those with which a sender can authenticate, so that one can take the
// place of another.
type Secrets struct {
	// Header holds the secret, after the word Bearer where it is Authorization.
	Header string
	// Values are accepted; empty ones are none.
	Values []string
}

// bearer is the scheme of RFC 6750.
const bearer = "bearer "

// Check reports whether a call has one of the secrets. The time that it takes says
// nothing of them.
func (s Secrets) Check(call *core.Call) error {
	given, lines := call.Lookup(s.Header)
	switch {
	case lines == 0:
		return fmt.Errorf("there is no header %s", s.Header)
	case lines > 1:
		return fmt.Errorf("the header %s is repeated", s.Header)
	}
	if strings.EqualFold(s.Header, "Authorization") {
		if len(given) < len(bearer) || !strings.EqualFold(given[:len(bearer)], bearer) {
			return errors.New("the header Authorization does not begin with Bearer")
		}
		given = given[len(bearer):]
	}
	sum, equal := sha256.Sum256([]byte(given)), 0
	for _, value := range s.Values {
		want := sha256.Sum256([]byte(value))
		if value != "" {
			equal |= subtle.ConstantTimeCompare(sum[:], want[:])
		}
	}
	if equal == 0 {
		return fmt.Errorf("the header %s does not hold the secret", s.Header)
	}
	return nil
}

// ContentType reports whether the body of a call is of a media type, and in no
// encoding.
func ContentType(call *core.Call, want string) error {
	text, lines := call.Lookup("Content-Type")
	if lines != 1 || !httpsyntax.IsMediaType(text, want) {
		return fmt.Errorf("the Content-Type is %.60q; want %s", text, want)
	}
	if encoding, lines := call.Lookup("Content-Encoding"); lines > 0 && !strings.EqualFold(encoding, "identity") {
		return fmt.Errorf("the body has the Content-Encoding %.60q; want none", encoding)
	}
	return nil
}

// JSON is a response with a document that nobody keeps.
func JSON(status int, document map[string]string, header ...core.Header) core.Response {
	body, err := json.Marshal(document)
	if err != nil { // texts always encode
		panic(err)
	}
	return core.Response{Status: status, Body: body, Header: append([]core.Header{
		{Name: "Content-Type", Value: "application/json"}, NoStore,
	}, header...)}
}

// NoStore keeps responses out of caches.
var NoStore = core.Header{Name: "Cache-Control", Value: "no-store"}
