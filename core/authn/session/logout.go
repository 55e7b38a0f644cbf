package session

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"gatehouse/core"
	"gatehouse/core/authn/idp"
	"gatehouse/core/httpsyntax"
)

const (
	logoutFlow = "/self-service/logout/browser"
	logoutEnd  = "/self-service/logout"
	// maxLogout is well above the response that begins a logout.
	maxLogout = 64 << 10
)

// Logout ends the session of a cookie at Kratos, by its logout flow of browsers, and
// returns the headers by which Kratos deletes the cookie. A cookie that Kratos knows no
// session of is no error.
func (a *Authenticator) Logout(ctx context.Context, cookie string) ([]core.Header, error) {
	if len(cookie) > core.MaxCredential || !httpsyntax.IsCredential(cookie) {
		return nil, nil // Kratos has made none like it
	}
	response, err := a.logout(ctx, logoutFlow, cookie)
	switch {
	case err != nil:
		return nil, err
	case response.Status == http.StatusUnauthorized:
		return nil, nil
	case response.Status != http.StatusOK:
		return nil, fmt.Errorf("Kratos: %w%s", response.Unexpected(), publicHint(response.Status))
	}
	token, _ := decoded(response.Body)["logout_token"].(string)
	if token == "" {
		return nil, errors.New("Kratos: the logout flow has no logout_token")
	}
	if response, err = a.logout(ctx, logoutEnd+"?"+url.Values{"token": {token}}.Encode(), cookie); err != nil {
		return nil, err
	}
	switch response.Status {
	case http.StatusNoContent, http.StatusOK, http.StatusSeeOther, http.StatusFound:
		return a.deletions(response.Header), nil
	}
	return nil, fmt.Errorf("Kratos: %w", response.Unexpected())
}

// deletions are the lines of Kratos that are about the cookie of the session.
func (a *Authenticator) deletions(header http.Header) (lines []core.Header) {
	for _, value := range header.Values("Set-Cookie") {
		if name, _, _ := strings.Cut(value, "="); strings.TrimSpace(name) == a.options.CookieName {
			lines = append(lines, core.Header{Name: "Set-Cookie", Value: value})
		}
	}
	return lines
}

func (a *Authenticator) logout(ctx context.Context, target, cookie string) (*idp.Response, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(a.whoami, whoamiPath)+target, nil)
	if err != nil {
		return nil, errors.New("the Kratos URL cannot be asked")
	}
	r.Header.Set("Accept", "application/json")
	r.Header.Set("Cookie", a.options.CookieName+"="+cookie)
	return a.options.Client.Do(r, maxLogout)
}
