package ory

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"time"
)

// KratosAPI speaks to a Kratos, ours or another's.
type KratosAPI struct {
	PublicURL string // without a trailing slash
	AdminURL  string // without a trailing slash
}

// WhoamiURL is where a session is checked.
func (k KratosAPI) WhoamiURL() string { return k.PublicURL + "/sessions/whoami" }

// Person is an identity. Traits are what the person may edit; metadata is what
// the operator says about the person, and the only part to trust for access.
type Person struct {
	ID          string // given by Kratos
	Email       string
	Password    string // only sent, never returned
	Name        string
	Tenant      string // written to the trait and to metadata_public
	Roles       []string
	Permissions []string
}

// Metadata is the public metadata of an identity.
type Metadata struct {
	Roles       []string `json:"roles,omitempty"`
	Permissions []string `json:"permissions,omitempty"`
	Tenant      string   `json:"tenant,omitempty"`
}

type identity struct {
	ID     string `json:"id"`
	State  string `json:"state"`
	Traits struct {
		Email  string `json:"email"`
		Name   string `json:"name"`
		Tenant string `json:"tenant"`
	} `json:"traits"`
	MetadataPublic Metadata `json:"metadata_public"`
}

func (i identity) person() Person {
	return Person{
		ID: i.ID, Email: i.Traits.Email, Name: i.Traits.Name,
		Tenant: i.MetadataPublic.Tenant, Roles: i.MetadataPublic.Roles, Permissions: i.MetadataPublic.Permissions,
	}
}

// CreatePerson creates an identity with a password and returns it with its ID.
func (k KratosAPI) CreatePerson(ctx context.Context, p Person) (Person, error) {
	traits := object{"email": p.Email}
	if p.Name != "" {
		traits["name"] = p.Name
	}
	if p.Tenant != "" {
		traits["tenant"] = p.Tenant
	}
	in := object{
		"schema_id":       "default",
		"traits":          traits,
		"credentials":     object{"password": object{"config": object{"password": p.Password}}},
		"metadata_public": Metadata{Roles: p.Roles, Permissions: p.Permissions, Tenant: p.Tenant},
	}
	var out identity
	if err := doJSON(ctx, plainClient, http.MethodPost, k.AdminURL+"/admin/identities", in, &out); err != nil {
		return Person{}, fmt.Errorf("create the identity %s: %w", p.Email, err)
	}
	p.ID = out.ID
	return p, nil
}

// Person returns an identity as the operator sees it.
func (k KratosAPI) Person(ctx context.Context, id string) (Person, error) {
	var out identity
	err := doJSON(ctx, plainClient, http.MethodGet, k.identityURL(id), nil, &out)
	return out.person(), err
}

// SetMetadata replaces the public metadata of an identity.
func (k KratosAPI) SetMetadata(ctx context.Context, id string, m Metadata) error {
	return k.patch(ctx, id, "/metadata_public", m)
}

// SetActive switches an identity on or off. Sessions of an inactive one fail.
func (k KratosAPI) SetActive(ctx context.Context, id string, active bool) error {
	state := "inactive"
	if active {
		state = "active"
	}
	return k.patch(ctx, id, "/state", state)
}

func (k KratosAPI) patch(ctx context.Context, id, path string, value any) error {
	ops := []object{{"op": "add", "path": path, "value": value}}
	return doJSON(ctx, plainClient, http.MethodPatch, k.identityURL(id), ops, nil)
}

// DeletePerson deletes an identity and its sessions.
func (k KratosAPI) DeletePerson(ctx context.Context, id string) error {
	return doJSON(ctx, plainClient, http.MethodDelete, k.identityURL(id), nil, nil)
}

func (k KratosAPI) identityURL(id string) string {
	return k.AdminURL + "/admin/identities/" + url.PathEscape(id)
}

// Session is a signed-in person. Of Token and Cookie it has the one that its
// way of signing in gives.
type Session struct {
	ID        string
	Token     string // the X-Session-Token of applications
	Cookie    string // the value of the cookie [SessionCookie] of browsers
	Person    Person
	AAL       string
	ExpiresAt time.Time
}

type session struct {
	ID        string    `json:"id"`
	Active    bool      `json:"active"`
	AAL       string    `json:"authenticator_assurance_level"`
	ExpiresAt time.Time `json:"expires_at"`
	Identity  identity  `json:"identity"`
}

func (s session) session() Session {
	return Session{ID: s.ID, Person: s.Identity.person(), AAL: s.AAL, ExpiresAt: s.ExpiresAt}
}

// SignIn signs in as an application does, for a session token.
func (k KratosAPI) SignIn(ctx context.Context, email, password string) (Session, error) {
	return k.signInApp(ctx, "/self-service/login/api", "", object{"method": "password", "identifier": email, "password": password})
}

// signInApp runs a login flow for applications. With a token it raises the
// assurance level of that session.
func (k KratosAPI) signInApp(ctx context.Context, path, token string, response object) (Session, error) {
	flow, err := k.startAppFlow(ctx, path, token)
	if err != nil {
		return Session{}, err
	}
	var out struct {
		Token   string  `json:"session_token"`
		Session session `json:"session"`
	}
	if err := k.submitAppFlow(ctx, flow, token, response, &out); err != nil {
		return Session{}, err
	}
	s := out.Session.session()
	s.Token = out.Token
	if s.Token == "" { // the session has been raised, not replaced
		s.Token = token
	}
	return s, nil
}

func (k KratosAPI) startAppFlow(ctx context.Context, path, token string) (Flow, error) {
	var flow Flow
	req, err := jsonRequest(ctx, http.MethodGet, k.PublicURL+path, nil)
	if err != nil {
		return flow, err
	}
	setSessionToken(req, token)
	return flow, call(plainClient, req, &flow)
}

func (k KratosAPI) submitAppFlow(ctx context.Context, flow Flow, token string, response object, out any) error {
	req, err := jsonRequest(ctx, http.MethodPost, flow.UI.Action, response)
	if err != nil {
		return err
	}
	setSessionToken(req, token)
	return call(plainClient, req, out)
}

func setSessionToken(req *http.Request, token string) {
	if token != "" {
		req.Header.Set("X-Session-Token", token)
	}
}

// SignInBrowser signs in as a browser does, for a session cookie.
func (k KratosAPI) SignInBrowser(ctx context.Context, email, password string) (Session, error) {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return Session{}, err
	}
	browser := newClient(jar)
	var flow Flow
	if err := doJSON(ctx, browser, http.MethodGet, k.PublicURL+"/self-service/login/browser", nil, &flow); err != nil {
		return Session{}, err
	}
	response := object{"method": "password", "identifier": email, "password": password, "csrf_token": flow.UI.input("csrf_token")}
	var out struct {
		Session session `json:"session"`
	}
	if err := doJSON(ctx, browser, http.MethodPost, flow.UI.Action, response, &out); err != nil {
		return Session{}, err
	}
	s := out.Session.session()
	s.Cookie, err = cookieFrom(jar, k.PublicURL)
	return s, err
}

func cookieFrom(jar http.CookieJar, rawURL string) (string, error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		return "", err
	}
	for _, c := range jar.Cookies(u) {
		if c.Name == SessionCookie {
			return c.Value, nil
		}
	}
	return "", errors.New("kratos set no session cookie")
}

// Whoami returns the session of a session token.
func (k KratosAPI) Whoami(ctx context.Context, token string) (Session, error) {
	return k.whoami(ctx, http.Header{"X-Session-Token": {token}})
}

// WhoamiCookie returns the session of a browser by the value of its session
// cookie.
func (k KratosAPI) WhoamiCookie(ctx context.Context, value string) (Session, error) {
	cookie := http.Cookie{Name: SessionCookie, Value: value}
	return k.whoami(ctx, http.Header{"Cookie": {cookie.String()}})
}

func (k KratosAPI) whoami(ctx context.Context, header http.Header) (Session, error) {
	req, err := jsonRequest(ctx, http.MethodGet, k.WhoamiURL(), nil)
	if err != nil {
		return Session{}, err
	}
	req.Header = header
	var out session
	if err := call(plainClient, req, &out); err != nil {
		return Session{}, err
	}
	if !out.Active {
		return Session{}, errors.New("kratos responded with a session that is not active")
	}
	return out.session(), nil
}

// RevokeSession ends a session by its ID.
func (k KratosAPI) RevokeSession(ctx context.Context, id string) error {
	return doJSON(ctx, plainClient, http.MethodDelete, k.AdminURL+"/admin/sessions/"+url.PathEscape(id), nil, nil)
}

// ChangePassword gives the identity of a session token another password.
func (k KratosAPI) ChangePassword(ctx context.Context, token, password string) error {
	flow, err := k.startAppFlow(ctx, "/self-service/settings/api", token)
	if err != nil {
		return err
	}
	return k.submitAppFlow(ctx, flow, token, object{"method": "password", "password": password}, nil)
}

// EnrolTOTP adds a time-based one-time password to the identity of a session
// token, and returns its secret. From then on sessions with one factor get 403
// where the highest available level is required.
func (k KratosAPI) EnrolTOTP(ctx context.Context, token string) (TOTPSecret, error) {
	flow, err := k.startAppFlow(ctx, "/self-service/settings/api", token)
	if err != nil {
		return "", err
	}
	secret, err := totpSecretOf(flow.UI)
	if err != nil {
		return "", err
	}
	code, err := secret.Code(time.Now())
	if err != nil {
		return "", err
	}
	return secret, k.submitAppFlow(ctx, flow, token, object{"method": "totp", "totp_code": code}, nil)
}

// SignInTOTP raises the session of a token to the second assurance level.
func (k KratosAPI) SignInTOTP(ctx context.Context, token string, secret TOTPSecret) (Session, error) {
	code, err := secret.Code(time.Now())
	if err != nil {
		return Session{}, err
	}
	return k.signInApp(ctx, "/self-service/login/api?aal=aal2", token, object{"method": "totp", "totp_code": code})
}
