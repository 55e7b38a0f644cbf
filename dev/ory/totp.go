package ory

import (
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base32"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// TOTPSecret is the base32 secret of a time-based one-time password.
type TOTPSecret string

// Code is the six digits of RFC 6238 for a moment, with its defaults: SHA-1 and
// steps of 30 s.
func (s TOTPSecret) Code(now time.Time) (string, error) {
	key, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(string(s))
	if err != nil {
		return "", errors.New("the TOTP secret is not base32")
	}
	mac := hmac.New(sha1.New, key)
	binary.Write(mac, binary.BigEndian, now.Unix()/30)
	sum := mac.Sum(nil)
	offset := sum[len(sum)-1] & 0x0f
	number := binary.BigEndian.Uint32(sum[offset:]) & 0x7fffffff
	return fmt.Sprintf("%06d", number%1_000_000), nil
}

// totpSecretOf reads the secret that a settings form offers to enrol.
func totpSecretOf(ui UI) (TOTPSecret, error) {
	for _, n := range ui.Nodes {
		if n.Type != "text" || n.Attributes.ID != "totp_secret_key" || n.Attributes.Text == nil {
			continue
		}
		var context struct{ Secret TOTPSecret }
		if err := json.Unmarshal(n.Attributes.Text.Context, &context); err != nil {
			return "", err
		}
		return context.Secret, nil
	}
	return "", errors.New("kratos offers no TOTP secret: one is enrolled already")
}
