package pluginserver

import (
	"encoding/json"
	"io"
)

// description is what Kong reads from -dump. Kong takes the first plugin only.
type description struct {
	// Protocol must be there: without it Kong uses one that fails open.
	Protocol   string
	SocketPath string
	Plugins    []pluginDescription
}

type pluginDescription struct {
	Name     string
	Phases   []string
	Version  string
	Priority int
	Schema   map[string]any
}

func describe(p Plugin) (pluginDescription, error) {
	schema, err := Schema(p.Name, p.Config)
	if err != nil {
		return pluginDescription{}, err
	}
	return pluginDescription{
		Name:     p.Name,
		Phases:   []string{phaseAccess},
		Version:  p.Version,
		Priority: p.Priority,
		Schema:   schema,
	}, nil
}

// dump writes the one JSON document that Kong reads before it starts.
func dump(w io.Writer, p Plugin, socketPath string) error {
	info, err := describe(p)
	if err != nil {
		return err
	}
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return enc.Encode(description{"ProtoBuf:1", socketPath, []pluginDescription{info}})
}
