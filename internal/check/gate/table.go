package gate

import (
	"errors"
	"slices"
	"strings"

	"gatehouse/core/config"
	"gatehouse/core/config/tables"
	"gatehouse/core/permission"
	"gatehouse/core/permission/report"
	"gatehouse/core/permission/tablefile"
	"gatehouse/internal/check/document"
)

// tablesOf checks the permission tables of a configuration and returns the files
// of the one that decides; nil if some of it is not here.
func (c *Checker) tablesOf(s Settings, cfg *config.Config) []*permission.File {
	var o permission.Options
	if cfg.AuthZEN == nil && s.Root.Get("authzen").Node == nil {
		o.NoAsk = tables.NoAsk
	}
	if cfg.PermissionTable != "" {
		if table := s.Root.Get("permission_table"); table.IsText() && !table.IsUnknown() {
			return c.Tables([]*document.Text{table.Embedded()}, o)
		}
		return nil
	}
	c.tableFiles(s, "shadow_table_files", cfg.ShadowTableFiles, o)
	return c.tableFiles(s, "permission_table_files", cfg.PermissionTableFiles, o)
}

// tableFiles checks the files of one table, if all of them are here.
func (c *Checker) tableFiles(s Settings, key string, paths []string, o permission.Options) []*permission.File {
	var texts []*document.Text
	items := s.Root.Get(key).Items()
	for i, path := range paths {
		if i >= len(items) || items[i].IsUnknown() {
			continue
		}
		if text := c.Open(items[i].Place(), path); text != nil {
			texts = append(texts, text)
		}
	}
	if len(texts) < len(paths) || len(texts) == 0 {
		return nil
	}
	return c.Tables(texts, o)
}

// Tables checks texts that are merged into one table, for a gate with these options.
func (c *Checker) Tables(texts []*document.Text, o permission.Options) []*permission.File {
	var files []*permission.File
	for _, text := range texts {
		file, err := tablefile.Parse(text.File, []byte(text.Content))
		if err != nil {
			c.tableProblems(texts, err)
			continue
		}
		files = append(files, file)
	}
	if len(files) < len(texts) {
		return nil
	}
	if _, err := o.Compile(files...); err != nil {
		c.tableProblems(texts, err)
		return nil
	}
	return files
}

func (c *Checker) tableProblems(texts []*document.Text, err error) {
	c.Problems("table", texts, err)
}

// Problems gives those of a permission package's parser their place in the file.
func (c *Checker) Problems(rule string, texts []*document.Text, err error) {
	var several report.Problems
	if !errors.As(err, &several) {
		c.Add(rule, texts[0].Place(1, 1), "%v", err)
		return
	}
	for _, p := range several {
		at := document.Place(p.Place)
		for _, text := range texts {
			if text.File == p.File {
				at = text.Place(p.Line, p.Column)
			}
		}
		c.Add(rule, at, "%s", strings.TrimSpace(p.Text))
	}
}

// asksForBodies reports whether a gate has a table for whose calls its host must show the
// body.
func (c *Checker) asksForBodies(cfg *config.Config) bool {
	for _, g := range c.Gates {
		if g.Config != cfg || cfg.InsecureTrustMCPHeaders {
			continue
		}
		isMCP := func(a permission.OwnedActivity) bool { return a.MCP != nil }
		if slices.ContainsFunc(permission.Activities(g.Table...), isMCP) {
			return true
		}
	}
	return false
}
