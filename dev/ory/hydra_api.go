package ory

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"html"
	"maps"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
)

// HydraAPI speaks to a Hydra, ours or another's.
type HydraAPI struct {
	PublicURL string // without a trailing slash
	AdminURL  string // without a trailing slash
}

// Issuer is the iss of its tokens, with the trailing slash that Hydra writes.
func (h HydraAPI) Issuer() string { return h.PublicURL + "/" }

// JWKSURL is where its public keys are.
func (h HydraAPI) JWKSURL() string { return h.PublicURL + "/.well-known/jwks.json" }

// IntrospectionURL is where tokens are checked, without client authentication
// and on the admin port alone.
func (h HydraAPI) IntrospectionURL() string { return h.AdminURL + "/admin/oauth2/introspect" }

// TokenURL is the token endpoint.
func (h HydraAPI) TokenURL() string { return h.PublicURL + "/oauth2/token" }

// AuthURL is the authorization endpoint.
func (h HydraAPI) AuthURL() string { return h.PublicURL + "/oauth2/auth" }

// Client is an OAuth 2.0 client.
type Client struct {
	ID     string // a random one if empty
	Secret string // a random one if empty, none for a public client
	Name   string
	Public bool // no secret, so PKCE
	Grants []string
	Scopes []string
	// Audience lists what tokens of the client may be for.
	Audience     []string
	RedirectURIs []string
	// PostLogoutRedirectURIs are where a logout may lead to.
	PostLogoutRedirectURIs []string
	// BackChannelLogoutURI is where logout tokens go when a person signs out.
	BackChannelLogoutURI string
	// FrontChannelLogoutURI is loaded in a frame when a person signs out.
	FrontChannelLogoutURI string
	// AuthMethod is how the client authenticates itself at the token endpoint; empty:
	// client_secret_basic, or none for a public client. JWKS has the keys of
	// private_key_jwt.
	AuthMethod string
	JWKS       any
	// JWT has access tokens be JWTs (RFC 9068 in spirit: Hydra's typ is "JWT").
	JWT bool
	// AccessTokenLifespan overrides the server's, for every grant.
	AccessTokenLifespan time.Duration
}

// CreateClient registers a client and returns it with its ID and secret.
func (h HydraAPI) CreateClient(ctx context.Context, c Client) (Client, error) {
	if c.ID == "" {
		c.ID = rand.Text()
	}
	if c.Secret == "" && !c.Public {
		c.Secret = rand.Text()
	}
	if err := doJSON(ctx, plainClient, http.MethodPost, h.AdminURL+"/admin/clients", c.registration(), nil); err != nil {
		return Client{}, fmt.Errorf("create the client %s: %w", c.ID, err)
	}
	return c, nil
}

func (c Client) registration() object {
	r := object{
		"client_id":                  c.ID,
		"client_name":                c.Name,
		"grant_types":                c.Grants,
		"response_types":             []string{"code"},
		"scope":                      strings.Join(c.Scopes, " "),
		"audience":                   c.Audience,
		"redirect_uris":              c.RedirectURIs,
		"post_logout_redirect_uris":  c.PostLogoutRedirectURIs,
		"access_token_strategy":      "opaque",
		"token_endpoint_auth_method": "client_secret_basic",
		"client_secret":              c.Secret,
	}
	if c.BackChannelLogoutURI != "" {
		r["backchannel_logout_uri"], r["backchannel_logout_session_required"] = c.BackChannelLogoutURI, true
	}
	if c.JWT {
		r["access_token_strategy"] = "jwt"
	}
	if c.Public {
		r["token_endpoint_auth_method"] = "none"
		delete(r, "client_secret")
	}
	if c.FrontChannelLogoutURI != "" {
		r["frontchannel_logout_uri"], r["frontchannel_logout_session_required"] = c.FrontChannelLogoutURI, true
	}
	if c.AuthMethod != "" {
		r["token_endpoint_auth_method"] = c.AuthMethod
	}
	if c.JWKS != nil {
		r["jwks"], r["token_endpoint_auth_signing_alg"] = c.JWKS, "ES256"
		delete(r, "client_secret")
	}
	if c.AccessTokenLifespan > 0 {
		for _, grant := range []string{"authorization_code", "client_credentials", "refresh_token"} {
			r[grant+"_grant_access_token_lifespan"] = c.AccessTokenLifespan.String()
		}
	}
	return r
}

// DeleteClient deletes a client; its tokens become inactive.
func (h HydraAPI) DeleteClient(ctx context.Context, id string) error {
	return doJSON(ctx, plainClient, http.MethodDelete, h.AdminURL+"/admin/clients/"+url.PathEscape(id), nil, nil)
}

// Token is the response of the token endpoint (RFC 6749, section 5.1).
type Token struct {
	AccessToken  string `json:"access_token"`
	RefreshToken string `json:"refresh_token"`
	IDToken      string `json:"id_token"`
	TokenType    string `json:"token_type"`
	Scope        string `json:"scope"`
	ExpiresIn    int    `json:"expires_in"` // seconds
}

// ClientCredentials gets a token for the client itself.
func (h HydraAPI) ClientCredentials(ctx context.Context, c Client, scopes, audience []string) (Token, error) {
	return h.token(ctx, c, url.Values{
		"grant_type": {"client_credentials"},
		"scope":      {strings.Join(scopes, " ")},
		"audience":   {strings.Join(audience, " ")},
	})
}

// Refresh trades a refresh token for new tokens. Hydra takes each refresh token
// once; taking one twice revokes all tokens of the grant.
func (h HydraAPI) Refresh(ctx context.Context, c Client, refreshToken string) (Token, error) {
	return h.token(ctx, c, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {refreshToken}})
}

// Exchange trades an authorization code for tokens.
func (h HydraAPI) Exchange(ctx context.Context, c Client, code, redirectURI, verifier string) (Token, error) {
	return h.token(ctx, c, url.Values{
		"grant_type":    {"authorization_code"},
		"code":          {code},
		"redirect_uri":  {redirectURI},
		"code_verifier": {verifier},
	})
}

func (h HydraAPI) token(ctx context.Context, c Client, form url.Values) (Token, error) {
	var out Token
	req, err := h.clientRequest(ctx, c, h.TokenURL(), form)
	if err != nil {
		return out, err
	}
	return out, call(plainClient, req, &out)
}

// Revoke revokes an access or refresh token (RFC 7009).
func (h HydraAPI) Revoke(ctx context.Context, c Client, token string) error {
	req, err := h.clientRequest(ctx, c, h.PublicURL+"/oauth2/revoke", url.Values{"token": {token}})
	if err != nil {
		return err
	}
	return call(plainClient, req, nil)
}

// clientRequest authenticates the client as RFC 6749, section 2.3.1 says, which
// has ID and secret form-encoded before they go into the header.
func (h HydraAPI) clientRequest(ctx context.Context, c Client, endpoint string, form url.Values) (*http.Request, error) {
	if c.Public {
		form.Set("client_id", c.ID)
		return formRequest(ctx, endpoint, form)
	}
	req, err := formRequest(ctx, endpoint, form)
	if err != nil {
		return nil, err
	}
	req.SetBasicAuth(url.QueryEscape(c.ID), url.QueryEscape(c.Secret))
	return req, nil
}

// Introspect asks about a token (RFC 7662), and returns the response as it is.
func (h HydraAPI) Introspect(ctx context.Context, token string) (map[string]any, error) {
	req, err := formRequest(ctx, h.IntrospectionURL(), url.Values{"token": {token}})
	if err != nil {
		return nil, err
	}
	var out map[string]any
	return out, call(plainClient, req, &out)
}

// AuthRequest is an authorization request (RFC 6749, section 4.1.1, with the
// PKCE of RFC 7636).
type AuthRequest struct {
	Scopes      []string
	Audience    []string
	RedirectURI string
	State       string
	Verifier    string // of PKCE; kept by the client until [HydraAPI.Exchange]
}

// NewAuthRequest makes the request for the client's first redirect URI, with a
// fresh state and verifier.
func NewAuthRequest(c Client, scopes, audience []string) (AuthRequest, error) {
	if len(c.RedirectURIs) == 0 {
		return AuthRequest{}, fmt.Errorf("the client %s has no redirect URI", c.ID)
	}
	return AuthRequest{
		Scopes: scopes, Audience: audience,
		RedirectURI: c.RedirectURIs[0], State: rand.Text(), Verifier: secret(64),
	}, nil
}

// AuthCodeURL is where to send the browser.
func (h HydraAPI) AuthCodeURL(c Client, r AuthRequest) string {
	challenge := sha256.Sum256([]byte(r.Verifier))
	query := url.Values{
		"client_id":             {c.ID},
		"response_type":         {"code"},
		"scope":                 {strings.Join(r.Scopes, " ")},
		"audience":              {strings.Join(r.Audience, " ")},
		"redirect_uri":          {r.RedirectURI},
		"state":                 {r.State},
		"code_challenge":        {base64.RawURLEncoding.EncodeToString(challenge[:])},
		"code_challenge_method": {"S256"},
	}
	return h.AuthURL() + "?" + query.Encode()
}

// Grant is what a person agrees to.
type Grant struct {
	Subject     string
	Scopes      []string
	Audience    []string
	AccessToken map[string]any // claims of the access token: ext, and top level where allowed
	IDToken     map[string]any // claims of the ID token
	// NameSession puts the claim sid into the access token: the session that a logout
	// token will name. Hydra itself puts it into ID tokens alone.
	NameSession bool
	// ForResource has the access token be for the resource that the client asks for
	// (resource, RFC 8707). Hydra ignores that parameter, so the consent takes it out of the
	// address of the request.
	ForResource bool
}

// AuthorizationCode runs the whole flow without a browser: it asks with PKCE,
// accepts login and consent at the admin port in the person's name, and trades
// the code for tokens. With the scope "offline" there is a refresh token.
func (h HydraAPI) AuthorizationCode(ctx context.Context, c Client, g Grant) (Token, error) {
	b, err := NewBrowser()
	if err != nil {
		return Token{}, err
	}
	return h.AuthorizationCodeIn(ctx, b, c, g)
}

// Browser keeps cookies, so that Hydra knows who has signed in with it.
type Browser struct{ client *http.Client }

// NewBrowser makes a browser with which nobody has signed in.
func NewBrowser() (Browser, error) {
	jar, err := cookiejar.New(nil)
	return Browser{newClient(jar)}, err
}

// AuthorizationCodeIn is AuthorizationCode in a browser.
func (h HydraAPI) AuthorizationCodeIn(ctx context.Context, b Browser, c Client, g Grant) (Token, error) {
	request, err := NewAuthRequest(c, g.Scopes, g.Audience)
	if err != nil {
		return Token{}, err
	}
	callback, err := h.authorize(ctx, b.client, h.AuthCodeURL(c, request), g)
	if err != nil {
		return Token{}, err
	}
	code, err := CallbackCode(callback.Query(), request.State)
	if err != nil {
		return Token{}, err
	}
	return h.Exchange(ctx, c, code, request.RedirectURI, request.Verifier)
}

// authorize walks from the authorization endpoint to the client's redirect URI,
// and returns that with its query.
func (h HydraAPI) authorize(ctx context.Context, browser *http.Client, authURL string, g Grant) (*url.URL, error) {
	login, err := visit(ctx, browser, authURL)
	if err != nil {
		return nil, err
	}
	accepted, err := h.AcceptLogin(ctx, login.Query().Get("login_challenge"), g.Subject)
	if err != nil {
		return nil, fmt.Errorf("%w (the authorization endpoint responded with %q)", err, login.Query().Get("error_description"))
	}
	consent, err := visit(ctx, browser, accepted)
	if err != nil {
		return nil, err
	}
	challenge := consent.Query().Get("consent_challenge")
	if g.NameSession || g.ForResource {
		r, err := h.ConsentRequest(ctx, challenge)
		if err != nil {
			return nil, err
		}
		if g, err = g.of(r); err != nil {
			return nil, err
		}
	}
	accepted, err = h.AcceptConsent(ctx, challenge, g)
	if err != nil {
		return nil, err
	}
	return visit(ctx, browser, accepted)
}

// of is the grant with what a consent takes out of its request.
func (g Grant) of(r ConsentRequest) (Grant, error) {
	if g.NameSession {
		claims := map[string]any{"sid": r.LoginSessionID}
		maps.Copy(claims, g.AccessToken)
		g.AccessToken = claims
	}
	if !g.ForResource {
		return g, nil
	}
	asked, err := url.Parse(r.RequestURL)
	if err != nil {
		return g, err
	}
	g.Audience = append(slices.Clone(g.Audience), asked.Query()["resource"]...)
	return g, nil
}

// Visit walks in a browser from an address at the authorization endpoint to what the
// person's browser brings to the client: by a redirect, or by a form that it would post.
func (h HydraAPI) Visit(ctx context.Context, b Browser, authURL string, g Grant) (method string, to *url.URL, form url.Values, err error) {
	var posts *ResponseError
	to, err = h.authorize(ctx, b.client, authURL, g)
	if errors.As(err, &posts) && posts.Form != nil {
		to, err = url.Parse(posts.Action)
		return http.MethodPost, to, posts.Form, err
	}
	return http.MethodGet, to, nil, err
}

// SignOut ends the session of a browser. Hydra then sends logout tokens to the clients
// that have a BackChannelLogoutURI.
func (h HydraAPI) SignOut(ctx context.Context, b Browser) error {
	accepted, err := h.confirmedLogout(ctx, b)
	if err != nil {
		return err
	}
	_, err = visit(ctx, b.client, accepted)
	return err
}

// SignOutFrames is SignOut for clients with a FrontChannelLogoutURI: it returns the
// addresses that the page of Hydra has the browser load in frames.
func (h HydraAPI) SignOutFrames(ctx context.Context, b Browser) (addresses []string, err error) {
	accepted, err := h.confirmedLogout(ctx, b)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, accepted, nil)
	if err != nil {
		return nil, err
	}
	res, page, err := roundTrip(b.client, req)
	if err != nil {
		return nil, err
	}
	if res.StatusCode != http.StatusOK {
		return nil, responseError(req, res, page)
	}
	for _, frame := range frameSource.FindAllSubmatch(page, -1) {
		addresses = append(addresses, html.UnescapeString(string(frame[1])))
	}
	return addresses, nil
}

var frameSource = regexp.MustCompile(`<iframe[^>]* src="([^"]*)"`)

// confirmedLogout is where a browser goes whose person has confirmed to sign out.
func (h HydraAPI) confirmedLogout(ctx context.Context, b Browser) (string, error) {
	logout, err := visit(ctx, b.client, h.PublicURL+"/oauth2/sessions/logout")
	if err != nil {
		return "", err
	}
	return h.AcceptLogout(ctx, logout.Query().Get("logout_challenge"))
}

func visit(ctx context.Context, browser *http.Client, url string) (*url.URL, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	return redirected(browser, req)
}

// CallbackCode reads the code from the query of the redirect URI, after it has
// checked the state.
func CallbackCode(query url.Values, state string) (string, error) {
	if query.Get("state") != state || state == "" {
		return "", errors.New("the state in the redirect is not the one that was sent")
	}
	if query.Get("error") != "" {
		return "", fmt.Errorf("the authorization server responded with %s: %s", query.Get("error"), query.Get("error_description"))
	}
	if query.Get("code") == "" {
		return "", errors.New("the redirect carries no code")
	}
	return query.Get("code"), nil
}

// LoginRequest is Hydra's request to say who the person is.
type LoginRequest struct {
	Challenge  string `json:"challenge"`
	Skip       bool   `json:"skip"` // Hydra remembers Subject and accepts no other
	Subject    string `json:"subject"`
	SessionID  string `json:"session_id"`  // what Hydra remembers it by
	RequestURL string `json:"request_url"` // the authorization request
}

// ConsentRequest is Hydra's request for the person's consent.
type ConsentRequest struct {
	Challenge         string        `json:"challenge"`
	Skip              bool          `json:"skip"`
	Subject           string        `json:"subject"`
	LoginSessionID    string        `json:"login_session_id"` // sid of ID tokens and logout tokens
	RequestURL        string        `json:"request_url"`      // the authorization request
	RequestedScope    []string      `json:"requested_scope"`
	RequestedAudience []string      `json:"requested_access_token_audience"`
	Client            RequestClient `json:"client"`
}

// RequestClient is the client that a request comes from.
type RequestClient struct {
	ID                     string   `json:"client_id"`
	Name                   string   `json:"client_name"`
	SkipConsent            bool     `json:"skip_consent"`
	RedirectURIs           []string `json:"redirect_uris"`
	PostLogoutRedirectURIs []string `json:"post_logout_redirect_uris"`
}

// LogoutRequest is Hydra's request to confirm that the person signs out.
type LogoutRequest struct {
	Challenge string        `json:"challenge"`
	Subject   string        `json:"subject"`
	Client    RequestClient `json:"client"`
}

// LoginRequest returns the request of a login challenge.
func (h HydraAPI) LoginRequest(ctx context.Context, challenge string) (r LoginRequest, err error) {
	return r, doJSON(ctx, plainClient, http.MethodGet, h.requestURL("login", "", challenge), nil, &r)
}

// ConsentRequest returns the request of a consent challenge.
func (h HydraAPI) ConsentRequest(ctx context.Context, challenge string) (r ConsentRequest, err error) {
	return r, doJSON(ctx, plainClient, http.MethodGet, h.requestURL("consent", "", challenge), nil, &r)
}

// LogoutRequest returns the request of a logout challenge.
func (h HydraAPI) LogoutRequest(ctx context.Context, challenge string) (r LogoutRequest, err error) {
	return r, doJSON(ctx, plainClient, http.MethodGet, h.requestURL("logout", "", challenge), nil, &r)
}

// AcceptLogin says that the person is the subject, and returns where to send the
// browser. Hydra remembers it until the browser closes: it asks before a logout
// only whom it remembers.
func (h HydraAPI) AcceptLogin(ctx context.Context, challenge, subject string) (redirectTo string, err error) {
	return h.response(ctx, "login", "accept", challenge, object{"subject": subject, "remember": true})
}

// ForgetLogin has Hydra forget whom it remembers by a session ID.
func (h HydraAPI) ForgetLogin(ctx context.Context, sessionID string) error {
	u := h.AdminURL + "/admin/oauth2/auth/sessions/login?" + url.Values{"sid": {sessionID}}.Encode()
	return doJSON(ctx, plainClient, http.MethodDelete, u, nil, nil)
}

// AcceptConsent says what the person agrees to, and returns where to send the
// browser.
func (h HydraAPI) AcceptConsent(ctx context.Context, challenge string, g Grant) (redirectTo string, err error) {
	return h.response(ctx, "consent", "accept", challenge, object{
		"grant_scope":                 g.Scopes,
		"grant_access_token_audience": g.Audience,
		"session":                     object{"access_token": g.AccessToken, "id_token": g.IDToken},
	})
}

// RejectConsent says that the person does not agree.
func (h HydraAPI) RejectConsent(ctx context.Context, challenge string) (redirectTo string, err error) {
	return h.response(ctx, "consent", "reject", challenge, object{
		"error": "access_denied", "error_description": "The resource owner denied the request.",
	})
}

// AcceptLogout says that the person wants to sign out.
func (h HydraAPI) AcceptLogout(ctx context.Context, challenge string) (redirectTo string, err error) {
	return h.response(ctx, "logout", "accept", challenge, nil)
}

func (h HydraAPI) response(ctx context.Context, kind, verb, challenge string, in any) (string, error) {
	if challenge == "" {
		return "", fmt.Errorf("%s the %s: there is no challenge", verb, kind)
	}
	var out struct {
		RedirectTo string `json:"redirect_to"`
	}
	err := doJSON(ctx, plainClient, http.MethodPut, h.requestURL(kind, "/"+verb, challenge), in, &out)
	return out.RedirectTo, err
}

func (h HydraAPI) requestURL(kind, suffix, challenge string) string {
	return h.AdminURL + "/admin/oauth2/auth/requests/" + kind + suffix + "?" + url.Values{kind + "_challenge": {challenge}}.Encode()
}
