// Package answer has the settings of what the gate itself answers: the pages that
// people get of refusals, who may read those,
// and the endpoints that the gate serves; and builds it.
package answer

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"runtime"

	"gatehouse/core"
	"gatehouse/core/browser"
	"gatehouse/core/config/section"
	"gatehouse/core/follow"
	"gatehouse/core/metadata"
)

// ErrorPages is what people get of refusals.
type ErrorPages struct {
	TemplateFile string `config:"template_file" file:"true" doc:"Path of a file with the page, a template of Go's html/template of at most 64 KiB. It can show .Status, .Reason, .Title, .Advice, .RequestID, .SignIn and .MayRepeat. The file is followed; while it has an error, the last good one stays. Scripts do not run on the page."`
	ForbiddenURL string `config:"forbidden_url" starts_with:"http" doc:"URL of a page to which browsers that are refused with 403 are redirected (303). The parameters status and request_id are added."`
	ErrorURL     string `config:"error_url" starts_with:"http" doc:"The same for every other refusal but 401, such as 400, 429 and 503."`
}

// CORS is which scripts may read refusals.
type CORS struct {
	Origins        []string `config:"origins" required:"true" doc:"Origins as browsers write them, such as https://app.example.com. https://*.example.com stands for all subdomains, and * alone for every origin."`
	Credentials    bool     `config:"credentials" default:"false" doc:"Whether scripts may send cookies (Access-Control-Allow-Credentials)."`
	ExposedHeaders []string `config:"exposed_headers" default:"WWW-Authenticate,DPoP-Nonce,Retry-After,Grpc-Status,Grpc-Message" doc:"Headers of refusals that scripts may read."`
	MaxAge         int      `config:"max_age" default:"600" between:"0,86400" doc:"How long browsers may keep the answer to a preflight, in seconds. The gate answers those that the permission table does not admit."`
}

// Check refuses what could not be built.
func (c *CORS) Check(v section.Validator) {
	if c == nil || len(c.Origins) == 0 {
		return
	}
	if _, err := c.build(); err != nil {
		v.Add("cors", "%v", err)
	}
}

func (c *CORS) build() (*browser.CORS, error) {
	return browser.NewCORS(c.Origins, c.ExposedHeaders, c.Credentials, c.MaxAge)
}

// Build makes the answers to browsers: nil, and not a nil pointer, where
// nothing is said about them.
func Build(pages *ErrorPages, cors *CORS, log *slog.Logger) (core.Answers, error) {
	if pages == nil && cors == nil {
		return nil, nil
	}
	a := &browser.Answers{}
	if cors != nil {
		built, err := cors.build()
		if err != nil {
			return nil, fmt.Errorf("cors: %w", err)
		}
		a.CORS = built
	}
	if pages != nil {
		a.Forbidden, a.Error = pageURL(pages.ForbiddenURL), pageURL(pages.ErrorURL)
		if pages.TemplateFile != "" {
			return a, template(a, pages.TemplateFile, log)
		}
	}
	return a, nil
}

// template has the answers follow a file for as long as they are used.
func template(a *browser.Answers, path string, log *slog.Logger) error {
	t, err := browser.Open(path)
	if err != nil {
		return fmt.Errorf("error_pages.template_file: %w", err)
	}
	a.Template = t
	ctx, stop := context.WithCancel(context.Background())
	go t.Follow(ctx, follow.Interval, log) // refers to t only, so that a can become garbage
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

// Endpoints is the part of a configuration that has the gate answer requests
// itself. Each is a field of the configuration.
type Endpoints interface {
	// CheckEndpoints reports what no single tag can say.
	CheckEndpoints(v section.Validator)
	// Endpoints are those, and the resources that challenges name, of a gate that
	// accepts tokens of the issuers, and proofs by the algorithms.
	Endpoints(issuers, proofAlgorithms []string) ([]core.Endpoint, metadata.Places, error)
}
