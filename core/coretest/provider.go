package coretest

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"html"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
)

// Paths of a FakeProvider.
const (
	AuthorizePath  = "/authorize"
	TokenPath      = "/token"
	UserInfoPath   = "/userinfo"
	PushPath       = "/par"
	EndSessionPath = "/logout"
)

// FakeProvider is a fake OpenID provider, at which user-1 is signed in and consents to
// everything. It can be made to misbehave in what it says.
type FakeProvider struct {
	*Issuer
	behaviour Behaviour
	requests  map[string]url.Values // pushed, by request_uri
	codes     map[string]url.Values // not redeemed, by code
	refresh   map[string]url.Values // by refresh token
	issued    []string
	used      map[string]url.Values // the same of those that were used
}

// Behaviour is what a FakeProvider says beside what is right. A nil value in a map
// leaves a member out.
type Behaviour struct {
	// Claims and Header change ID tokens, Token the token response, Person the UserInfo
	// response, Response the authorization response.
	Claims, Header, Token, Person, Response map[string]any
	// Sign signs ID tokens in the place of the provider's key.
	Sign func(header map[string]any, claims string) string
	// CodesAgain accepts a code as often as it comes.
	CodesAgain bool
	// NamesIssuer adds iss to authorization responses (RFC 9207).
	NamesIssuer bool
	// SignedUserInfo answers UserInfo as a JWT.
	SignedUserInfo bool
	// PersonType is the Content-Type of UserInfo; "" is the right one, "-" none.
	PersonType string
	// NoIDTokenAtRefresh leaves it out of the response to a refresh token.
	NoIDTokenAtRefresh bool
	// EndsFamilyAtReuse ends every refresh token of a sign-in when one of them is used
	// again, as RFC 9700 section 4.14.2 has it.
	EndsFamilyAtReuse bool
}

// NewFakeProvider starts one.
func NewFakeProvider(t testing.TB, clock *Clock) *FakeProvider {
	p := &FakeProvider{
		Issuer:   NewIssuer(t, clock),
		requests: map[string]url.Values{}, codes: map[string]url.Values{}, refresh: map[string]url.Values{}, used: map[string]url.Values{},
	}
	for name, path := range map[string]string{
		"authorization_endpoint": AuthorizePath, "token_endpoint": TokenPath, "userinfo_endpoint": UserInfoPath, "end_session_endpoint": EndSessionPath,
	} {
		p.Discovery(name, p.URL+path)
	}
	own := p.Server.healthy
	mux := http.NewServeMux()
	mux.Handle("/", own)
	mux.HandleFunc(AuthorizePath, p.authorize)
	mux.HandleFunc("POST "+TokenPath, p.token)
	mux.HandleFunc("GET "+UserInfoPath, p.userInfo)
	mux.HandleFunc("POST "+PushPath, p.push)
	p.Server.healthy = mux
	return p
}

// DiscoveryURL is where its metadata are.
func (p *FakeProvider) DiscoveryURL() string { return p.URL + DiscoveryPath }

// Behave changes what the provider says from now on.
func (p *FakeProvider) Behave(b Behaviour) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.behaviour = b
}

// Issued are the codes and the tokens that it has issued, and what belongs to them: no log
// and no page may hold any of these.
func (p *FakeProvider) Issued() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.issued)
}

// OfferPushedRequests adds the endpoint of RFC 9126 to the metadata.
func (p *FakeProvider) OfferPushedRequests() {
	p.Discovery("pushed_authorization_request_endpoint", p.URL+PushPath)
}

func (p *FakeProvider) push(w http.ResponseWriter, r *http.Request) {
	reference := "urn:ietf:params:oauth:request_uri:" + rand.Text()
	p.mu.Lock()
	p.requests[reference] = r.PostForm
	p.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusCreated)
	respondJSON(w, map[string]any{"request_uri": reference, "expires_in": 60})
}

func (p *FakeProvider) authorize(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	request := r.Form
	if pushed, ok := p.requests[request.Get("request_uri")]; ok {
		request = pushed
	}
	code := rand.Text()
	p.codes[code] = request
	p.issued = append(p.issued, code, request.Get("state"), request.Get("nonce"))
	response := map[string]any{"code": code, "state": request.Get("state")}
	if p.behaviour.NamesIssuer {
		response["iss"] = p.URL
	}
	values := url.Values{}
	for name, value := range Merged(response, p.behaviour.Response) {
		values.Set(name, fmt.Sprint(value))
	}
	to := request.Get("redirect_uri")
	if request.Get("response_mode") != "form_post" {
		http.Redirect(w, r, to+"?"+values.Encode(), http.StatusFound)
		return
	}
	w.Header().Set("Content-Type", "text/html")
	fmt.Fprintf(w, `<form method="post" action="%s">`, html.EscapeString(to))
	for name := range values {
		fmt.Fprintf(w, `<input type="hidden" name="%s" value="%s">`, name, html.EscapeString(values.Get(name)))
	}
	fmt.Fprint(w, `</form>`)
}

func (p *FakeProvider) token(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	request, again := p.refresh[r.PostForm.Get("refresh_token")]
	if r.PostForm.Get("grant_type") == "authorization_code" {
		code := r.PostForm.Get("code")
		again = false
		request = p.codes[code]
		if !p.behaviour.CodesAgain {
			delete(p.codes, code)
		}
		sum := sha256.Sum256([]byte(r.PostForm.Get("code_verifier")))
		if base64.RawURLEncoding.EncodeToString(sum[:]) != request.Get("code_challenge") || request.Get("code_challenge_method") != "S256" || r.PostForm.Get("redirect_uri") != request.Get("redirect_uri") {
			request = nil
		}
	}
	p.use(r.PostForm.Get("refresh_token"))
	if request == nil {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusBadRequest)
		respondJSON(w, map[string]any{"error": "invalid_grant", "error_description": "hunter2hunter2"})
		return
	}
	access, refresh := rand.Text(), rand.Text()
	p.refresh[refresh] = request
	p.issued = append(p.issued, access, refresh, r.PostForm.Get("code_verifier"))
	response := map[string]any{
		"access_token": access, "token_type": "Bearer", "expires_in": 300, "refresh_token": refresh, "scope": request.Get("scope"),
	}
	if !again || !p.behaviour.NoIDTokenAtRefresh {
		token := p.idToken(request, access, r.PostForm.Get("code"), again)
		response["id_token"], p.issued = token, append(p.issued, token)
	}
	respondJSON(w, Merged(response, p.behaviour.Token))
}

// use is called with mu held.
func (p *FakeProvider) use(token string) {
	if first, again := p.used[token]; again && p.behaviour.EndsFamilyAtReuse {
		maps.DeleteFunc(p.refresh, func(_ string, request url.Values) bool { return request.Get("state") == first.Get("state") })
	}
	if request, ok := p.refresh[token]; ok {
		p.used[token] = request
		delete(p.refresh, token)
	}
}

// idToken is called with mu held.
func (p *FakeProvider) idToken(request url.Values, access, code string, again bool) string {
	now := p.Clock.Now()
	half := func(value string) string {
		sum := sha256.Sum256([]byte(value))
		return base64.RawURLEncoding.EncodeToString(sum[:16])
	}
	set := map[string]any{
		"iss": p.URL, "sub": "user-1", "aud": request.Get("client_id"), "iat": now.Unix(), "exp": now.Unix() + 300,
		"at_hash": half(access), "sid": "session-1", "email": "ada@example.test",
	}
	if !again {
		set["nonce"], set["auth_time"], set["c_hash"] = request.Get("nonce"), now.Unix(), half(code)
	}
	header := maps.Clone(p.behaviour.Header)
	claims := JSON(p.t, Merged(set, p.behaviour.Claims))
	if p.behaviour.Sign != nil {
		return p.behaviour.Sign(header, claims)
	}
	return p.Key.Sign(p.t, header, claims)
}

func (p *FakeProvider) userInfo(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !strings.HasPrefix(r.Header.Get("Authorization"), "Bearer ") {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	person := Merged(map[string]any{"sub": "user-1", "name": "Ada", "groups": []string{"staff"}}, p.behaviour.Person)
	if p.behaviour.SignedUserInfo {
		w.Header().Set("Content-Type", "application/jwt")
		fmt.Fprint(w, p.Key.Sign(p.t, nil, JSON(p.t, Merged(map[string]any{"iss": p.URL, "aud": "web"}, person))))
		return
	}
	if p.behaviour.PersonType == "" {
		respondJSON(w, person)
		return
	}
	w.Header()["Content-Type"] = nil
	if kind := p.behaviour.PersonType; kind != "-" {
		w.Header().Set("Content-Type", kind)
	}
	fmt.Fprint(w, JSON(p.t, person))
}
