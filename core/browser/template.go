package browser

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"html/template"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"gatehouse/core/follow"
	"gatehouse/core/form"
)

// Bounds of a template file and of a page that is made of it, which a proxy may get in
// a header.
const (
	maxTemplate = 64 << 10
	maxPage     = 32 << 10
)

// templatePolicy lets the page of an operator have styles, images and fonts of the same
// host, and no script.
const templatePolicy = "default-src 'none'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// Fields are what a template can show. The package html/template escapes them.
type Fields struct {
	// Status of the refusal, such as 403, and its name.
	Status int
	Reason string
	// Title and Advice of the default page.
	Title, Advice string
	// RequestID is the id under which the log has the refusal.
	RequestID string
	// SignIn is the URL of the login page where signing in helps; else empty.
	SignIn string
	// MayRepeat tells that <a href="">Try again</a> can help.
	MayRepeat bool
}

// Template makes pages from a file.
type Template struct {
	path    string
	files   *follow.Files
	current atomic.Pointer[template.Template]
}

// Open reads a template. One that does not read, or does not make a page of every
// refusal, is an error.
func Open(path string) (*Template, error) {
	t := &Template{path: path, files: follow.New(path)}
	var err error
	t.files.Read(func() { err = t.load() })
	return t, err
}

func (t *Template) load() error {
	parsed, err := parse(t.path)
	if err == nil {
		t.current.Store(parsed)
	}
	return err
}

// Check reports what is wrong with a template file.
func Check(path string) error {
	_, err := parse(path)
	return err
}

func parse(path string) (*template.Template, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxTemplate+1))
	switch {
	case err != nil:
		return nil, err
	case len(text) > maxTemplate:
		return nil, fmt.Errorf("%s: is longer than %d bytes", path, maxTemplate)
	}
	parsed, err := template.New(path).Parse(string(text))
	if err != nil {
		return nil, err
	}
	for _, status := range []int{400, 401, 403, 413, 429, 431, 503} {
		shown := &form.Refusal{Form: form.Page, Status: status, RequestID: "0", SignIn: "https://login.test/", Repeatable: true}
		if _, err := execute(parsed, shown); err != nil {
			return nil, fmt.Errorf("for status %d: %w", status, err)
		}
	}
	return parsed, nil
}

// Follow reads the file anew when it changes, until the context ends. While it has an
// error, the last good one stays.
func (t *Template) Follow(ctx context.Context, interval time.Duration, log *slog.Logger) {
	follow.Every(ctx, interval, func() {
		if !t.files.Changed() {
			return
		}
		var err error
		if !t.files.Read(func() { err = t.load() }) {
			return
		}
		if err != nil {
			log.Error("error_pages.template_file has an error; the last good one stays", "error", err)
			return
		}
		log.Info("error_pages.template_file is renewed", "file", t.path)
	})
}

// render reports whether the template makes a page.
func (t *Template) render(shown *form.Refusal) (page []byte, ok bool) {
	current := t.current.Load()
	if current == nil {
		return nil, false
	}
	page, err := execute(current, shown)
	return page, err == nil
}

var errTooLong = errors.New("the page is too long")

// execute writes the page on one line.
func execute(t *template.Template, shown *form.Refusal) ([]byte, error) {
	title, advice := shown.Text()
	var page bounded
	err := t.Execute(&page, Fields{shown.Status, http.StatusText(shown.Status), title, advice, shown.RequestID, shown.SignIn, shown.MayRepeat()})
	if err != nil {
		return nil, err
	}
	if strings.TrimSpace(page.String()) == "" {
		return nil, errors.New("the page is empty")
	}
	return bytes.Map(oneLine, page.Bytes()), nil
}

func oneLine(c rune) rune {
	if c < ' ' || c == 0x7f {
		return ' '
	}
	return c
}

// bounded is a buffer of maxPage bytes.
type bounded struct{ bytes.Buffer }

func (b *bounded) Write(p []byte) (int, error) {
	if b.Len()+len(p) > maxPage {
		return 0, fmt.Errorf("%w: more than %d bytes", errTooLong, maxPage)
	}
	return b.Buffer.Write(p)
}
