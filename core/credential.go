package core

// MaxCredential is the longest credential that is looked at, in bytes. It is
// well above a JWT with a 4096-bit signature and below what nginx accepts as
// one header line.
const MaxCredential = 16 << 10

// MaxRepeats is how many values of one cookie are looked at.
const MaxRepeats = 3

// Credential is what a client presented, not yet verified.
type Credential struct {
	Place PlaceName
	Value string
	// Explicit says that a program put it there on purpose. It counts beside an
	// error, too: such a client has no use for a sign-in page.
	Explicit bool
	// Others are further values in the same place, all to be judged, too; or empty.
	Others [MaxRepeats - 1]string
	// Certificate says that the certificate of the connection is checked on every call: a
	// token may be bound to one. See core/authn/mtls.
	Certificate bool
	// Parsed is what whoever chose the authenticator has parsed of Value, so
	// that the authenticator does not parse it again; usually nil. It is
	// derived from Value alone.
	Parsed any
}

// PlaceName names a place: in cache keys, and to authenticators that take
// several.
type PlaceName string

// The places a credential may sit.
const (
	SessionCookie PlaceName = "session_cookie" // cookie of Ory Kratos
	TokenCookie   PlaceName = "token_cookie"   // cookie that holds a bearer token
	SessionToken  PlaceName = "session_token"  // X-Session-Token
	BearerToken   PlaceName = "bearer"         // Authorization: Bearer
	DPoPToken     PlaceName = "dpop"           // Authorization: DPoP, with a proof in a header of its own
	TokenHeader   PlaceName = "token_header"   // header of its own that holds a bearer token
	// TokenParameter is a query parameter that holds a bearer token, in WebSocket
	// handshakes.
	TokenParameter    PlaceName = "token_parameter"
	SignInCookie      PlaceName = "sign_in_cookie"     // cookie of a browser that signed in at the gate
	ClientCertificate PlaceName = "client_certificate" // the TLS connection; see extract.Certificate
)

// Extractor finds the one credential of a request that counts. The error wraps
// ErrMissing where there is none, and ErrBadRequest where there is more than one or a
// malformed one.
type Extractor interface {
	Extract(r *Request) (Credential, error)
}
