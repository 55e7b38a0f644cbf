package strength

import (
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/hex"
	"errors"
	"math/big"
	"strings"
)

// checkRSA refuses moduli that are known to be factored with little work.
func checkRSA(k *rsa.PublicKey) error {
	switch {
	case hasSmallFactor(k.N):
		return errors.New("is an RSA key whose modulus has a small factor")
	case isROCA(k.N):
		return errors.New("is an RSA key of a generator that makes keys which can be factored (ROCA, CVE-2017-15361)")
	case hasCloseFactors(k.N):
		return errors.New("is an RSA key whose two primes are too close (CVE-2022-26320)")
	}
	return nil
}

// smallPrimes are the primes to which keys of the ROCA generator leave a mark.
var smallPrimes = []int64{
	3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97, 101, 103, 107, 109, 113, 127, 131,
	137, 139, 149, 151, 157, 163, 167,
}

func hasSmallFactor(n *big.Int) bool {
	if n.Bit(0) == 0 {
		return true
	}
	for _, p := range smallPrimes {
		if remainder(n, p) == 0 {
			return true
		}
	}
	return false
}

// rocaGenerator is 65537, to whose powers the primes of a ROCA key are congruent.
const rocaGenerator = 65537

// isROCA reports whether the modulus is a power of the generator for each of the
// small primes, which of other keys one in 2^27 is.
func isROCA(n *big.Int) bool {
	for _, p := range smallPrimes {
		if !isPower(remainder(n, p), p) {
			return false
		}
	}
	return true
}

func isPower(r, p int64) bool {
	for power := int64(1); ; {
		if power == r {
			return true
		}
		if power = power * rocaGenerator % p; power == 1 {
			return false
		}
	}
}

func remainder(n *big.Int, p int64) int64 { return new(big.Int).Mod(n, big.NewInt(p)).Int64() }

// fermatRounds finds primes that differ in their lower half at most.
const fermatRounds = 100

// hasCloseFactors looks for n = a² - b² from the square root upwards.
func hasCloseFactors(n *big.Int) bool {
	a := new(big.Int).Sqrt(n)
	one, square, root := big.NewInt(1), new(big.Int), new(big.Int)
	for range fermatRounds {
		if square.Mul(a, a).Cmp(n) >= 0 {
			if b2 := square.Sub(square, n); mayBeSquare(b2) && new(big.Int).Mul(root.Sqrt(b2), root).Cmp(b2) == 0 {
				return true
			}
		}
		a.Add(a, one)
	}
	return false
}

// mayBeSquare rules out most numbers by their last four bits.
func mayBeSquare(n *big.Int) bool {
	switch n.Uint64() & 15 {
	case 0, 1, 4, 9:
		return true
	}
	return false
}

// smallOrder are the points of Ed25519 under which a signature holds for other
// texts than the signed one, without the sign bit.
var smallOrder = []string{
	strings.Repeat("00", 32),
	"01" + strings.Repeat("00", 31),
	"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
	"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
	"ec" + strings.Repeat("ff", 30) + "7f",
}

// checkEd25519 refuses points of small order and points that are not written in
// their one form (RFC 8032 section 5.1.3).
func checkEd25519(k ed25519.PublicKey) error {
	y := append([]byte(nil), k...)
	y[31] &= 0x7f
	text := hex.EncodeToString(y)
	for _, point := range smallOrder {
		if text == point {
			return errors.New("is an Ed25519 key of small order, which proves nothing")
		}
	}
	if y[0] >= 0xed && text[2:] == strings.Repeat("ff", 30)+"7f" {
		return errors.New("is an Ed25519 key that is not in canonical form")
	}
	return nil
}
