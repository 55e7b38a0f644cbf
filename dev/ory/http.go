package ory

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"
)

const maxResponse = 1 << 20 // bytes of a response that are read

// ResponseError is a response other than the one that was asked for. It repeats
// what the server says is wrong, never the request or its credentials.
type ResponseError struct {
	Method string
	Path   string // of the URL, without host and query
	Status int
	// Location is where the server redirects to, or wants the browser to go.
	Location string
	// ID is the server's name for the error, such as "session_aal2_required"
	// or "invalid_scope".
	ID     string
	Reason string
	// Action and Form are of a page that has the browser post a form by itself.
	Action string
	Form   url.Values
}

func (e *ResponseError) Error() string {
	s := fmt.Sprintf("%s %s: status %d", e.Method, e.Path, e.Status)
	if e.ID != "" {
		s += " " + e.ID
	}
	if e.Reason != "" {
		s += ": " + e.Reason
	}
	return s
}

// client never follows a redirect by itself: the flows here look at each step.
func newClient(jar http.CookieJar) *http.Client {
	return &http.Client{
		Timeout:       30 * time.Second,
		Jar:           jar,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

var plainClient = newClient(nil)

// call sends the request and decodes a 2xx JSON response into out, if out is not
// nil. Any other status is a *ResponseError.
func call(c *http.Client, req *http.Request, out any) error {
	res, body, err := roundTrip(c, req)
	if err != nil {
		return err
	}
	if res.StatusCode < 200 || res.StatusCode > 299 {
		return responseError(req, res, body)
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(body, out); err != nil {
		return fmt.Errorf("%s %s: decode the response: %w", req.Method, req.URL.Path, err)
	}
	return nil
}

// redirected sends the request and returns where it is redirected to.
func redirected(c *http.Client, req *http.Request) (*url.URL, error) {
	res, body, err := roundTrip(c, req)
	if err != nil {
		return nil, err
	}
	if res.StatusCode < 300 || res.StatusCode > 399 {
		return nil, responseError(req, res, body)
	}
	return res.Location()
}

func roundTrip(c *http.Client, req *http.Request) (*http.Response, []byte, error) {
	if req.Header.Get("Accept") == "" {
		req.Header.Set("Accept", "application/json")
	}
	res, err := c.Do(req)
	if err != nil {
		return nil, nil, withoutURL(err, req)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxResponse))
	if err != nil {
		return nil, nil, fmt.Errorf("%s %s: %w", req.Method, req.URL.Path, err)
	}
	return res, body, nil
}

// withoutURL drops the query that net/http puts into its errors: it may hold a
// challenge or a code.
func withoutURL(err error, req *http.Request) error {
	if e, ok := err.(*url.Error); ok {
		err = e.Err
	}
	return fmt.Errorf("%s %s://%s%s: %w", req.Method, req.URL.Scheme, req.URL.Host, req.URL.Path, err)
}

var (
	formAction = regexp.MustCompile(`<form[^>]* action="([^"]*)"`)
	formField  = regexp.MustCompile(`<input type="hidden" name="([^"]*)" value="([^"]*)"`)
)

// postedForm is that of form_post.
func postedForm(page []byte) (action string, form url.Values) {
	found := formAction.FindSubmatch(page)
	if found == nil {
		return "", nil
	}
	form = url.Values{}
	for _, field := range formField.FindAllSubmatch(page, -1) {
		form.Set(html.UnescapeString(string(field[1])), html.UnescapeString(string(field[2])))
	}
	return html.UnescapeString(string(found[1])), form
}

func responseError(req *http.Request, res *http.Response, body []byte) error {
	e := &ResponseError{Method: req.Method, Path: req.URL.Path, Status: res.StatusCode, Location: res.Header.Get("Location")}
	e.Action, e.Form = postedForm(body)
	var said struct {
		Error       json.RawMessage `json:"error"`             // Kratos: an object; Hydra: a string
		Description string          `json:"error_description"` // Hydra
		Browser     string          `json:"redirect_browser_to"`
		UI          UI              `json:"ui"` // Kratos: a flow that was refused
	}
	if json.Unmarshal(body, &said) != nil {
		return e
	}
	if said.Browser != "" {
		e.Location = said.Browser
	}
	var kratos struct {
		ID, Message, Reason string
		Details             struct {
			RedirectTo string `json:"redirect_to"` // where an expired flow starts anew
		}
	}
	if json.Unmarshal(said.Error, &e.ID) == nil {
		e.Reason = said.Description
	} else if json.Unmarshal(said.Error, &kratos) == nil {
		e.ID, e.Reason = kratos.ID, strings.TrimSpace(kratos.Message+" "+kratos.Reason)
		e.Location = cmp.Or(e.Location, kratos.Details.RedirectTo)
	}
	for _, m := range said.UI.allMessages() {
		e.Reason = strings.TrimSpace(e.Reason + " " + m.Text)
	}
	return e
}

func jsonRequest(ctx context.Context, method, url string, in any) (*http.Request, error) {
	var body io.Reader
	if in != nil {
		content, err := json.Marshal(in)
		if err != nil {
			return nil, err
		}
		body = bytes.NewReader(content)
	}
	req, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		return nil, err
	}
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	return req, nil
}

func formRequest(ctx context.Context, url string, form url.Values) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return req, nil
}

func doJSON(ctx context.Context, c *http.Client, method, url string, in, out any) error {
	req, err := jsonRequest(ctx, method, url, in)
	if err != nil {
		return err
	}
	return call(c, req, out)
}
