package doctor

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"gatehouse/internal/check"
)

// entity is one of a gateway's configuration, as its admin API shows it.
type entity = map[string]any

// maxPages bounds what is read of an admin API: 100 pages of up to 500 entities.
const (
	maxPages = 100
	pageSize = 500
)

// kong examines the configuration that Kong runs, by its Admin API.
func (x *examination) kong(ctx context.Context) {
	subject := "Kong " + shown(x.Kong.String())
	key := http.Header{}
	if x.KongKey != "" {
		key.Set("Kong-Admin-Token", x.KongKey)
	}
	var node struct {
		Version string
		Edition string
		Plugins struct {
			Available map[string]any `json:"available_on_server"`
		}
	}
	if err := x.read(ctx, x.Kong, key, &node); err != nil {
		x.add("admin", Error, subject, "correct --kong-admin; GATEHOUSE_DOCTOR_KONG_TOKEN holds the token of an API that needs one", "%v", err)
		return
	}
	x.ok("admin", subject, "responds")
	x.kongVersion(subject, node.Version, node.Edition == "enterprise")
	if _, installed := node.Plugins.Available["gatehouse"]; !installed {
		x.add("plugin", Error, subject, "name gatehouse in plugins and pluginserver_names of kong.conf; docs/kong.md shows all of it", "Kong does not know the plugin gatehouse")
	} else {
		x.ok("plugin", subject, "Kong knows the plugin gatehouse")
	}
	document := map[string][]entity{}
	for _, kind := range []string{"services", "routes", "plugins"} {
		found, err := x.kongEntities(ctx, kind, key)
		if err != nil {
			x.add("admin", Error, subject, "see that the token may read "+kind, "%s: %v", kind, err)
			return
		}
		document[kind] = found
	}
	x.routes(subject, check.Kong, document, []string{"services", "routes", "plugins"})
}

// kongEntities are all of a kind, page by page.
func (x *examination) kongEntities(ctx context.Context, kind string, key http.Header) (all []entity, err error) {
	u := x.Kong.JoinPath(kind)
	u.RawQuery = fmt.Sprintf("size=%d", pageSize)
	for range maxPages {
		var page struct {
			Data   []entity
			Offset string
		}
		if err := x.read(ctx, u, key, &page); err != nil {
			return nil, err
		}
		all = append(all, page.Data...)
		if page.Offset == "" {
			return all, nil
		}
		u.RawQuery = url.Values{"size": {fmt.Sprint(pageSize)}, "offset": {page.Offset}}.Encode()
	}
	return nil, fmt.Errorf("there are more than %d; give the file to gatehouse check", maxPages*pageSize)
}

// apisix examines the configuration that APISIX runs, by its Admin API.
func (x *examination) apisix(ctx context.Context) {
	subject := "APISIX " + shown(x.APISIX.String())
	key := http.Header{}
	if x.APISIXKey != "" {
		key.Set("X-API-KEY", x.APISIXKey)
	}
	document := map[string][]entity{}
	kinds := []string{"routes", "services", "plugin_configs", "global_rules"}
	for _, kind := range kinds {
		found, err := x.apisixEntities(ctx, kind, key)
		if err != nil {
			x.add("admin", Error, subject, "correct --apisix-admin; GATEHOUSE_DOCTOR_APISIX_KEY holds the key (deployment.admin.admin_key of config.yaml)", "%s: %v", kind, err)
			return
		}
		document[kind] = found
	}
	x.ok("admin", subject, "responds")
	x.routes(subject, check.APISIX, document, kinds)
}

// apisixEntities are all of a kind, page by page.
func (x *examination) apisixEntities(ctx context.Context, kind string, key http.Header) (all []entity, err error) {
	for number := range maxPages {
		u := x.APISIX.JoinPath("apisix", "admin", kind)
		u.RawQuery = fmt.Sprintf("page=%d&page_size=%d", number+1, pageSize)
		var page struct {
			Total int
			List  []struct{ Value entity }
		}
		if err := x.read(ctx, u, key, &page); err != nil {
			return nil, err
		}
		for _, item := range page.List {
			all = append(all, item.Value)
		}
		if len(page.List) < pageSize || len(all) >= page.Total {
			return all, nil
		}
	}
	return nil, fmt.Errorf("there are more than %d; give the file to gatehouse check", maxPages*pageSize)
}

// read gets a document of an admin API.
func (x *examination) read(ctx context.Context, u *url.URL, key http.Header, into any) error {
	a, err := x.ask(ctx, http.MethodGet, u, key)
	switch {
	case err != nil:
		return err
	case a.status != http.StatusOK:
		return fmt.Errorf("GET %s responds with %d", shown(u.String()), a.status)
	case len(a.body) == maxBody:
		return fmt.Errorf("GET %s responds with more than %d bytes", shown(u.String()), maxBody)
	}
	if err := json.Unmarshal(a.body, into); err != nil {
		return fmt.Errorf("GET %s responds with no JSON of an admin API: %w", shown(u.String()), err)
	}
	return nil
}

// routes has gatehouse check look at what the gateway runs.
func (x *examination) routes(subject string, kind check.Kind, document map[string][]entity, order []string) {
	content, lines, err := written(document, order)
	if err != nil {
		x.add("routes", Error, subject, "give the gateway's files to gatehouse check", "%v", err)
		return
	}
	report := check.Files([]check.File{{Name: "doctor", Content: content}}, check.Options{As: kind, Allow: []string{"no-end", "not-here"}})
	for _, f := range report.Findings {
		at := subject
		if f.Line-1 < len(lines) && lines[f.Line-1] != "" {
			at += " " + lines[f.Line-1]
		}
		x.add("routes", Severity(f.Severity), at, "gatehouse check --rules says what the rule is about", "%s: %s", f.Rule, f.Text)
	}
	if !report.Failed() {
		x.ok("routes", subject, "gatehouse check finds nothing in %d entities", len(lines))
	}
}

// written is a declarative configuration with an entity on each line, and what stands on
// the lines. Fields that are not set are left out, as people leave them out of files.
func written(document map[string][]entity, order []string) (content []byte, lines []string, err error) {
	var b bytes.Buffer
	line := func(name, text string) {
		b.WriteString(text + "\n")
		lines = append(lines, name)
	}
	line("", `{"_format_version": "3.0"`)
	for _, kind := range order {
		line("", fmt.Sprintf(", %q: [", kind))
		for i, e := range document[kind] {
			text, err := json.Marshal(withoutNulls(e))
			if err != nil {
				return nil, nil, err
			}
			comma := map[bool]string{true: ", "}[i > 0]
			line(nameOf(kind, e), comma+string(text))
		}
		line("", "]")
	}
	line("", "}")
	return b.Bytes(), lines, nil
}

// nameOf is how people know an entity.
func nameOf(kind string, e entity) string {
	kind = strings.TrimSuffix(kind, "s")
	for _, key := range []string{"name", "id"} {
		if name := e[key]; name != nil {
			return strings.ReplaceAll(kind, "_", " ") + " " + fmt.Sprint(name)
		}
	}
	return kind
}

func withoutNulls(v any) any {
	switch v := v.(type) {
	case map[string]any:
		kept := map[string]any{}
		for key, value := range v {
			if value != nil {
				kept[key] = withoutNulls(value)
			}
		}
		return kept
	case []any:
		kept := make([]any, len(v))
		for i, value := range v {
			kept[i] = withoutNulls(value)
		}
		return kept
	}
	return v
}
