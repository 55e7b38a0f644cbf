package site

import (
	"context"
	"net/http"
	"strings"
	"time"

	"gatehouse/dev/ory"
)

// The site also plays a web application that uses OAuth 2.0: it asks for a
// token by authorization code and PKCE, calls APIs with it, and shows what they
// answered. The token never leaves the server and is dropped after that.

func (s *Site) clientPage(w http.ResponseWriter, r *http.Request) {
	s.show(w, r, http.StatusOK, "client", clientView{Client: s.c.Client.Name, Scopes: s.c.Client.Scopes, APIs: s.c.APIs})
}

type clientView struct {
	Client string
	Scopes []string
	APIs   []Link
}

// requestCookie keeps state and PKCE verifier in the browser that asked, which
// is what ties the response to it.
const requestCookie = "gatehouse_demo_client"

func (s *Site) clientStart(w http.ResponseWriter, r *http.Request) {
	request, err := ory.NewAuthRequest(s.c.Client, s.c.Client.Scopes, s.c.Client.Audience)
	if err != nil {
		s.showFailure(w, r, err)
		return
	}
	http.SetCookie(w, clientCookie(request.State+"."+request.Verifier, 600))
	http.Redirect(w, r, s.c.Hydra.AuthCodeURL(s.c.Client, request), http.StatusSeeOther)
}

func clientCookie(value string, maxAge int) *http.Cookie {
	return &http.Cookie{
		Name: requestCookie, Value: value, Path: "/client", MaxAge: maxAge,
		HttpOnly: true, SameSite: http.SameSiteLaxMode,
	}
}

func (s *Site) clientCallback(w http.ResponseWriter, r *http.Request) {
	var state, verifier string
	if cookie, err := r.Cookie(requestCookie); err == nil {
		state, verifier, _ = strings.Cut(cookie.Value, ".")
	}
	http.SetCookie(w, clientCookie("", -1))
	code, err := ory.CallbackCode(r.URL.Query(), state)
	if err != nil {
		s.showProblem(w, r, http.StatusBadRequest, "No access was given",
			"The request was denied, or it was not made by this browser.")
		return
	}
	token, err := s.c.Hydra.Exchange(r.Context(), s.c.Client, code, s.c.Client.RedirectURIs[0], verifier)
	if err != nil {
		s.challengeFailed(w, r, err)
		return
	}
	s.show(w, r, http.StatusOK, "called", s.callAPIs(r.Context(), token))
}

type calledView struct {
	Scopes    []string
	Minutes   int
	Refreshes bool
	Calls     []apiCall
}

type apiCall struct {
	Link
	OK      bool
	Outcome string
}

func (s *Site) callAPIs(ctx context.Context, token ory.Token) calledView {
	v := calledView{
		Scopes:    strings.Fields(token.Scope),
		Minutes:   (token.ExpiresIn + 30) / 60,
		Refreshes: token.RefreshToken != "",
	}
	for _, api := range s.c.APIs {
		v.Calls = append(v.Calls, callAPI(ctx, api, token.AccessToken))
	}
	return v
}

func callAPI(ctx context.Context, api Link, accessToken string) apiCall {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, api.URL, nil)
	if err != nil {
		return apiCall{Link: api, Outcome: "not a URL"}
	}
	req.Header.Set("Authorization", "Bearer "+accessToken)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return apiCall{Link: api, Outcome: "no response"}
	}
	res.Body.Close()
	return apiCall{Link: api, OK: res.StatusCode == http.StatusOK, Outcome: res.Status}
}
