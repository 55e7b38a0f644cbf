package traefik

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"gatehouse/dev/demo/upstream"
	"gatehouse/dev/ory"
)

const sessionCookie = "__Host-gatehouse"

// Step is one that the demo shows.
type Step struct {
	Title  string
	Status int
	Err    error
}

// browser keeps cookies as browsers do for localhost: secure ones, too.
type browser struct {
	site    *Site
	client  http.Client
	cookies map[string]string
}

func newBrowser(s *Site) *browser {
	stay := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &browser{site: s, client: http.Client{CheckRedirect: stay}, cookies: map[string]string{}}
}

// open opens a page, given as a URL of the site or as a path, with further header lines.
func (b *browser) open(ctx context.Context, method, target string, headers ...string) (*http.Response, error) {
	target = strings.TrimPrefix(target, b.site.URL)
	request, err := http.NewRequestWithContext(ctx, method, "http://"+b.site.options.Listen+target, nil)
	if err != nil {
		return nil, err
	}
	request.Host = strings.TrimPrefix(b.site.URL, "http://")
	request.Header.Set("Accept", "text/html")
	for i := 0; i+1 < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	for _, name := range slices.Sorted(maps.Keys(b.cookies)) {
		request.AddCookie(&http.Cookie{Name: name, Value: b.cookies[name]})
	}
	response, err := b.client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return nil, err
	}
	for _, c := range response.Cookies() {
		if b.cookies[c.Name] = c.Value; c.MaxAge < 0 {
			delete(b.cookies, c.Name)
		}
	}
	return response, nil
}

// Check has somebody sign in, use both applications and sign out, and tells of each step.
// It ends with the first that goes wrong.
func (s *Site) Check(ctx context.Context, subject string, told func(Step)) error {
	v := &visit{site: s, ctx: ctx, browser: newBrowser(s), subject: subject, told: told}
	for _, step := range []func(){v.signIn, v.use, v.signOut} {
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
	browser *browser
	subject string
	told    func(Step)
	err     error
}

// step opens a page and wants a status, and where the response leads to.
func (v *visit) step(title string, want int, leadsTo, method, target string, headers ...string) (location string) {
	if v.err != nil {
		return ""
	}
	v.site.Foo.Forget()
	v.site.Bar.Forget()
	response, err := v.browser.open(v.ctx, method, target, headers...)
	step := Step{Title: title, Err: err}
	if err == nil {
		step.Status, location = response.StatusCode, response.Header.Get("Location")
		if step.Status != want || !strings.HasPrefix(location, leadsTo) {
			step.Err = fmt.Errorf("%d to %.100q, want %d to %q", step.Status, location, want, leadsTo)
		}
	}
	if v.told(step); step.Err != nil {
		v.err = fmt.Errorf("%s: %w", title, step.Err)
	}
	return location
}

// received wants an application to have received one request, with or without a user.
func (v *visit) received(from *upstream.Server, user ...string) {
	if v.err != nil {
		return
	}
	all := from.Received()
	if len(all) != 1 || !slices.Equal(all[0].Values("X-Auth-User"), user) {
		v.err = fmt.Errorf("%s received %v, want X-Auth-User %q", from.Name(), all, user)
	}
}

func (v *visit) signIn() {
	site := v.site.URL
	v.step("a public page needs no sign-in", 200, "", http.MethodGet, "/foo/public", "X-Auth-User", "root")
	v.received(v.site.Foo)
	v.step("a script without a session", 401, "", http.MethodGet, "/foo", "Accept", "application/json")
	start := v.step("a page without a session leads to the start page", 302, site+"/rbac/login?return_to="+url.QueryEscape(site+"/foo"), http.MethodGet, "/foo")
	provider := v.step("which leads to the provider", 303, v.site.options.Hydra.PublicURL+"/oauth2/auth?", http.MethodGet, start)
	if v.err != nil {
		return
	}
	at, err := ory.NewBrowser()
	if err != nil {
		v.err = err
		return
	}
	_, back, _, err := v.site.options.Hydra.Visit(v.ctx, at, provider, ory.Grant{Subject: v.subject, Scopes: []string{"openid", "offline"}})
	if err != nil {
		v.err = err
		return
	}
	v.step("and that back to the page", 303, site+"/foo", http.MethodGet, back.String())
}

func (v *visit) use() {
	v.step("the page knows who it is", 200, "", http.MethodGet, "/foo", "X-Auth-User", "root")
	v.received(v.site.Foo, v.subject)
	v.step("the other application does, too", 200, "", http.MethodGet, "/bar")
	v.received(v.site.Bar, v.subject)
	v.step("a form of another site", 403, "", http.MethodPost, "/foo", "Sec-Fetch-Site", "cross-site", "Origin", "https://evil.test")
}

func (v *visit) signOut() {
	if v.browser.cookies[sessionCookie] == "" && v.browser.cookies[sessionCookie+".0"] == "" {
		v.err = errors.Join(v.err, errors.New("the browser has no session"))
	}
	copied := maps.Clone(v.browser.cookies)
	v.step("the logout goes on at the provider", 303, v.site.options.Hydra.PublicURL+"/oauth2/sessions/logout?", http.MethodGet, "/rbac/logout")
	v.browser.cookies = copied
	v.step("a copy of the cookie counts no more", 401, "", http.MethodGet, "/foo", "Accept", "application/json")
}
