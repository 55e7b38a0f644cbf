// Package browser has the last word on what the gate itself answers browsers: pages of
// the operator's in place of the default one, and what scripts of other origins may
// read.
package browser

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"gatehouse/core"
	"gatehouse/core/form"
)

// Answers are what a configuration says about browsers. The zero value changes
// nothing.
type Answers struct {
	// Forbidden is where a person is led who may not do what they asked for, Error
	// where any other refusal leads but one for which signing in helps; nil: nowhere.
	Forbidden, Error *url.URL
	// Template makes the page; nil: the default one.
	Template *Template
	// CORS tells which scripts may read; nil: none of another origin.
	CORS *CORS
}

var _ core.Answers = (*Answers)(nil)

// Finish answers preflights, leads people to other pages or shows them the operator's,
// and lets scripts read.
func (a *Answers) Finish(r *core.Request, d *core.Decision) {
	if a.CORS != nil && a.CORS.preflight(r, d) {
		return
	}
	if d.Shown != nil && d.Shown.Form == form.Page {
		a.page(r, d)
	}
	if a.CORS != nil {
		a.CORS.expose(r, d)
	}
}

func (a *Answers) page(r *core.Request, d *core.Decision) {
	if to := a.elsewhere(d.Status); to != nil && !isFor(r, to) {
		d.Redirect(http.StatusSeeOther, withReason(to, d), "See the other page.\n")
		return
	}
	if a.Template == nil {
		return
	}
	if page, ok := a.Template.render(d.Shown); ok {
		d.Show(form.PageHeader(templatePolicy), page)
	}
}

// elsewhere is the page for a status; nil: none.
func (a *Answers) elsewhere(status int) *url.URL {
	switch status {
	case http.StatusForbidden:
		return a.Forbidden
	case http.StatusUnauthorized:
		return nil
	}
	return a.Error
}

// isFor reports whether a request asks for the page itself or for what is below it,
// and would be led in a circle. Hosts do not count: what is in front of the gateway
// may replace them. The root of a host is a page of its own. Whoever brings what
// withReason adds has been led to the page already, however its URL is written.
func isFor(r *core.Request, page *url.URL) bool {
	target, query, _ := strings.Cut(r.Target, "?")
	if has(query, "status") && has(query, "request_id") {
		return true
	}
	path, err := core.Canonical(target, core.PathOptions{})
	if err != nil {
		path = target
	}
	if page.Path == "" || page.Path == "/" {
		return path == "/" && strings.EqualFold(r.Host, page.Host)
	}
	own := strings.TrimSuffix(page.Path, "/")
	return path == own || strings.HasPrefix(path, own+"/")
}

func has(query, parameter string) bool {
	for pair := range strings.SplitSeq(query, "&") {
		if strings.HasPrefix(pair, parameter+"=") {
			return true
		}
	}
	return false
}

// withReason tells the page the status and under which id the log has the refusal, and
// nothing that the client has chosen.
func withReason(page *url.URL, d *core.Decision) string {
	to := *page
	query := to.Query()
	query.Set("status", strconv.Itoa(d.Status))
	query.Set("request_id", d.Shown.RequestID)
	to.RawQuery = query.Encode()
	return to.String()
}
