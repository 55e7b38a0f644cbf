package pluginserver

import (
	"encoding/json"
	"gatehouse/core/config"
	"slices"
	"strings"
	"testing"
	"time"
)

type testSeconds float64

type testMode string

type testConfig struct {
	Realm   string            `config:"realm" required:"true" default:"gatehouse" doc:"Realm of the challenge."`
	Mode    testMode          `config:"mode" one_of:"strict,lax" default:"strict" doc:"Which of two modes."`
	URL     string            `config:"url" starts_with:"http" doc:"Where to ask for it."`
	Note    string            `config:"note" len_min:"0" default:"" doc:"May be left empty."`
	Secret  string            `config:"secret" secret:"true" doc:"What nobody may see."`
	On      bool              `config:"on" default:"true" doc:"Whether it is on."`
	Retries int               `config:"retries" default:"3" between:"0,10" doc:"How often to retry."`
	TTL     testSeconds       `config:"ttl" default:"0.5" between:"0,3600" doc:"Time to live, in seconds."`
	Modes   []testMode        `config:"modes" one_of:"a,b" default:"a,b" len_min:"1" doc:"Several modes at once."`
	Scopes  []string          `config:"scopes" set:"true" default:"" doc:"Scopes, each of them once."`
	Keys    []string          `config:"keys" secret:"true" doc:"Several secret keys."`
	Headers map[string]string `config:"headers" default:"X-User-Id=sub,X-A=a.b" doc:"Header names and claims."`
	Cache   testCache         `config:"cache" doc:"Bounds of the cache."`
	Session *testSession      `config:"session" doc:"Leave out for none."`
	Issuers []testIssuer      `config:"issuers" doc:"Trusted issuers."`
	Private func()            `config:"-"`
	//lint:ignore U1000 stands for what reflection cannot set
	hidden int
}

type testCache struct {
	Max int `config:"max" default:"1000" doc:"Greatest number of entries."`
}

type testSession struct {
	Cookie string `config:"cookie" default:"ory_kratos_session" doc:"Name of the cookie."`
}

type testIssuer struct {
	Issuer string `config:"issuer" required:"true" doc:"The iss claim's value."`
}

// EntityChecks are checks across fields.
func (testConfig) EntityChecks() []map[string]any {
	return []map[string]any{{"at_least_one_of": []string{"session", "issuers"}}}
}

// wantSchema is testConfig as Kong reads it.
const wantSchema = `{
 "name": "probe",
 "fields": [
  {"consumer": {"type": "foreign", "reference": "consumers", "eq": null}},
  {"protocols": {"type": "set", "required": true, "default": ["http", "https", "grpc", "grpcs"],
    "elements": {"type": "string", "one_of": ["http", "https", "grpc", "grpcs"]}}},
  {"config": {"type": "record", "required": true,
   "entity_checks": [{"at_least_one_of": ["session", "issuers"]}],
   "fields": [
    {"realm": {"type": "string", "required": true, "default": "gatehouse", "description": "Realm of the challenge."}},
    {"mode": {"type": "string", "default": "strict", "one_of": ["strict", "lax"], "description": "Which of two modes."}},
    {"url": {"type": "string", "starts_with": "http", "description": "Where to ask for it."}},
    {"note": {"type": "string", "default": "", "len_min": 0, "description": "May be left empty."}},
    {"secret": {"type": "string", "referenceable": true, "encrypted": true, "description": "What nobody may see."}},
    {"on": {"type": "boolean", "default": true, "description": "Whether it is on."}},
    {"retries": {"type": "integer", "default": 3, "between": [0, 10], "description": "How often to retry."}},
    {"ttl": {"type": "number", "default": 0.5, "between": [0, 3600], "description": "Time to live, in seconds."}},
    {"modes": {"type": "array", "default": ["a", "b"], "len_min": 1, "description": "Several modes at once.",
      "elements": {"type": "string", "one_of": ["a", "b"]}}},
    {"scopes": {"type": "set", "default": [], "elements": {"type": "string"}, "description": "Scopes, each of them once."}},
    {"keys": {"type": "array", "elements": {"type": "string", "referenceable": true, "encrypted": true}, "description": "Several secret keys."}},
    {"headers": {"type": "map", "keys": {"type": "string"}, "values": {"type": "string"},
      "default": {"X-User-Id": "sub", "X-A": "a.b"}, "description": "Header names and claims."}},
    {"cache": {"type": "record", "required": true, "description": "Bounds of the cache.", "fields": [
      {"max": {"type": "integer", "default": 1000, "description": "Greatest number of entries."}}]}},
    {"session": {"type": "record", "required": false, "description": "Leave out for none.", "fields": [
      {"cookie": {"type": "string", "default": "ory_kratos_session", "description": "Name of the cookie."}}]}},
    {"issuers": {"type": "array", "description": "Trusted issuers.", "elements": {"type": "record", "fields": [
      {"issuer": {"type": "string", "required": true, "description": "The iss claim's value."}}]}}}
   ]}}
 ]}`

func TestSchemaOfAConfigStruct(t *testing.T) {
	schema, err := Schema("probe", testConfig{})
	if err != nil {
		t.Fatal(err)
	}
	got, want := canonicalJSON(t, mustMarshal(t, schema)), canonicalJSON(t, []byte(wantSchema))
	if got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

func mustMarshal(t *testing.T, v any) []byte {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func canonicalJSON(t *testing.T, data []byte) string {
	t.Helper()
	var v any
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatal(err)
	}
	out, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// Kong refuses to start when a schema has an attribute that it does not know.
func TestSchemaHasOnlyWhatKongAccepts(t *testing.T) {
	accepted := []string{
		"type", "default", "required", "one_of", "between", "starts_with", "len_min", "fields", "elements", "keys", "values",
		"referenceable", "encrypted", "entity_checks", "description", "reference", "eq",
	}
	types := []string{"string", "boolean", "integer", "number", "array", "set", "map", "record", "foreign"}
	var check func(path string, field map[string]any)
	checkFields := func(path string, list any) {
		for _, entry := range list.([]any) {
			for name, field := range entry.(map[string]any) {
				check(path+"."+name, field.(map[string]any))
			}
		}
	}
	check = func(path string, field map[string]any) {
		for attribute, value := range field {
			if !slices.Contains(accepted, attribute) {
				t.Errorf("%s has %s", path, attribute)
			}
			switch attribute {
			case "fields":
				checkFields(path, value)
			case "elements", "keys", "values":
				check(path+"."+attribute, value.(map[string]any))
			case "type":
				if !slices.Contains(types, value.(string)) {
					t.Errorf("%s is of type %v", path, value)
				}
			case "description":
				if n := len(value.(string)); n < 10 || n > 500 {
					t.Errorf("%s has a description of %d bytes", path, n)
				}
			}
		}
	}
	schema, err := Schema("probe", testConfig{})
	if err != nil {
		t.Fatal(err)
	}
	var top map[string]any
	if err := json.Unmarshal(mustMarshal(t, schema), &top); err != nil {
		t.Fatal(err)
	}
	checkFields("", top["fields"])
}

func TestSchemaThatLosesAFieldIsAnError(t *testing.T) {
	type recursive struct {
		Next []struct {
			Again *testIssuer `config:"again" doc:"Nothing wrong here."`
		} `config:"next" doc:"Nothing wrong here."`
	}
	if _, err := Schema("probe", recursive{}); err != nil {
		t.Errorf("a nested struct: %v", err)
	}
	for want, config := range map[string]any{
		"should be a struct": "text",
		"no config tag": struct {
			Lost string
		}{},
		"doc tag": struct {
			A string `config:"a" doc:"short"`
		}{},
		"nanoseconds": struct {
			A time.Duration `config:"a" doc:"A length of time."`
		}{},
		"no type for a Go interface": struct {
			A any `config:"a" doc:"Anything at all."`
		}{},
		"no type for a Go uint8": struct {
			A []byte `config:"a" doc:"Bytes are not text."`
		}{},
		"no type for a Go map[int]string": struct {
			A map[int]string `config:"a" doc:"Keys are not text."`
		}{},
		"no type for a Go *string": struct {
			A *string `config:"a" doc:"A pointer to text."`
		}{},
		"contains itself": selfContaining{},
		`"x" is no integer`: struct {
			A int `config:"a" default:"x" doc:"A whole number."`
		}{},
		`"1" is no record`: struct {
			A testCache `config:"a" default:"1" doc:"A record with a default."`
		}{},
		"one_of is for fields of type": struct {
			A bool `config:"a" one_of:"true" doc:"Yes, and nothing else."`
		}{},
		"between is for fields of type": struct {
			A string `config:"a" between:"1,2" doc:"Text in a range."`
		}{},
		"should be two numbers": struct {
			A int `config:"a" between:"1" doc:"A range with one end."`
		}{},
		"secret cannot have a default": struct {
			A string `config:"a" secret:"true" default:"x" doc:"Known to everybody."`
		}{},
		"key=value": struct {
			A map[string]string `config:"a" default:"x" doc:"A map without values."`
		}{},
		`without len_min:"0"`: struct {
			A string `config:"a" default:"" doc:"Empty by default."`
		}{},
		"len_min is": struct {
			A string `config:"a" len_min:"-1" doc:"Shorter than nothing."`
		}{},
	} {
		t.Run(want, func(t *testing.T) {
			_, err := Schema("probe", config)
			if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "probe") {
				t.Errorf("Schema = %v, want %q", err, want)
			}
		})
	}
}

type selfContaining struct {
	Children []selfContaining `config:"children" doc:"More of the same."`
}

func TestSchemaGapsFindsEveryLoss(t *testing.T) {
	schema, err := Schema("probe", testConfig{})
	if err != nil {
		t.Fatal(err)
	}
	gaps, err := schemaGaps(testConfig{}, schema)
	if err != nil || len(gaps) > 0 {
		t.Fatalf("a whole schema has gaps: %v, %v", gaps, err)
	}
	complete := string(mustMarshal(t, schema))
	for cut, want := range map[string]string{
		`"default":true,`:                         "on: the tag default left no trace",
		`"one_of":["a","b"],`:                     "modes: the tag one_of left no trace",
		`"between":[0,10],`:                       "retries: the tag between left no trace",
		`"encrypted":true,`:                       "secret: the tag secret left no trace",
		`"starts_with":"http",`:                   "url: the tag starts_with left no trace",
		`"len_min":0,`:                            "note: the tag len_min left no trace",
		`"description":"The iss claim's value.",`: "issuers[].issuer: the tag doc left no trace",
	} {
		t.Run(want, func(t *testing.T) {
			if !strings.Contains(complete, cut) {
				t.Fatalf("%s is not in %s", cut, complete)
			}
			wantGap(t, strings.ReplaceAll(complete, cut, ""), want)
		})
	}
	for old, bad := range map[string][2]string{
		`{"max":{`:                        {`{"maximum":{`, "cache.max: missing"},
		`"required":true,"type":"string"`: {`"type":"string"`, "issuers[].issuer: the tag required left no trace"},
		`"type":"integer"`:                {`"type":"number"`, `retries: a Go int became a "number"`},
		`"type":"set"`:                    {`"type":"array"`, "scopes: the tag set left no trace"},
		`{"config":{`:                     {`{"configuration":{`, "config: missing"},
	} {
		t.Run(bad[1], func(t *testing.T) {
			if !strings.Contains(complete, old) {
				t.Fatalf("%s is not in %s", old, complete)
			}
			wantGap(t, strings.ReplaceAll(complete, old, bad[0]), bad[1])
		})
	}
}

func wantGap(t *testing.T, schema, want string) {
	t.Helper()
	var damaged map[string]any
	if err := json.Unmarshal([]byte(schema), &damaged); err != nil {
		t.Fatal(err)
	}
	gaps, err := schemaGaps(testConfig{}, damaged)
	if err != nil || !slices.Contains(gaps, want) {
		t.Errorf("gaps are %q, %v; want %q", gaps, err, want)
	}
}

// The schema is made from the configuration; what it lost, Kong would refuse
// or silently not offer.
func TestSchemaLosesNoSetting(t *testing.T) {
	schema, err := Schema("gatehouse", config.Config{})
	if err != nil {
		t.Fatal(err)
	}
	if gaps, err := schemaGaps(config.Config{}, schema); err != nil || len(gaps) > 0 {
		t.Errorf("lost: %v, %v", gaps, err)
	}
}
