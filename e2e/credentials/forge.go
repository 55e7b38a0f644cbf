package credentials

import (
	"crypto"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"strings"
	"time"

	"gatehouse/dev/demo"
)

// forgeries are tokens as an attacker makes them: out of a real one, of the
// server's public key and of a key of the attacker's own.
func (c *Set) forgeries() {
	real, err := splitJWT(c.Values["jwt"])
	if c.failed(err) {
		return
	}
	public, err := c.publicKey(real.header["kid"])
	if c.failed(err) {
		return
	}
	mine, err := rsa.GenerateKey(rand.Reader, 2048)
	if c.failed(err) {
		return
	}
	root := with(real.payload, "sub", c.accounts.Bob.ID)

	c.secret("jwt.none", unsigned("none", root)+".")
	c.secret("jwt.none.signed", unsigned("none", root)+"."+real.signature)
	c.secret("jwt.None", unsigned("None", root)+"."+real.signature)
	c.secret("jwt.tampered", encode(real.header)+"."+encode(root)+"."+real.signature)
	c.secret("jwt.unsigned", encode(real.header)+"."+encode(real.payload)+".")
	c.secret("jwt.two-parts", encode(real.header)+"."+encode(real.payload))
	c.secret("jwt.no-alg", encode(without(real.header, "alg"))+"."+encode(root)+"."+real.signature)
	c.secret("jwt.self-signed", sign(mine, real.header, root))
	c.secret("jwt.no-kid", sign(mine, without(real.header, "kid"), root))
	c.secret("jwt.unknown-kid", sign(mine, with(real.header, "kid", "../../dev/null"), root))
	c.secret("jwt.embedded-key", sign(mine, with(with(real.header, "jwk", jwk(&mine.PublicKey)), "kid", nil), root))
	c.secret("jwt.jku", sign(mine, with(real.header, "jku", "http://127.0.0.1:1/jwks.json"), root))
	c.secret("jwt.crit", sign(mine, with(real.header, "crit", []string{"exp"}), root))
	c.secret("jwt.unknown-issuer", sign(mine, real.header, with(root, "iss", "https://issuer.elsewhere.test/")))
	c.secret("jwt.near-issuer", sign(mine, real.header, with(root, "iss", strings.TrimSuffix(c.servers.Hydra.Issuer(), "/"))))
	c.secret("jwt.issuer-twice", signRaw(mine, encode(real.header), issuerTwice(root)))
	for name, key := range asSecret(public) {
		c.secret("jwt.hmac-"+name, hs256(key, with(real.header, "alg", "HS256"), root))
	}
	c.secret("jwt.nested", real.whole+"."+real.signature+"."+real.signature)
	c.secret("opaque.unknown", "ory_at_"+rand.Text()+rand.Text()+"."+rand.Text()+rand.Text())
	c.secret("session.unknown", "MTc2MzEwMDAwMHx"+rand.Text()+rand.Text()+rand.Text())
	c.secret("session.token.unknown", "ory_st_"+rand.Text())
}

type object = map[string]any

// jwt is a token taken apart.
type jwt struct {
	whole, signature string
	header, payload  object
}

func splitJWT(token string) (jwt, error) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return jwt{}, errors.New("hydra's JWT has not three parts")
	}
	t := jwt{whole: token, signature: parts[2]}
	for part, to := range map[string]*object{parts[0]: &t.header, parts[1]: &t.payload} {
		text, err := base64.RawURLEncoding.DecodeString(part)
		if err != nil {
			return jwt{}, err
		}
		if err := json.Unmarshal(text, to); err != nil {
			return jwt{}, err
		}
	}
	t.payload["exp"] = time.Now().Add(time.Hour).Unix() // json.Unmarshal made floats of these
	t.payload["iat"] = time.Now().Unix()
	t.payload["nbf"] = time.Now().Unix()
	t.payload["aud"] = []string{demo.Audience}
	return t, nil
}

func encode(part object) string {
	text, err := json.Marshal(part)
	if err != nil { // maps of strings, numbers and lists always encode
		panic(err)
	}
	return base64.RawURLEncoding.EncodeToString(text)
}

// with copies an object and sets a member; nil leaves it out.
func with(o object, name string, value any) object {
	changed := object{}
	for n, v := range o {
		changed[n] = v
	}
	changed[name] = value
	if value == nil {
		delete(changed, name)
	}
	return changed
}

func without(o object, name string) object { return with(o, name, nil) }

func unsigned(alg string, payload object) string {
	return encode(object{"alg": alg, "typ": "JWT"}) + "." + encode(payload)
}

// issuerTwice makes a payload that names two issuers: readers differ in which
// of them counts.
func issuerTwice(payload object) string {
	text, _ := base64.RawURLEncoding.DecodeString(encode(payload))
	twice := `{"iss":"https://issuer.elsewhere.test/",` + string(text[1:])
	return base64.RawURLEncoding.EncodeToString([]byte(twice))
}

func sign(key *rsa.PrivateKey, header, payload object) string {
	return signRaw(key, encode(header), encode(payload))
}

func signRaw(key *rsa.PrivateKey, header, payload string) string {
	digest := sha256.Sum256([]byte(header + "." + payload))
	signature, err := rsa.SignPKCS1v15(nil, key, crypto.SHA256, digest[:])
	if err != nil { // only for keys that are too short
		panic(err)
	}
	return header + "." + payload + "." + base64.RawURLEncoding.EncodeToString(signature)
}

func hs256(key []byte, header, payload object) string {
	signed := encode(header) + "." + encode(payload)
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(signed))
	return signed + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// asSecret are the forms of a public key that careless verifiers have taken
// for an HMAC secret.
func asSecret(public *rsa.PublicKey) map[string][]byte {
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil { // RSA keys always encode
		panic(err)
	}
	return map[string][]byte{
		"pem": pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}),
		"der": der,
		"n":   public.N.Bytes(),
	}
}

func jwk(public *rsa.PublicKey) object {
	return object{
		"kty": "RSA", "alg": "RS256", "use": "sig",
		"n": base64.RawURLEncoding.EncodeToString(public.N.Bytes()),
		"e": base64.RawURLEncoding.EncodeToString(big.NewInt(int64(public.E)).Bytes()),
	}
}

const maxJWKS = 1 << 20

// publicKey fetches a key of the server's.
func (c *Set) publicKey(kid any) (*rsa.PublicKey, error) {
	request, err := http.NewRequestWithContext(c.ctx, http.MethodGet, c.servers.Hydra.JWKSURL(), nil)
	if err != nil {
		return nil, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	var set struct{ Keys []struct{ Kid, N, E string } }
	if err := json.NewDecoder(io.LimitReader(response.Body, maxJWKS)).Decode(&set); err != nil {
		return nil, err
	}
	for _, k := range set.Keys {
		n, errN := base64.RawURLEncoding.DecodeString(k.N)
		e, errE := base64.RawURLEncoding.DecodeString(k.E)
		if k.Kid == kid && errN == nil && errE == nil {
			return &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: int(new(big.Int).SetBytes(e).Int64())}, nil
		}
	}
	return nil, fmt.Errorf("hydra publishes no RSA key %v", kid)
}
