package site

import (
	"net/http"
	"regexp"
)

type problemView struct {
	Title string
	Text  string
	Code  string
}

// showFailure is the response to what is not the person's fault. The reason goes to
// the log alone.
func (s *Site) showFailure(w http.ResponseWriter, r *http.Request, err error) {
	s.c.Log.Error("site: a page could not be shown", "path", r.URL.Path, "error", err)
	s.showProblem(w, r, http.StatusBadGateway, "That did not work",
		"A server behind this page does not answer as it should. Try again in a moment.")
}

func (s *Site) showProblem(w http.ResponseWriter, r *http.Request, status int, title, text string) {
	s.show(w, r, status, "error", problemView{Title: title, Text: text})
}

// errorPage is where Kratos and Hydra send a browser that they cannot help.
func (s *Site) errorPage(w http.ResponseWriter, r *http.Request) {
	if id := r.URL.Query().Get("id"); id != "" {
		s.kratosError(w, r, id)
		return
	}
	view := problemView{
		Title: "The request was refused",
		Text:  "The application asked for something that cannot be done. Start again, or tell whoever runs the application.",
	}
	// The rest of what Hydra puts into the query could have been written by
	// whoever made the link, and is not shown.
	if code := r.URL.Query().Get("error"); oauth2Code.MatchString(code) {
		view.Code = code
	}
	s.show(w, r, http.StatusOK, "error", view)
}

// oauth2Code is an error code as RFC 6749 writes them.
var oauth2Code = regexp.MustCompile(`^[a-z][a-z0-9_]{2,40}$`)

func (s *Site) kratosError(w http.ResponseWriter, r *http.Request, id string) {
	problem, err := s.c.Kratos.FlowError(r.Context(), id)
	if err != nil {
		s.showProblem(w, r, http.StatusNotFound, "This error is not known any more", "Start again.")
		return
	}
	view := problemView{Title: "That did not work", Text: problem.Reason}
	if view.Text == "" {
		view.Text = problem.Message
	}
	s.show(w, r, http.StatusOK, "error", view)
}
