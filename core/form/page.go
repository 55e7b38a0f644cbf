package form

import (
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"html"
	"net/http"
	"strings"

	"gatehouse/core/httpsyntax"
)

// text is what a person reads of a status.
type text struct{ title, advice string }

// Text is the title and the advice for a person.
func (r *Refusal) Text() (title, advice string) {
	t, known := texts[r.Status]
	if !known {
		t = texts[http.StatusBadRequest]
	}
	return cmp.Or(r.Title, t.title), cmp.Or(r.Advice, t.advice)
}

var texts = map[int]text{
	http.StatusBadRequest:                  {"This request is not valid", "The address or what your browser sent cannot be read in one way. Check the address, or go back and try again."},
	http.StatusUnauthorized:                {"You need to sign in", "Sign in, then open this page again. What you had filled in was not sent."},
	http.StatusForbidden:                   {"You have no access to this page", "Your account does not have the permission that this page needs. If it should, ask those who run this service."},
	http.StatusMethodNotAllowed:            {"This cannot be done here", "The address does not take what your browser asked for. Go back and try again."},
	http.StatusRequestEntityTooLarge:       {"This is too large", "What your browser sent is larger than this page takes."},
	http.StatusTooManyRequests:             {"Too many attempts", "Wait a moment, then try again."},
	http.StatusRequestHeaderFieldsTooLarge: {"Your browser sent too much", "Usually these are cookies. Delete those of this site, then try again."},
	http.StatusInternalServerError:         {"Something went wrong", "This is not your fault. Try again in a moment."},
	http.StatusNotImplemented:              {"This cannot be done here", "The service does not know what your browser asked for."},
	http.StatusServiceUnavailable:          {"This page cannot be opened at the moment", "Whether you may open it cannot be checked right now. This is not your fault. Try again in a moment."},
}

// MayRepeat tells that trying again can help a person.
func (r *Refusal) MayRepeat() bool {
	switch r.Status {
	case http.StatusTooManyRequests, http.StatusServiceUnavailable, http.StatusInternalServerError, http.StatusRequestHeaderFieldsTooLarge:
		return r.Repeatable
	}
	return false
}

// style has a contrast of at least 7:1 for text, in light and in dark.
const style = `:root{color-scheme:light dark}` +
	`body{margin:0;font:1.0625rem/1.6 system-ui,sans-serif;color:#1b1f24;background:#f6f7f9}` +
	`main{max-width:34rem;margin:12vh auto;padding:0 1.25rem;overflow-wrap:anywhere}` +
	`h1{font-size:1.6rem;line-height:1.25;margin:.25rem 0 1rem}` +
	`.status,.id{color:#4a5159;font-size:.9375rem}` +
	`.status{margin:0}.id{margin-top:2.5rem}` +
	`a{color:#0b4a8f;display:inline-block;padding:.25rem 0}` +
	`a:focus-visible{outline:3px solid currentColor;outline-offset:3px}` +
	`@media(prefers-color-scheme:dark){body{color:#eef0f3;background:#14171b}.status,.id{color:#b9c0c8}a{color:#9cc8ff}}`

// policy lets the page load nothing, run nothing and be framed by nobody.
var policy = func() string {
	sum := sha256.Sum256([]byte(style))
	return "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
}()

// PageHeader are the lines of a page that loads what its policy says.
func PageHeader(policy string) []httpsyntax.Header {
	return append(Header(PageType),
		httpsyntax.Header{Name: "Content-Security-Policy", Value: policy},
		httpsyntax.Header{Name: "X-Content-Type-Options", Value: "nosniff"},
		httpsyntax.Header{Name: "Referrer-Policy", Value: "no-referrer"})
}

// page is one line: a proxy may get it in a header. Of the request it shows the id
// alone, which is escaped as is everything else.
func (r *Refusal) page() ([]httpsyntax.Header, []byte) {
	title, advice := r.Text()
	var b strings.Builder
	b.WriteString(`<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>`)
	b.WriteString(html.EscapeString(title))
	b.WriteString(`</title><style>` + style + `</style></head><body><main><p class="status">`)
	b.WriteString(html.EscapeString(http.StatusText(r.Status)))
	b.WriteString(`</p><h1>` + html.EscapeString(title) + `</h1><p>` + html.EscapeString(advice) + `</p>`)
	if r.SignIn != "" {
		b.WriteString(`<p><a href="` + html.EscapeString(r.SignIn) + `">Sign in</a></p>`)
	}
	if r.MayRepeat() { // the empty reference is the address of the page itself
		b.WriteString(`<p><a href="">Try again</a></p>`)
	}
	if r.RequestID != "" {
		b.WriteString(`<p class="id">If you ask for help, name this request: <code>` + html.EscapeString(r.RequestID) + `</code></p>`)
	}
	b.WriteString(`</main></body></html>`)
	return PageHeader(policy), []byte(b.String())
}
