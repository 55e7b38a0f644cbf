package subdomains

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"reflect"
	"strings"
	"time"

	"gatehouse/dev/ory"
)

const tokenCookie = "jwt-token"

// Step is one that the demo shows.
type Step struct {
	Title  string
	Status int
}

// Check has somebody sign in, use both applications in every way and sign out, and tells of
// each step. It ends with the first that goes wrong.
func (s *Site) Check(ctx context.Context, subject string, told func(Step)) error {
	at, err := ory.NewBrowser()
	if err != nil {
		return err
	}
	v := &visit{site: s, ctx: ctx, subject: subject, told: told, at: at}
	v.forget()
	ada := person{s.options.Hydra.Issuer(), subject}
	s.users.grant(ada, "orders:read", "orders:prices", "people:read", "people:write")
	for _, step := range []func(){
		v.withoutSignIn, v.signIn, v.useApplications, v.otherSites, v.useToken, v.exchange, v.useScript, v.changeTable,
		v.signOut, v.signOutAtProvider, v.newcomer, v.refused,
	} {
		if step(); v.err != nil {
			return v.err
		}
	}
	return nil
}

// visit is that of one person. Once something has gone wrong, nothing more is done.
type visit struct {
	site    *Site
	ctx     context.Context
	subject string
	told    func(Step)
	at      ory.Browser // knows the provider
	jar     *cookiejar.Jar
	phone   string // the token of an application on a phone
	err     error
}

// forget begins with a browser without cookies of the site.
func (v *visit) forget() { v.jar, _ = cookiejar.New(nil) } // which never fails

// call is a request, and what its response has to be.
type call struct {
	title, method, url string
	header             map[string]string
	form               url.Values
	status             int
	leadsTo            string         // the beginning of Location
	record             map[string]any // what the response has to say, nil: that it does not
	allowed            string         // Access-Control-Allow-Origin
}

// do makes a request and checks the response, and returns the body.
func (v *visit) do(c call) (response *http.Response, body []byte) {
	if v.err != nil {
		return nil, nil
	}
	response, body, err := v.send(c)
	if err == nil {
		err = c.check(response, body)
	}
	if err != nil {
		v.err = fmt.Errorf("%s: %w", c.title, err)
		return nil, nil
	}
	v.told(Step{c.title, response.StatusCode})
	return response, body
}

// send makes a request with the cookies of a browser, which keeps secure ones for localhost.
func (v *visit) send(c call) (*http.Response, []byte, error) {
	of, err := url.Parse(c.url)
	if err != nil {
		return nil, nil, err
	}
	r, err := http.NewRequestWithContext(v.ctx, c.method, "http://"+v.site.options.Listen+of.RequestURI(), strings.NewReader(c.form.Encode()))
	if err != nil {
		return nil, nil, err
	}
	r.Host, of.Scheme = of.Host, "https"
	if c.form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for name, value := range c.header {
		r.Header.Set(name, value)
	}
	for _, cookie := range v.jar.Cookies(of) {
		r.AddCookie(cookie)
	}
	response, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		return nil, nil, err
	}
	defer response.Body.Close()
	v.jar.SetCookies(of, response.Cookies())
	body, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	return response, body, err
}

func (c call) check(response *http.Response, body []byte) error {
	if to := response.Header.Get("Location"); response.StatusCode != c.status || !strings.HasPrefix(to, c.leadsTo) {
		return fmt.Errorf("%d to %.200q, want %d to %q: %.300s", response.StatusCode, to, c.status, c.leadsTo, body)
	}
	if got := response.Header.Get("Access-Control-Allow-Origin"); c.allowed != "" && got != c.allowed {
		return fmt.Errorf("scripts of the origin %q may read it, want %q", got, c.allowed)
	}
	var record map[string]any
	if c.record == nil {
		return nil
	}
	if err := json.Unmarshal(body, &record); err != nil {
		return fmt.Errorf("%w: %.200s", err, body)
	}
	for name, want := range c.record {
		if !reflect.DeepEqual(record[name], want) {
			return fmt.Errorf("it says %s: %v, want %v", name, record[name], want)
		}
	}
	return nil
}

// opens is a request by which a browser opens a page.
func opens(title, address string, status int, leadsTo string) call {
	return call{title: title, method: http.MethodGet, url: address, header: map[string]string{"Accept": "text/html"}, status: status, leadsTo: leadsTo}
}

// script is the request of a script.
func script(title, method, address string, status int, record map[string]any, header ...string) call {
	c := call{title: title, method: method, url: address, header: map[string]string{"Accept": "application/json"}, status: status, record: record}
	for i := 0; i+1 < len(header); i += 2 {
		c.header[header[i]] = header[i+1]
	}
	return c
}

func (v *visit) orders() string { return v.site.URL(shop, "/api/v1/orders") }
func (v *visit) people() string { return v.site.URL(staff, "/api/v1/people") }

func (v *visit) withoutSignIn() {
	v.do(opens("the page of an application is public", v.site.URL(shop, "/"), 200, ""))
	v.do(script("an API call without the cookie", http.MethodGet, v.orders(), 401, nil))
	c := script("the other application's script can read that", http.MethodGet, v.orders(), 401, nil, "Origin", v.site.URL(staff, ""))
	c.allowed = v.site.URL(staff, "")
	v.do(c)
	v.do(script("a cookie that is no token", http.MethodGet, v.orders(), 401, nil, "Cookie", tokenCookie+"=x"))
}

// signIn goes from an application to the provider and back.
func (v *visit) signIn() {
	start := v.location(opens("a page without the cookie leads to the sign-in on its host", v.orders(), 302, v.site.URL(login, "/signin?return_to=")))
	v.do(opens("and that back to the application", v.callback(start), 303, v.orders()))
}

// callback goes from the start of a sign-in to the provider, and is where that leads back to.
func (v *visit) callback(start string) string {
	provider := v.location(opens("which leads to the provider", start, 303, v.site.options.Hydra.PublicURL+"/oauth2/auth?"))
	if v.err != nil {
		return ""
	}
	_, back, _, err := v.site.options.Hydra.Visit(v.ctx, v.at, provider, ory.Grant{Subject: v.subject, Scopes: strings.Fields(scopes)})
	if err != nil {
		v.err = err
		return ""
	}
	return back.String()
}

// location does a request, and is where its response leads to.
func (v *visit) location(c call) string {
	if response, _ := v.do(c); response != nil {
		return response.Header.Get("Location")
	}
	return ""
}

func (v *visit) useApplications() {
	record := map[string]any{"user": "u-1", "item": "a lamp", "price": "12 EUR", "credentials": nil, "permissions": []any{"orders:prices", "orders:read", "people:read", "people:write"}}
	v.do(script("the shop knows who it is, and shows the price", http.MethodGet, v.orders(), 200, record, "X-User-Permissions", "people:salaries"))
	v.do(script("staff does, too, and leaves the salary out", http.MethodGet, v.people(), 200, map[string]any{"user": "u-1", "name": "Grace", "salary": nil}, "X-User-Permissions", "people:salaries"))
}

func (v *visit) otherSites() {
	c := script("the shop's script reads what staff responds", http.MethodGet, v.people(), 200, map[string]any{"user": "u-1"}, "Origin", v.site.URL(shop, ""), "Sec-Fetch-Site", "same-site")
	c.allowed = v.site.URL(shop, "")
	v.do(c)
	c = script("the gate answers its preflight", http.MethodOptions, v.people(), 204, nil, "Origin", v.site.URL(shop, ""), "Access-Control-Request-Method", "POST")
	c.allowed = v.site.URL(shop, "")
	v.do(c)
	v.do(script("and lets its write pass", http.MethodPost, v.people(), 200, nil, "Origin", v.site.URL(shop, ""), "Sec-Fetch-Site", "same-site"))
	v.do(script("a write of another site", http.MethodPost, v.people(), 403, nil, "Origin", "https://evil.test", "Sec-Fetch-Site", "cross-site"))
}

// token is the one in the cookie.
func (v *visit) token() string {
	of, err := url.Parse(strings.Replace(v.orders(), "http", "https", 1))
	if err != nil {
		v.err = err
		return ""
	}
	for _, cookie := range v.jar.Cookies(of) {
		if cookie.Name == tokenCookie {
			return cookie.Value
		}
	}
	v.err = fmt.Errorf("the browser has no cookie %s", tokenCookie)
	return ""
}

// useToken has the cookie hold a JWT that is good as a bearer token, too.
func (v *visit) useToken() {
	v.says(v.token())
	v.do(v.bearer("what the cookie holds is a bearer token, too", v.people(), v.token(), 200))
}

// says wants a JWT to have the permissions of the user.
func (v *visit) says(token string) {
	parts := strings.Split(token, ".")
	if v.err != nil || len(parts) != 3 {
		v.err = errors.Join(v.err, fmt.Errorf("%.20q… is no JWT", token))
		return
	}
	var claims struct {
		Subject     string   `json:"sub"`
		Permissions []string `json:"permissions"`
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err == nil {
		err = json.Unmarshal(payload, &claims)
	}
	if err == nil && (claims.Subject != "u-1" || len(claims.Permissions) != 4) {
		err = fmt.Errorf("the token is of %q and has the permissions %q", claims.Subject, claims.Permissions)
	}
	v.err = err
}

// bearer is a request of an application that has no cookies.
func (v *visit) bearer(title, address, token string, status int) call {
	return script(title, http.MethodGet, address, status, nil, "Authorization", "Bearer "+token)
}

// exchange is the way of an application on phones.
func (v *visit) exchange() {
	v.forget()
	of := func(client ory.Client) url.Values {
		token, err := v.site.options.Hydra.AuthorizationCodeIn(v.ctx, v.at, client, ory.Grant{Subject: v.subject, Scopes: strings.Fields(scopes)})
		if err != nil {
			v.err = err
		}
		return url.Values{
			"grant_type": {"urn:ietf:params:oauth:grant-type:token-exchange"}, "subject_token": {token.IDToken},
			"subject_token_type": {"urn:ietf:params:oauth:token-type:id_token"},
		}
	}
	endpoint := v.site.URL(login, "/oauth2/token")
	v.do(call{title: "the ID token of somebody else's application", method: http.MethodPost, url: endpoint, form: of(v.site.other), status: 400})
	_, body := v.do(call{title: "an application on a phone exchanges its ID token", method: http.MethodPost, url: endpoint, form: of(v.site.mobile), status: 200})
	var issued struct {
		Token string `json:"access_token"`
	}
	if err := json.Unmarshal(body, &issued); err != nil {
		v.err = errors.Join(v.err, err)
		return
	}
	v.phone = issued.Token
	v.says(issued.Token)
	v.do(v.bearer("and calls the shop", v.orders(), issued.Token, 200))
	v.do(v.bearer("and staff", v.people(), issued.Token, 200))
}

func (v *visit) useScript() {
	v.do(v.bearer("a script with an API token", v.orders(), v.site.Script, 200))
	v.do(v.bearer("which may do no more", v.people(), v.site.Script, 403))
	v.do(v.bearer("an API token that was made up", v.orders(), v.site.Script[:len(v.site.Script)-1]+"?", 401))
}

// changeTable adds an endpoint to a permission that people have.
func (v *visit) changeTable() {
	v.forget()
	v.signIn()
	reports := v.site.URL(shop, "/api/v1/reports")
	v.do(script("an endpoint that no permission covers", http.MethodGet, reports, 403, nil))
	const last = "      - GET,HEAD /api/v1/orders/[^/?#]+\n"
	changed := strings.Replace(permissionTable, last, last+"      - GET,HEAD /api/v1/reports\n", 1)
	if err := v.site.write("permissions.yaml", changed); err != nil {
		v.err = err
	}
	v.await(script("a change of the table opens it, and nothing is restarted", http.MethodGet, reports, 200, map[string]any{"path": "/api/v1/reports", "user": "u-1"}))
	v.err = errors.Join(v.err, v.site.write("permissions.yaml", permissionTable))
}

// patience is how long something may take of which the gate learns by itself.
const patience = 30 * time.Second

// await makes a request until the response is the one that is wanted.
func (v *visit) await(c call) {
	for end := time.Now().Add(patience); v.err == nil && time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		response, body, err := v.send(c)
		if err == nil && c.check(response, body) == nil {
			break
		}
	}
	v.do(c)
}

// signOut ends the session for all applications, and for copies of the token.
func (v *visit) signOut() {
	copied := v.token()
	v.do(opens("the logout goes on at the provider", v.site.URL(login, "/logout"), 303, v.site.options.Hydra.PublicURL+"/oauth2/sessions/logout"))
	v.ended(copied)
}

// ended wants a token to count nowhere.
func (v *visit) ended(token string) {
	for _, address := range []string{v.orders(), v.people()} {
		v.do(script("the cookie is gone", http.MethodGet, address, 401, nil))
		v.do(script("a copy of it counts no more", http.MethodGet, address, 401, nil, "Cookie", tokenCookie+"="+token))
		v.do(v.bearer("nor does the token in it", address, token, 401))
	}
}

func (v *visit) signOutAtProvider() {
	v.forget()
	v.signIn()
	copied := v.token()
	if err := v.site.options.Hydra.SignOut(v.ctx, v.at); err != nil && v.err == nil {
		v.err = err
	}
	v.await(script("a logout at the provider ends the session", http.MethodGet, v.orders(), 401, nil))
	v.forget()
	v.ended(copied)
	v.do(v.bearer("and the token of the phone, which is of the same sign-in there", v.orders(), v.phone, 401))
}

// as goes on as somebody else, in another browser.
func (v *visit) as(subject string) {
	if v.err != nil {
		return
	}
	v.subject = subject
	v.forget()
	v.at, v.err = ory.NewBrowser()
}

// newcomer is somebody whom the users service does not know.
func (v *visit) newcomer() {
	v.as("a newcomer")
	v.signIn()
	v.do(script("somebody new sees orders, without prices", http.MethodGet, v.orders(), 200, map[string]any{"item": "a lamp", "price": nil}))
	v.do(script("and no people", http.MethodGet, v.people(), 403, nil))
}

// refused has the users service refuse somebody.
func (v *visit) refused() {
	v.as("somebody who is blocked")
	v.site.users.block(person{v.site.options.Hydra.Issuer(), v.subject})
	v.do(opens("somebody whom the users service refuses does not get in", v.callback(v.site.URL(login, "/signin")), 403, ""))
	v.do(script("and has no session", http.MethodGet, v.orders(), 401, nil))
}
