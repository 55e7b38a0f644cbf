package vector

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// ProofKey is the name of the value that is the private key of "${proof ...}": that to
// which the token in ProofToken is bound (RFC 9449).
const (
	ProofKey   = "proof.key"
	ProofToken = "jwt.bound"
)

// NewProofKey makes a key, and says what a token is bound to it by (cnf.jkt).
func NewProofKey() (key, thumbprint string, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", "", err
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return "", "", err
	}
	k := holder{private}
	x, y := k.point()
	sum := sha256.Sum256([]byte(`{"crv":"P-256","kty":"EC","x":"` + x + `","y":"` + y + `"}`)) // RFC 7638
	return base64.StdEncoding.EncodeToString(der), encode(sum[:]), nil
}

type holder struct{ *ecdsa.PrivateKey }

type object = map[string]any

// proof makes a DPoP proof of "proof METHOD PATH CHANGE...", a new one each time.
func (vs Values) proof(words []string) (string, error) {
	if len(words) < 2 {
		return "", errors.New("want proof METHOD PATH")
	}
	k, err := vs.holder()
	if err != nil {
		return "", err
	}
	p := proof{
		signer: k, scheme: "http", host: vs["host"], path: words[1],
		header: object{"typ": "dpop+jwt", "alg": "ES256", "jwk": k.jwk()},
		claims: object{"jti": rand.Text(), "htm": words[0], "iat": time.Now().Unix(), "ath": hash(vs[ProofToken])},
	}
	noURI := false
	for _, change := range words[2:] {
		if err := p.change(change, vs); err != nil {
			return "", fmt.Errorf("%s: %w", change, err)
		}
		noURI = noURI || change == "htu="
	}
	if !noURI {
		p.claims["htu"] = p.scheme + "://" + p.host + p.path
	}
	return p.sign()
}

func (vs Values) holder() (holder, error) {
	der, err := base64.StdEncoding.DecodeString(vs[ProofKey])
	if err != nil {
		return holder{}, err
	}
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return holder{}, fmt.Errorf("there is no key for proofs: %w", err)
	}
	return holder{key.(*ecdsa.PrivateKey)}, nil
}

type proof struct {
	signer             holder
	scheme, host, path string
	header, claims     object
}

// change makes another proof of a good one.
func (p *proof) change(text string, vs Values) error {
	name, value, _ := strings.Cut(text, "=")
	switch name {
	case "scheme":
		p.scheme = value
	case "host":
		p.host = value
	case "token": // the name of another token
		p.claims["ath"] = hash(vs[value])
	case "iat": // seconds from now on
		if value == "" {
			delete(p.claims, name)
			return nil
		}
		seconds, err := strconv.Atoi(value)
		p.claims["iat"] = time.Now().Unix() + int64(seconds)
		return err
	case "signer", "holder": // somebody else signs, and says so or not
		private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if p.signer.PrivateKey = private; name == "holder" {
			p.header["jwk"] = p.signer.jwk()
		}
		return err
	case "jwk":
		return p.changeKey(value)
	case "typ", "alg":
		set(p.header, name, value)
	default:
		set(p.claims, name, value)
	}
	return nil
}

func set(o object, name, value string) {
	if o[name] = any(value); value == "" {
		delete(o, name)
	}
}

func (p *proof) changeKey(how string) error {
	jwk := p.signer.jwk()
	switch how {
	case "private":
		d, err := p.signer.Bytes()
		jwk["d"] = encode(d)
		p.header["jwk"] = jwk
		return err
	case "symmetric":
		p.header["jwk"] = object{"kty": "oct", "k": jwk["x"]}
	case "":
		delete(p.header, "jwk")
	default:
		return errors.New("is no change of a key")
	}
	return nil
}

func (p *proof) sign() (string, error) {
	header, err := json.Marshal(p.header)
	if err != nil {
		return "", err
	}
	claims, err := json.Marshal(p.claims)
	if err != nil {
		return "", err
	}
	signed := encode(header) + "." + encode(claims)
	switch p.header["alg"] {
	case "none":
		return signed + ".", nil
	case "HS256": // with the public key as the secret
		public, err := json.Marshal(p.header["jwk"])
		mac := hmac.New(sha256.New, public)
		mac.Write([]byte(signed))
		return signed + "." + encode(mac.Sum(nil)), err
	}
	digest := sha256.Sum256([]byte(signed))
	r, s, err := ecdsa.Sign(rand.Reader, p.signer.PrivateKey, digest[:])
	if err != nil {
		return "", err
	}
	return signed + "." + encode(append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)), nil
}

// point is the public key, as RFC 7518 section 6.2.1 writes it.
func (k holder) point() (x, y string) {
	public, err := k.PublicKey.Bytes()
	if err != nil { // of a key that this file has made
		panic(err)
	}
	return encode(public[1:33]), encode(public[33:])
}

func (k holder) jwk() object {
	x, y := k.point()
	return object{"kty": "EC", "crv": "P-256", "x": x, "y": y}
}

func hash(token string) string {
	sum := sha256.Sum256([]byte(token))
	return encode(sum[:])
}

func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }
