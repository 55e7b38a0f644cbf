package apitoken

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"hash/crc32"
	"math/big"
	"strings"

	"gatehouse/core/httpsyntax"
)

// Prefix begins every token. It tells tokens from all other credentials.
const Prefix = "gth_"

// Pattern finds tokens in text, for secret scanners.
const Pattern = `\bgth_[0-9A-Za-z]{49}\b`

const (
	randomSize   = 43 // 256 bits to the base of 62
	checksumSize = 6  // 32 bits to the base of 62
	// Length is that of every token, in bytes.
	Length = len(Prefix) + randomSize + checksumSize
)

// Generate makes a token of 256 random bits.
func Generate() string {
	secret := make([]byte, 32)
	rand.Read(secret) // never fails: crypto/rand ends the process instead
	token := Prefix + base62(new(big.Int).SetBytes(secret), randomSize)
	return token + base62(new(big.Int).SetUint64(uint64(checksum(token))), checksumSize)
}

// base62 writes a number with the digits of math/big, zeros in front.
func base62(n *big.Int, size int) string {
	text := n.Text(62)
	return strings.Repeat("0", size-len(text)) + text
}

// checksum is the CRC-32 (IEEE 802.3) of the prefix and the random part.
func checksum(text string) uint32 {
	crc := ^uint32(0) // byte by byte, which needs no copy of the text
	for i := 0; i < len(text); i++ {
		crc = crc32.IEEETable[byte(crc)^text[i]] ^ crc>>8
	}
	return ^crc
}

// HasPrefix reports whether a credential begins like a token, in any case: one that
// was spelt otherwise on its way is a secret, too, and none of another authenticator's.
func HasPrefix(credential string) bool {
	return len(credential) >= len(Prefix) && strings.EqualFold(credential[:len(Prefix)], Prefix)
}

// WellFormed reports whether a text is a token as far as the text itself can tell.
func WellFormed(text string) bool {
	if len(text) != Length || !strings.HasPrefix(text, Prefix) {
		return false
	}
	for i := len(Prefix); i < Length; i++ {
		if !httpsyntax.IsAlphanumeric(text[i]) {
			return false
		}
	}
	sum := checksum(text[:Length-checksumSize])
	for i := Length - 1; i >= Length-checksumSize; i-- {
		if text[i] != digits[sum%62] {
			return false
		}
		sum /= 62
	}
	return true
}

// digits are those of math/big.
const digits = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

// Digest is what is kept of a token.
type Digest [sha256.Size]byte

// DigestOf is the digest of a token. Tokens hold too much chance to be guessed from it.
func DigestOf(token string) Digest {
	var room [Length]byte // on the stack
	return sha256.Sum256(append(room[:0], token...))
}

const digestPrefix = "sha256:"

// String is the form in files and events.
func (d Digest) String() string { return digestPrefix + hex.EncodeToString(d[:]) }

// ParseDigest reads what String writes.
func ParseDigest(text string) (d Digest, ok bool) {
	digits, ok := strings.CutPrefix(text, digestPrefix)
	if !ok || len(digits) != hex.EncodedLen(len(d)) || strings.ToLower(digits) != digits {
		return d, false
	}
	_, err := hex.Decode(d[:], []byte(digits))
	return d, err == nil
}
