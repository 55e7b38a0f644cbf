package pluginserver

import (
	"encoding/json"
	"io"
	"regexp"
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
		Version:  kongVersion(p.Version),
		Priority: p.Priority,
		Schema:   schema,
	}, nil
}

var release = regexp.MustCompile(`^v?([0-9]+\.[0-9]+\.[0-9]+)(?:[-+]|$)`)

// kongVersion is the x.y.z of a version, and 0.0.0 for one that has none, such
// as a commit's. Kong does not start with a plugin whose version has no number
// in it, and takes a number out of a commit's name where there is one: the
// control plane of a hybrid mode would then refuse data planes with another.
func kongVersion(version string) string {
	if found := release.FindStringSubmatch(version); found != nil {
		return found[1]
	}
	return "0.0.0"
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
