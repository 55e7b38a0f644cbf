package bundle

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"gatehouse/core/authn/idp"
	"gatehouse/core/permission/tablefile"
)

// document is what is at a URL, with the validators by which a server tells whether it
// has changed (RFC 9110 section 8.8).
type document struct {
	url            *url.URL
	limit          int64
	known          bool
	body           []byte
	etag, modified string
	confirmed      int // responses since then that say that it has not changed
}

// maxConfirmed is how often in a row a server is believed that a document has not
// changed: some have one entity tag for two contents, and go on saying so.
const maxConfirmed = 30

// fetch reads everything at the same time; it fails if one part does.
func (s *Source) fetch(ctx context.Context) (*bundle, error) {
	documents := s.files
	if s.signature != nil {
		documents = append([]*document{s.signature}, documents...)
	}
	failures := make([]error, len(documents))
	var all sync.WaitGroup
	for i, d := range documents {
		all.Go(func() { failures[i] = d.get(ctx, s.options) })
	}
	all.Wait()
	if err := errors.Join(failures...); err != nil {
		return nil, err
	}
	b := &bundle{}
	for _, d := range s.files {
		b.texts = append(b.texts, tablefile.Text{Name: idp.Name(d.url), Content: d.body})
	}
	if s.signature != nil {
		b.signature = string(bytes.TrimSpace(s.signature.body))
	}
	b.version = tablefile.Version(b.texts...)
	return b, nil
}

// forget has everything read anew.
func (s *Source) forget() {
	for _, d := range s.files {
		d.known = false
	}
	if s.signature != nil {
		s.signature.known = false
	}
}

// get brings a document up to date.
func (d *document) get(ctx context.Context, o Options) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, d.url.String(), nil)
	if err != nil {
		return err
	}
	for name, values := range o.Header {
		r.Header[name] = values
	}
	r.Header.Set("Cache-Control", "no-cache") // a cache in between asks the server
	conditional := d.condition(r.Header)
	response, err := o.Client.Do(r, d.limit)
	if err != nil {
		return err
	}
	if response.Status == http.StatusNotModified && conditional {
		return d.confirm(response)
	}
	if err := acceptable(response); err != nil {
		return err
	}
	d.known, d.body, d.confirmed = true, response.Body, 0
	d.etag, d.modified = strongTag(response.Header), lastModified(response.Header)
	return nil
}

// condition asks for a document only if it has changed, where it can be told.
func (d *document) condition(h http.Header) bool {
	switch {
	case !d.known || d.confirmed == maxConfirmed:
		return false
	case d.etag != "":
		h.Set("If-None-Match", d.etag)
	case d.modified != "":
		h.Set("If-Modified-Since", d.modified)
	default:
		return false
	}
	return true
}

// confirm takes note that a document has not changed, unless the response is about
// another one.
func (d *document) confirm(r *idp.Response) error {
	if tag := r.Header.Get("ETag"); tag != "" && d.etag != "" && strings.TrimPrefix(tag, "W/") != d.etag {
		d.known = false
		return fmt.Errorf("%s responds with status 304 and an ETag that was not asked for", r.From)
	}
	d.confirmed++
	return nil
}

// acceptable refuses what is no whole document.
func acceptable(r *idp.Response) error {
	kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	encoding := r.Header.Get("Content-Encoding")
	switch {
	case r.Status == http.StatusNotModified:
		return fmt.Errorf("%s responds with status 304 to a request without a condition", r.From)
	case r.Status == http.StatusUnauthorized || r.Status == http.StatusForbidden:
		return fmt.Errorf("%w; check the token and its header", r.Unexpected())
	case r.Status != http.StatusOK:
		return r.Unexpected()
	case encoding != "" && !strings.EqualFold(encoding, "identity"):
		return fmt.Errorf("%s responds in the encoding %.20q, which was not asked for", r.From, encoding)
	case !r.Delimited:
		return fmt.Errorf("%s responds without a length: a file cut short could not be told from a whole one", r.From)
	case len(bytes.TrimSpace(r.Body)) == 0:
		return fmt.Errorf("%s responds with an empty body", r.From)
	case kind == "text/html" || kind == "application/xhtml+xml" || bytes.HasPrefix(bytes.TrimSpace(r.Body), []byte("<")):
		return fmt.Errorf("%s responds with a web page, as a login page or the portal of a network would, and not with a file", r.From)
	}
	return nil
}

// strongTag is an entity tag that tells this content from any other. A weak one does not:
// servers give it where a file could have changed within the same second.
func strongTag(h http.Header) string {
	tags := h.Values("ETag")
	if len(tags) != 1 || len(tags[0]) < 3 || !strings.HasPrefix(tags[0], `"`) || !strings.HasSuffix(tags[0], `"`) {
		return ""
	}
	return tags[0]
}

// lastModified is a date that tells this content from any other: not where it could
// have changed again within the same second (RFC 9110 section 8.8.2.2).
func lastModified(h http.Header) string {
	modified, err := http.ParseTime(h.Get("Last-Modified"))
	if err != nil {
		return ""
	}
	date, err := http.ParseTime(h.Get("Date"))
	if err != nil || date.Sub(modified) <= time.Second {
		return ""
	}
	return h.Get("Last-Modified")
}
