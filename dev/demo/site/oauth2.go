package site

import (
	"errors"
	"net/http"
	"slices"
	"strings"

	"gatehouse/dev/ory"
)

// oauth2Login tells Hydra who the person is, with the Kratos
// session, and has a person without one sign in first.
func (s *Site) oauth2Login(w http.ResponseWriter, r *http.Request) {
	request, err := s.c.Hydra.LoginRequest(r.Context(), r.URL.Query().Get("login_challenge"))
	if err != nil {
		s.challengeFailed(w, r, err)
		return
	}
	session, ok := s.session(w, r)
	if !ok {
		return
	}
	if request.Skip && request.Subject != session.Person.ID {
		s.forgetAndAskAgain(w, r, request)
		return
	}
	to, err := s.c.Hydra.AcceptLogin(r.Context(), request.Challenge, session.Person.ID)
	s.finish(w, r, to, err)
}

// forgetAndAskAgain starts the authorization anew for a browser in which Hydra
// remembers a person who has been followed by another.
func (s *Site) forgetAndAskAgain(w http.ResponseWriter, r *http.Request, request ory.LoginRequest) {
	err := s.c.Hydra.ForgetLogin(r.Context(), request.SessionID)
	s.finish(w, r, request.RequestURL, err)
}

// consentPage asks what the client may do.
func (s *Site) consentPage(w http.ResponseWriter, r *http.Request) {
	request, session, ok := s.consentRequest(w, r, r.URL.Query().Get("consent_challenge"))
	if !ok {
		return
	}
	if request.Skip || request.Client.SkipConsent {
		s.grant(w, r, request, session, request.RequestedScope)
		return
	}
	s.allowForms(w, request.Client.RedirectURIs...)
	s.show(w, r, http.StatusOK, "consent", newConsentView(request, session))
}

// consent is what the person decided.
func (s *Site) consent(w http.ResponseWriter, r *http.Request) {
	request, session, ok := s.consentRequest(w, r, r.PostFormValue("consent_challenge"))
	if !ok {
		return
	}
	if r.PostFormValue("decision") != "allow" {
		to, err := s.c.Hydra.RejectConsent(r.Context(), request.Challenge)
		s.finish(w, r, to, err)
		return
	}
	granted := slices.DeleteFunc(slices.Clone(r.PostForm["scope"]), func(scope string) bool {
		return !slices.Contains(request.RequestedScope, scope)
	})
	s.grant(w, r, request, session, granted)
}

// consentRequest is Hydra's request together with the session of the person
// whom it is about, who is the only one to respond to it.
func (s *Site) consentRequest(w http.ResponseWriter, r *http.Request, challenge string) (ory.ConsentRequest, ory.Session, bool) {
	request, err := s.c.Hydra.ConsentRequest(r.Context(), challenge)
	if err != nil {
		s.challengeFailed(w, r, err)
		return request, ory.Session{}, false
	}
	session, ok := s.session(w, r)
	if !ok {
		return request, session, false
	}
	if session.Person.ID != request.Subject {
		s.showProblem(w, r, http.StatusForbidden, "Somebody else is signed in",
			"The request was made by another person. Start again from the application.")
		return request, session, false
	}
	return request, session, true
}

func (s *Site) grant(w http.ResponseWriter, r *http.Request, request ory.ConsentRequest, session ory.Session, scopes []string) {
	to, err := s.c.Hydra.AcceptConsent(r.Context(), request.Challenge, ory.Grant{
		Scopes:      scopes,
		Audience:    request.RequestedAudience,
		AccessToken: AccessClaims(session.Person),
		IDToken:     idClaims(session.Person, scopes),
	})
	s.finish(w, r, to, err)
}

// AccessClaims are what an access token says about a person beside the subject.
func AccessClaims(p ory.Person) map[string]any {
	claims := map[string]any{}
	if len(p.Roles) > 0 {
		claims["roles"] = p.Roles
	}
	if p.Tenant != "" {
		claims["tenant"] = p.Tenant
	}
	return claims
}

// idClaims follows OpenID Connect Core, section 5.4.
func idClaims(p ory.Person, scopes []string) map[string]any {
	claims := map[string]any{}
	if slices.Contains(scopes, "profile") && p.Name != "" {
		claims["name"] = p.Name
	}
	if slices.Contains(scopes, "email") {
		claims["email"] = p.Email
	}
	return claims
}

type consentView struct {
	Challenge string
	Client    string
	Person    ory.Person
	Scopes    []scopeView
}

type scopeView struct {
	Name string
	Text string
}

func newConsentView(request ory.ConsentRequest, session ory.Session) consentView {
	v := consentView{Challenge: request.Challenge, Client: request.Client.Name, Person: session.Person}
	if v.Client == "" {
		v.Client = request.Client.ID
	}
	for _, scope := range request.RequestedScope {
		v.Scopes = append(v.Scopes, scopeView{Name: scope, Text: scopeText(scope)})
	}
	return v
}

func scopeText(scope string) string {
	switch scope {
	case "openid":
		return "Know who you are"
	case "offline", "offline_access":
		return "Stay signed in until you end it"
	case "profile":
		return "See your name"
	case "email":
		return "See your email address"
	}
	if what, action, ok := strings.Cut(scope, ":"); ok && what != "" && action != "" {
		return strings.ToUpper(action[:1]) + action[1:] + " " + what
	}
	return "Use " + scope
}

func (s *Site) oauth2LogoutPage(w http.ResponseWriter, r *http.Request) {
	challenge := r.URL.Query().Get("logout_challenge")
	request, err := s.c.Hydra.LogoutRequest(r.Context(), challenge)
	if err != nil {
		s.challengeFailed(w, r, err)
		return
	}
	s.allowForms(w, request.Client.PostLogoutRedirectURIs...)
	s.show(w, r, http.StatusOK, "logout", logoutView{Action: "/oauth2/logout", Challenge: challenge})
}

// oauth2Logout ends what Hydra remembers, by its own response, and the Kratos
// session of this browser.
func (s *Site) oauth2Logout(w http.ResponseWriter, r *http.Request) {
	to, err := s.c.Hydra.AcceptLogout(r.Context(), r.PostFormValue("logout_challenge"))
	if err != nil {
		s.challengeFailed(w, r, err)
		return
	}
	if session, err := s.whoami(r); err == nil {
		err = s.c.Kratos.RevokeSession(r.Context(), session.ID)
		s.finish(w, r, to, err)
		return
	}
	http.Redirect(w, r, to, http.StatusSeeOther)
}

// finish sends the browser on its way, which Hydra names.
func (s *Site) finish(w http.ResponseWriter, r *http.Request, to string, err error) {
	if err != nil {
		s.challengeFailed(w, r, err)
		return
	}
	http.Redirect(w, r, to, http.StatusSeeOther)
}

// challengeFailed is the response to a challenge that Hydra does not know, or not any
// more.
func (s *Site) challengeFailed(w http.ResponseWriter, r *http.Request, err error) {
	response, refused := errors.AsType[*ory.ResponseError](err)
	if refused && response.Status < http.StatusInternalServerError {
		s.showProblem(w, r, http.StatusBadRequest, "This request is not valid any more",
			"It has been answered, it took too long, or it is incomplete. Start again from the application.")
		return
	}
	s.showFailure(w, r, err)
}
