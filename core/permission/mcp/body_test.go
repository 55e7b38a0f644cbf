package mcp

import (
	"errors"
	"strings"
	"testing"
	"unicode/utf16"

	"gatehouse/core"
)

const fits = `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"get_weather","arguments":{"a":[1,{"A":2,"a":3}]}}}`

func check(r *core.Request, body string) error {
	c, err := Read(r, "/mcp")
	if err != nil {
		return err
	}
	return c.CheckBody(r, []byte(body))
}

func posted(more ...string) *core.Request {
	return toolCall("get_weather", append([]string{"Content-Type", "application/json"}, more...)...)
}

func TestBodyThatSaysAnotherToolThanTheHeader(t *testing.T) {
	if err := check(posted(), fits); err != nil {
		t.Fatal(err)
	}
	for attack, body := range map[string]string{
		"another tool":                        `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"delete_all"}}`,
		"another method":                      `{"jsonrpc":"2.0","id":1,"method":"prompts/get","params":{"name":"get_weather"}}`,
		"a batch":                             `[` + fits + `]`,
		"a batch of another tool":             `[{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"delete_all"}}]`,
		"duplicate key name":                  `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"get_weather","name":"delete_all"}}`,
		"duplicate key name, the other order": `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"delete_all","name":"get_weather"}}`,
		"Name in another case":                `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"get_weather","Name":"delete_all"}}`,
		"Name in another case alone":          `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"Name":"get_weather"}}`,
		"duplicate key params":                `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"get_weather"},"params":{"name":"delete_all"}}`,
		"Params in another case":              `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"get_weather"},"Params":{"name":"delete_all"}}`,
		"params by a letter that folds":       `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"get_weather"},"param\u017f":{"name":"delete_all"}}`,
		"duplicate key method":                `{"jsonrpc":"2.0","id":1,"method":"tools/list","method":"tools/call","params":{"name":"get_weather"}}`,
		"a key by escape sequences":           `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"get_weather","n\u0061me":"delete_all"}}`,
		"another tool by escape sequences":    `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"\u0064elete_all"}}`,
		"trailing data after the JSON":        fits + `{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"delete_all"}}`,
		"trailing bracket":                    fits + `]`,
		"a byte order mark":                   "\xef\xbb\xbf" + fits,
		"overlong UTF-8":                      strings.Replace(fits, "get_weather", "get\xc1\x9fweather", 1),
		"half a surrogate":                    strings.Replace(fits, "get_weather", `get_weather\ud800`, 1),
		"a notification":                      strings.Replace(fits, `"id":1,`, "", 1),
		"a null id":                           strings.Replace(fits, `"id":1`, `"id":null`, 1),
		"a response":                          `{"jsonrpc":"2.0","id":1,"result":{},"method":"tools/call","params":{"name":"get_weather"}}`,
		"no version of JSON-RPC":              strings.Replace(fits, `"jsonrpc":"2.0",`, "", 1),
		"a name that is a list":               strings.Replace(fits, `"get_weather"`, `["get_weather"]`, 1),
		"params that are a list":              `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":["get_weather"]}`,
		"no params":                           `{"jsonrpc":"2.0","id":1,"method":"tools/call"}`,
		"a duplicate key far down":            strings.Replace(fits, `"a":3`, `"A":3`, 1),
		"nothing":                             ``,
		"half of it":                          fits[:len(fits)-1],
		"comments":                            `/**/` + fits,
		"depth without end":                   strings.Replace(fits, `[1,`, strings.Repeat("[", 10_000), 1),
	} {
		if err := check(posted(), body); !errors.Is(err, core.ErrBadRequest) {
			t.Errorf("%s passes: %v", attack, err)
		}
	}
}

func TestBodyThatAServerMayReadInAnotherEncoding(t *testing.T) {
	wide := ""
	for _, unit := range utf16.Encode([]rune(fits)) {
		wide += string([]byte{byte(unit >> 8), byte(unit)})
	}
	for attack, c := range map[string]struct {
		r    *core.Request
		body string
	}{
		"gzip":                 {posted("Content-Encoding", "gzip"), fits},
		"two codings":          {posted("Content-Encoding", "identity", "Content-Encoding", "gzip"), fits},
		"charset UTF-7":        {toolCall("get_weather", "Content-Type", "application/json; charset=utf-7"), fits},
		"charset UTF-16":       {toolCall("get_weather", "Content-Type", "application/json; charset=utf-16"), wide},
		"two content types":    {posted("Content-Type", "application/json"), fits},
		"no content type":      {toolCall("get_weather"), fits},
		"another content type": {toolCall("get_weather", "Content-Type", "text/plain"), fits},
	} {
		if err := check(c.r, c.body); !errors.Is(err, core.ErrBadRequest) {
			t.Errorf("%s passes: %v", attack, err)
		}
	}
	for _, kind := range []string{"application/json", "Application/JSON; charset=UTF-8", `application/json;charset="utf-8"`} {
		if err := check(toolCall("get_weather", "Content-Type", kind, "Content-Encoding", "identity"), fits); err != nil {
			t.Errorf("%s: %v", kind, err)
		}
	}
}

// Servers need not compare the headers of a notification (Streamable HTTP, note on sending).
func TestNotificationRunsNoTool(t *testing.T) {
	r := asked(VersionHeader, "2026-07-28", MethodHeader, "notifications/cancelled", "Content-Type", "application/json")
	if err := check(r, `{"jsonrpc":"2.0","method":"notifications/cancelled"}`); err != nil {
		t.Error(err)
	}
	if err := check(r, `{"jsonrpc":"2.0","method":"tools/call","params":{"name":"delete_all"}}`); !errors.Is(err, core.ErrBadRequest) {
		t.Error(err)
	}
}

func TestNameInTheBodyIsComparedExactly(t *testing.T) {
	decomposed := "cafe\u0301"
	r := toolCall(Encode("caf\u00e9"), "Content-Type", "application/json")
	if err := check(r, strings.Replace(fits, "get_weather", decomposed, 1)); err == nil {
		t.Error("a name in another normal form is the same name")
	}
	if err := check(r, strings.Replace(fits, "get_weather", `caf\u00e9`, 1)); err != nil {
		t.Error(err)
	}
	twice := toolCall(Encode(Encode("=?get_weather")), "Content-Type", "application/json")
	if err := check(twice, strings.Replace(fits, "get_weather", "=?get_weather", 1)); err == nil {
		t.Error("a name that is encoded twice is decoded twice")
	}
}
