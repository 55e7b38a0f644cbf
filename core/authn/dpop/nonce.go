package dpop

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"time"

	"gatehouse/core/fleet/seal"
)

// Nonces are given out by the gate, so that a proof cannot have been made long before it
// is used (RFC 9449 section 8). A nonce is the moment at which it was made, sealed: every
// node that has the secret knows it, and nothing is kept.
type Nonces struct {
	box *seal.Box
	ttl time.Duration
	now func() time.Time
}

const nonceLabel = "gatehouse dpop nonce"

// NewNonces makes them with the first secret, for as long as ttl, and knows those of the
// other secrets, too.
func NewNonces(ttl time.Duration, now func() time.Time, secrets ...string) (*Nonces, error) {
	if ttl < time.Second {
		return nil, errors.New("want nonces that hold for a second at least")
	}
	box, err := seal.New(nonceLabel, secrets...)
	if err != nil {
		return nil, err
	}
	return &Nonces{box, ttl, now}, nil
}

// New is a nonce.
func (n *Nonces) New() string {
	moment := binary.BigEndian.AppendUint64(nil, uint64(n.now().Unix()))
	return base64.RawURLEncoding.EncodeToString(n.box.Seal([]byte(nonceLabel), moment))
}

// nonceBytes is the length of a nonce that was given out, in base64url.
const nonceBytes = 48

// skew is how far the clock of the node that made a nonce may be ahead of ours.
const skew = 30 * time.Second

// check reports whether a nonce holds, and whether it is in the second half of its time,
// so that the client should get another one.
func (n *Nonces) check(nonce string) (holds, due bool) {
	if len(nonce) != nonceBytes {
		return false, false
	}
	sealed, err := base64.RawURLEncoding.Strict().DecodeString(nonce)
	if err != nil {
		return false, false
	}
	moment, err := n.box.Open([]byte(nonceLabel), sealed)
	if err != nil || len(moment) != 8 {
		return false, false
	}
	age := n.now().Sub(time.Unix(int64(binary.BigEndian.Uint64(moment)), 0))
	return age >= -skew && age < n.ttl, age >= n.ttl/2
}
