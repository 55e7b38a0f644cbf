package check

import (
	"errors"
	"strings"

	"gatehouse/core/config"
	"gatehouse/core/permission"
	"gatehouse/core/permission/expectation"
	"gatehouse/core/permission/report"
	"gatehouse/core/permission/tablefile"
	"gatehouse/internal/check/document"
)

// tablesOf checks the permission tables of a configuration and returns the files
// of the one that decides; nil if some of it is not here.
func (c *checker) tablesOf(s settings, cfg *config.Config) []*permission.File {
	if cfg.PermissionTable != "" {
		if table := s.root.Get("permission_table"); table.IsText() && !table.IsUnknown() {
			return c.tables([]*document.Text{table.Embedded()})
		}
		return nil
	}
	c.tableFiles(s, "shadow_table_files", cfg.ShadowTableFiles)
	return c.tableFiles(s, "permission_table_files", cfg.PermissionTableFiles)
}

// tableFiles checks the files of one table, if all of them are here.
func (c *checker) tableFiles(s settings, key string, paths []string) []*permission.File {
	var texts []*document.Text
	items := s.root.Get(key).Items()
	for i, path := range paths {
		if i >= len(items) || items[i].IsUnknown() {
			continue
		}
		if text := c.open(items[i].Place(), path); text != nil {
			texts = append(texts, text)
		}
	}
	if len(texts) < len(paths) || len(texts) == 0 {
		return nil
	}
	return c.tables(texts)
}

// tables checks texts that are merged into one table.
func (c *checker) tables(texts []*document.Text) []*permission.File {
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
	if _, err := permission.Compile(files...); err != nil {
		c.tableProblems(texts, err)
		return nil
	}
	return files
}

func (c *checker) tableProblems(texts []*document.Text, err error) {
	c.problems("table", texts, err)
}

// problems gives those of a permission package's parser their place in the file.
func (c *checker) problems(rule string, texts []*document.Text, err error) {
	var several report.Problems
	if !errors.As(err, &several) {
		c.add(rule, texts[0].Place(1, 1), "%v", err)
		return
	}
	for _, p := range several {
		at := document.Place(p.Place)
		for _, text := range texts {
			if text.File == p.File {
				at = text.Place(p.Line, p.Column)
			}
		}
		c.add(rule, at, "%s", strings.TrimSpace(p.Text))
	}
}

func (c *checker) expectations(text *document.Text) {
	if _, err := expectation.Parse(text.File, []byte(text.Content)); err != nil {
		c.problems("expectations", []*document.Text{text}, err)
	}
}
