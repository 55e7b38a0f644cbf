package config

import (
	"context"

	"gatehouse/core"
	"gatehouse/core/setting"
)

// Refused returns what the parts of a section refuse beside the rules that
// Inspect states, or with an empty name what the gate refuses, for tools that do
// not build it. The section has to be without a problem. No file is read and
// nothing is called.
func (c *Config) Refused(name string) []setting.Problem {
	var err error
	if name == "" {
		_, err = NewBuilder(BuilderOptions{}).GateWith(c, stub{}, stub{})
	}
	for _, s := range c.sections() {
		if string(s.kind()) == name {
			err = s.refused()
		}
	}
	if err != nil {
		return []setting.Problem{{Path: name, Text: err.Error()}}
	}
	return nil
}

// EndpointPaths are the paths that the gate of a configuration serves itself. A
// gateway has to route them to the gate, too.
func (c *Config) EndpointPaths() []string {
	endpoints, _, err := c.endpoints()
	if err != nil { // Inspect has reported it
		return nil
	}
	paths := make([]string, len(endpoints))
	for i, e := range endpoints {
		paths[i] = e.Path
	}
	return paths
}

// stub stands for the parts of a gate that are not looked at.
type stub struct{}

func (stub) Authenticate(context.Context, *core.Call, core.Credential) (core.Authentication, error) {
	return core.Authentication{}, core.ErrInvalid
}
func (stub) Match(context.Context, *core.Call) core.Access { return nil }
func (stub) Permissions(*core.Principal) []string          { return nil }
