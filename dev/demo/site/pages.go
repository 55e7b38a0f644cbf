package site

import (
	"bytes"
	"embed"
	"fmt"
	"html/template"
	"net/http"
	"strings"
)

//go:embed templates/*.html
var templateFiles embed.FS

//go:embed static
var staticFS embed.FS

// pages are the templates by name, each with the layout around it.
type pages map[string]*template.Template

var pageNames = []string{"home", "flow", "logout", "error", "consent", "client", "called"}

func loadPages() (pages, error) {
	layout, err := template.New("layout.html").
		Funcs(template.FuncMap{"inlineImage": inlineImage, "join": strings.Join}).
		ParseFS(templateFiles, "templates/layout.html")
	if err != nil {
		return nil, err
	}
	all := pages{}
	for _, name := range pageNames {
		page, err := layout.Clone()
		if err != nil {
			return nil, err
		}
		if all[name], err = page.ParseFS(templateFiles, "templates/"+name+".html"); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// inlineImage lets the QR code through that html/template takes for a script in
// disguise, and nothing else.
func inlineImage(src string) (template.URL, error) {
	const png = "data:image/png;base64,"
	if !strings.HasPrefix(src, png) {
		return "", fmt.Errorf("an image of a form is not an inline PNG")
	}
	return template.URL(src), nil
}

// show writes a page whole or not at all.
func (s *Site) show(w http.ResponseWriter, r *http.Request, status int, page string, view any) {
	var out bytes.Buffer
	if err := s.pages[page].Execute(&out, view); err != nil {
		s.c.Log.Error("site: a page is broken", "page", page, "path", r.URL.Path, "error", err)
		http.Error(w, "This page is broken.", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	w.Write(out.Bytes())
}

func staticFiles() http.Handler {
	files := http.FileServerFS(staticFS)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=300")
		files.ServeHTTP(w, r)
	})
}
