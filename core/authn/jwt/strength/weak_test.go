package strength

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"encoding/hex"
	"math/big"
	"strings"
	"testing"
)

// rocaModulus is congruent to a power of 65537 for every small prime, as the
// moduli of the faulty generator are.
func rocaModulus() *big.Int {
	product := big.NewInt(2)
	for _, p := range smallPrimes {
		product.Mul(product, big.NewInt(p))
	}
	n := new(big.Int).Exp(big.NewInt(rocaGenerator), big.NewInt(123456789), product)
	return n.Add(n, product.Mul(product, new(big.Int).Lsh(big.NewInt(1), 2048-uint(product.BitLen()))))
}

func closeModulus(t *testing.T) *big.Int {
	t.Helper()
	p, err := rand.Prime(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	q := new(big.Int).Add(p, big.NewInt(2))
	for !q.ProbablyPrime(20) {
		q.Add(q, big.NewInt(2))
	}
	return p.Mul(p, q)
}

func TestRSAKeyThatCanBeFactoredIsRefused(t *testing.T) {
	even := new(big.Int).Lsh(big.NewInt(1), 2047)
	for want, n := range map[string]*big.Int{
		"ROCA":         rocaModulus(),
		"too close":    closeModulus(t),
		"small factor": even,
	} {
		err := Check(&rsa.PublicKey{N: n, E: 65537})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	good, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	if err := Check(&good.PublicKey); err != nil {
		t.Errorf("a good key: %v", err)
	}
}

// Under such a key some signatures hold for every text.
func TestEd25519KeyOfSmallOrderIsRefused(t *testing.T) {
	points := append([]string{
		"ed" + strings.Repeat("ff", 30) + "7f", // 0, not canonical
		"ee" + strings.Repeat("ff", 30) + "7f", // 1, not canonical
		"ff" + strings.Repeat("ff", 30) + "7f",
	}, smallOrder...)
	for _, point := range points {
		k, err := hex.DecodeString(point)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := Check(ed25519.PublicKey(k)); err == nil {
				t.Errorf("%x was accepted", k)
			}
			k[31] |= 0x80 // the other sign
		}
	}
	good, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if err := Check(good); err != nil {
		t.Errorf("a good key: %v", err)
	}
}
