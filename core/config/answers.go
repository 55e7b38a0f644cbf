package config

import (
	"context"
	"fmt"
	"net/url"
	"runtime"

	"gatehouse/core"
	"gatehouse/core/browser"
	"gatehouse/core/follow"
)

// answers is nil, and not a nil pointer, where nothing is said about browsers.
func (b *Builder) answers(c *Config) (core.Answers, error) {
	if c.ErrorPages == nil && c.CORS == nil {
		return nil, nil
	}
	a := &browser.Answers{}
	if c.CORS != nil {
		cors, err := c.CORS.build()
		if err != nil {
			return nil, fmt.Errorf("cors: %w", err)
		}
		a.CORS = cors
	}
	if p := c.ErrorPages; p != nil {
		a.Forbidden, a.Error = pageURL(p.ForbiddenURL), pageURL(p.ErrorURL)
		if p.TemplateFile != "" {
			return a, b.template(a, p.TemplateFile)
		}
	}
	return a, nil
}

// template has the answers follow a file for as long as they are used.
func (b *Builder) template(a *browser.Answers, path string) error {
	t, err := browser.Open(path)
	if err != nil {
		return fmt.Errorf("error_pages.template_file: %w", err)
	}
	a.Template = t
	ctx, stop := context.WithCancel(context.Background())
	go t.Follow(ctx, follow.Interval, b.options.Log) // refers to t only, so that a can become garbage
	runtime.AddCleanup(a, func(stop context.CancelFunc) { stop() }, stop)
	return nil
}

// pageURL is nil for an empty text; the settings' check admits no other that is none.
func pageURL(text string) *url.URL {
	if u, err := url.Parse(text); err == nil && text != "" {
		return u
	}
	return nil
}

func (c *CORS) build() (*browser.CORS, error) {
	return browser.NewCORS(c.Origins, c.ExposedHeaders, c.Credentials, c.MaxAge)
}

func (v validator) browsers(c *Config) {
	if c.CORS != nil && len(c.CORS.Origins) > 0 {
		if _, err := c.CORS.build(); err != nil {
			v.Add("cors", "%v", err)
		}
	}
}
