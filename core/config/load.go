package config

import (
	"gatehouse/core/config/alone"
	"gatehouse/core/config/section"
	"gatehouse/core/setting"
)

// Load reads a configuration given inline, as YAML or JSON, follows its file
// indirection, fills in defaults and validates it. The error is a *setting.Error
// with every problem in it.
func Load(raw []byte) (*Config, error) {
	c, problems := Inspect(raw)
	if len(problems) > 0 {
		return nil, setting.ErrorOf("", problems)
	}
	if c.File == "" {
		return c, nil
	}
	return LoadFile(c.File)
}

// Inspect is Load without the file that a configuration names, which is left to
// tools that read it from another place. It returns what could be read even if
// there are problems, and nil only if the text is neither YAML nor JSON.
func Inspect(raw []byte) (*Config, []setting.Problem) {
	c := &Config{}
	checker, ok := setting.Fill(raw, c)
	switch {
	case !ok:
		return nil, checker.Problems()
	case c.File != "":
		return c, append(checker.Problems(), alone.Problems(c, c.File)...)
	}
	validator{section.Validator{Checker: checker}}.config(c)
	if c.JWT != nil && len(checker.Problems()) == 0 {
		c.JWT.Expand()
	}
	c.HideCredentials = c.HideCredentials || c.UpstreamToken != nil
	return c, checker.Problems()
}

// LoadFile is Load for the file that a configuration names.
func LoadFile(path string) (*Config, error) {
	raw, err := setting.ReadBounded(path, setting.MaxDocument)
	if err != nil {
		return nil, &setting.Error{Problems: []setting.Problem{{Path: "file", Text: err.Error()}}}
	}
	c, problems := Inspect(raw)
	if c != nil && c.File != "" {
		problems = []setting.Problem{{Path: "file", Text: "a configuration file cannot name another one; put the settings here"}}
	}
	return c, setting.ErrorOf(path, problems)
}
