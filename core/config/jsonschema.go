package config

import "gatehouse/core/setting"

// JSONSchema describes a configuration file for editors (JSON Schema, draft
// 2020-12). It is made of the tags that the decoder reads; Inspect checks more
// than a schema can express.
func JSONSchema() []byte {
	return setting.EncodeSchema("Configuration of a Gatehouse gate", setting.SchemaOf(Config{}))
}
