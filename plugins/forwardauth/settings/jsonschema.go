package settings

import "gatehouse/core/config"

// JSONSchema describes forwardauth.yaml for editors, with its gates.
func JSONSchema() []byte {
	s := config.SchemaOf(Settings{})
	gates := s["properties"].(map[string]any)["gates"].(map[string]any)
	gates["additionalProperties"] = map[string]any{"$ref": "#/$defs/gate"}
	s["$defs"] = map[string]any{"gate": config.SchemaOf(config.Config{})}
	return config.EncodeSchema("Settings of gatehouse-forwardauth", s)
}
