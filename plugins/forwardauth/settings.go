package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"gatehouse/core/config"
	"gatehouse/core/setting"
	"gatehouse/plugins/forwardauth/settings"
)

// load reads the settings and builds every gate. The error lists every problem. A gate
// whose files change is renewed if check does not refuse it.
func load(path string, builder *config.Builder, check func(name string, now *config.Current) error) (*settings.Settings, map[string]*gate, error) {
	s := &settings.Settings{}
	if err := setting.DecodeFile(path, s); err != nil {
		return nil, nil, err
	}
	problems := append(s.Problems(), certificateProblems(s)...)
	gates := map[string]*gate{}
	for _, name := range slices.Sorted(maps.Keys(s.Gates)) {
		g, err := buildGate(builder, name, s.Gates[name], check)
		gates[name] = g
		problems = append(problems, below("gates."+name, err)...)
	}
	if len(problems) > 0 {
		return nil, nil, &setting.Error{Source: path, Problems: problems}
	}
	return s, gates, nil
}

// buildGate hands a configuration on as the other hosts get it.
func buildGate(builder *config.Builder, name string, value any, check func(name string, now *config.Current) error) (*gate, error) {
	raw, err := json.Marshal(value)
	if err != nil {
		return nil, errors.New("is no configuration")
	}
	followed, err := builder.Follow(raw, config.Terms{
		Name: name, Whole: true,
		Check: func(now *config.Current) error { return check(name, now) },
	})
	if err != nil {
		return nil, err
	}
	first, err := followed.Current()
	return &gate{first, followed}, err
}

// below puts the path of a part before the paths of its problems.
func below(path string, err error) []setting.Problem {
	var inner *setting.Error
	switch {
	case err == nil:
		return nil
	case !errors.As(err, &inner):
		return []setting.Problem{{Path: path, Text: err.Error()}}
	case inner.Source != "":
		return []setting.Problem{{Path: path + ".file", Text: inner.Error()}}
	}
	problems := slices.Clone(inner.Problems)
	for i := range problems {
		problems[i] = problems[i].Below(path)
	}
	return problems
}

// certificateProblems are those of the files that listeners name.
func certificateProblems(s *settings.Settings) []setting.Problem {
	var found []setting.Problem
	for i, l := range s.Listen {
		if l.TLS == nil {
			continue
		}
		if _, err := readTLS(l.TLS).config(); err != nil {
			found = append(found, setting.Problem{Path: fmt.Sprintf("listen[%d].tls", i), Text: err.Error()})
		}
	}
	return found
}
