package settings

import (
	"gatehouse/core/config"
	"gatehouse/core/setting"
)

// JSONSchema describes forwardauth.yaml for editors, with its gates.
func JSONSchema() []byte {
	s := setting.SchemaOf(Settings{})
	gates := s["properties"].(map[string]any)["gates"].(map[string]any)
	gates["additionalProperties"] = map[string]any{"$ref": "#/$defs/gate"}
	s["$defs"] = map[string]any{"gate": setting.SchemaOf(config.Config{})}
	return setting.EncodeSchema("Settings of gatehouse-forwardauth", s)
}
