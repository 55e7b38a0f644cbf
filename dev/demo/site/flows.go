package site

import (
	"errors"
	"net/http"
	"net/url"
	"strings"

	"gatehouse/dev/ory"
)

// The flows that the site shows, by their names in Kratos' URLs.
const (
	loginFlow        = "login"
	registrationFlow = "registration"
	settingsFlow     = "settings"
)

// flow shows a started flow, and starts one for a browser that has none.
func (s *Site) flow(kind string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		id := r.URL.Query().Get("flow")
		if id == "" {
			s.toFlow(w, r, kind, r.URL.Query())
			return
		}
		f, err := s.c.Kratos.Flow(r.Context(), kind, id, r.Header.Get("Cookie"))
		if err != nil {
			s.flowFailed(w, r, kind, err)
			return
		}
		s.show(w, r, http.StatusOK, "flow", newFlowView(kind, f))
	}
}

// toFlow sends the browser to Kratos, which starts the flow and sends it back
// with the flow's ID. Kratos is the judge of return_to, but one who reads
// http:\\evil.example as a path on our own host where a browser goes to
// evil.example, so what is not plainly a URL never gets there.
func (s *Site) toFlow(w http.ResponseWriter, r *http.Request, kind string, query url.Values) {
	handedOn := url.Values{}
	if to := query.Get("return_to"); plainURL(to) {
		handedOn.Set("return_to", to)
	}
	for _, name := range []string{"refresh", "aal"} {
		if v := query.Get(name); v != "" {
			handedOn.Set(name, v)
		}
	}
	http.Redirect(w, r, s.c.Kratos.FlowURL(kind, handedOn), http.StatusSeeOther)
}

// plainURL is whether every reader takes a text for the same absolute http URL.
func plainURL(text string) bool {
	u, err := url.Parse(text)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" && u.User == nil &&
		!strings.ContainsFunc(text, func(c rune) bool { return c <= ' ' || c == '\\' || c >= 0x7f })
}

// flowFailed is the response to a flow that cannot be shown.
func (s *Site) flowFailed(w http.ResponseWriter, r *http.Request, kind string, err error) {
	response, refused := errors.AsType[*ory.ResponseError](err)
	if !refused {
		s.showFailure(w, r, err)
		return
	}
	switch response.Status {
	case http.StatusGone, http.StatusNotFound: // expired or unknown: start anew
		if strings.HasPrefix(response.Location, s.c.Kratos.PublicURL+"/") {
			http.Redirect(w, r, response.Location, http.StatusSeeOther)
			return
		}
		s.toFlow(w, r, kind, nil)
	case http.StatusUnauthorized:
		s.toFlow(w, r, loginFlow, url.Values{"return_to": {s.c.URL + "/" + kind}})
	case http.StatusForbidden:
		if response.ID == "session_aal2_required" {
			s.toFlow(w, r, loginFlow, url.Values{"return_to": {s.c.URL + "/" + kind}, "aal": {"aal2"}})
			return
		}
		// Starting anew would go round for ever in a browser without cookies.
		s.showProblem(w, r, http.StatusForbidden, "This form belongs to another browser",
			"It was started elsewhere, or this browser keeps no cookies. Allow cookies for this site and start again.")
	default:
		s.showFailure(w, r, err)
	}
}

// flowView is a flow as the page shows it.
type flowView struct {
	Kind     string
	Title    string
	Messages []ory.Message
	Forms    []form
	Back     string // host of return_to, for the person to see
	Other    string // query of links to the other flows, which keeps return_to
	SignedIn bool   // the flow is about a person who has signed in
}

type form struct {
	Title  string
	Action string
	Method string
	Items  []item
}

// item is one thing in a form. Exactly one of Input, Text and Image is set.
type item struct {
	Input *input
	Text  *textItem
	Image *ory.Attributes
	Label string
}

type input struct {
	ory.Attributes
	ID       string
	Label    string
	Text     string // Value as text
	Messages []ory.Message
	Invalid  bool
}

type textItem struct {
	Label string
	Text  string
}

func newFlowView(kind string, f ory.Flow) flowView {
	v := flowView{
		Kind:     kind,
		Title:    flowTitle(kind, f),
		Messages: f.UI.Messages,
		Forms:    forms(kind, f),
		SignedIn: kind == settingsFlow || f.Refresh || f.RequestedAAL == "aal2",
	}
	if u, err := url.Parse(f.ReturnTo); err == nil {
		v.Back = u.Host
	}
	if f.ReturnTo != "" {
		v.Other = "?" + url.Values{"return_to": {f.ReturnTo}}.Encode()
	}
	return v
}

func flowTitle(kind string, f ory.Flow) string {
	switch {
	case kind == registrationFlow:
		return "Create an account"
	case kind == settingsFlow:
		return "Your account"
	case f.RequestedAAL == "aal2":
		return "Second step"
	case f.Refresh:
		return "Confirm that it is you"
	}
	return "Sign in"
}

// sharedGroup holds what every form of a flow needs, such as its csrf_token.
const sharedGroup = "default"

// forms splits the settings into one form for each group, because each is saved
// by itself, and keeps any other flow in one.
func forms(kind string, f ory.Flow) []form {
	if kind != settingsFlow {
		return []form{newForm("", f, "", func(ory.Node) bool { return true })}
	}
	var out []form
	seen := map[string]bool{sharedGroup: true}
	for _, n := range f.UI.Nodes {
		if seen[n.Group] {
			continue
		}
		seen[n.Group] = true
		out = append(out, newForm(groupTitle(n.Group), f, n.Group+"-", func(other ory.Node) bool {
			return other.Group == n.Group || other.Group == sharedGroup
		}))
	}
	return out
}

func groupTitle(group string) string {
	switch group {
	case "profile":
		return "Profile"
	case "password":
		return "Password"
	case "totp":
		return "Authenticator app"
	}
	return strings.ReplaceAll(group, "_", " ")
}

func newForm(title string, f ory.Flow, idPrefix string, belongs func(ory.Node) bool) form {
	out := form{Title: title, Action: f.UI.Action, Method: strings.ToLower(f.UI.Method)}
	for _, n := range f.UI.Nodes {
		if !belongs(n) {
			continue
		}
		if i, ok := newItem(n, idPrefix); ok {
			out.Items = append(out.Items, i)
		}
	}
	return out
}

// newItem returns false for what only works with JavaScript.
func newItem(n ory.Node, idPrefix string) (item, bool) {
	switch n.Type {
	case "input":
		if n.Attributes.Type == "button" || n.Attributes.OnClick != "" {
			return item{}, false
		}
		return item{Input: newInput(n, idPrefix)}, true
	case "text":
		return item{Text: &textItem{Label: text(n.Meta.Label), Text: text(n.Attributes.Text)}}, true
	case "img":
		return item{Image: &n.Attributes, Label: text(n.Meta.Label)}, true
	}
	return item{}, false
}

func newInput(n ory.Node, idPrefix string) *input {
	in := &input{Attributes: n.Attributes, ID: "f-" + idPrefix + n.Attributes.Name, Messages: n.Messages}
	in.Label = text(n.Meta.Label)
	if in.Label == "" {
		in.Label = text(n.Attributes.Label)
	}
	if in.Label == "" {
		in.Label = n.Attributes.Name
	}
	if in.Autocomplete == "" {
		in.Autocomplete = autocomplete[in.Name]
	}
	in.Text, _ = in.Value.(string)
	for _, m := range n.Messages {
		in.Invalid = in.Invalid || m.Type == "error"
	}
	return in
}

// autocomplete has what Kratos cannot know about our traits.
var autocomplete = map[string]string{
	"identifier":    "username",
	"traits.name":   "name",
	"traits.tenant": "organization",
	"totp_code":     "one-time-code",
}

func text(m *ory.Message) string {
	if m == nil {
		return ""
	}
	return m.Text
}
