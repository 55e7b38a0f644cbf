package permission_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"gatehouse/core"
	"gatehouse/core/permission"
	"gatehouse/core/permission/mcp"
	"gatehouse/core/permission/tablefile"
)

const toolTable = `
permissions:
  weather: {mcp: {endpoint: /mcp, tools: [get_weather, "files/*"], resources: ["file:///docs/**"], prompts: [ask], methods: [tools/list]}}
  admin: {activities: [GET /admin], mcp: [{endpoint: /mcp, tools: [delete_all]}, {endpoint: /other, tools: ["**"]}]}
authenticated:
  - ANY /.*
  - ANY (?s:.*)
  - GET /mcp
public:
  - POST /[^/]+
`

func toolCall(endpoint, method, name string) *core.Call {
	c := mcp.Call{Endpoint: endpoint, Method: method, Name: name}
	r := &core.Request{Method: "POST", Host: "h"}
	c.Ask(r)
	return &core.Call{Request: r, Path: endpoint}
}

func passes(t *permission.Table, call *core.Call, permissions ...string) bool {
	access := t.Match(context.Background(), call)
	return access != nil && access.Refusal() == nil && (access.Public() || access.Allows(context.Background(), call, &core.Principal{Permissions: permissions}) == nil)
}

// A broad activity for other calls must not open the tools of a server: what it matches is
// one path, behind which is everything that the server can do.
func TestBroadActivityOpensNoTool(t *testing.T) {
	table := mustCompile(t, toolTable)
	for text, want := range map[string]struct {
		call    *core.Call
		weather bool
		admin   bool
	}{
		"a tool":                    {toolCall("/mcp", mcp.ToolsCall, "get_weather"), true, false},
		"another tool":              {toolCall("/mcp", mcp.ToolsCall, "delete_all"), false, true},
		"a tool of nobody":          {toolCall("/mcp", mcp.ToolsCall, "get_weather2"), false, false},
		"a tool by a pattern":       {toolCall("/mcp", mcp.ToolsCall, "files/read"), true, false},
		"deeper than the pattern":   {toolCall("/mcp", mcp.ToolsCall, "files/read/x"), false, false},
		"a tool in another case":    {toolCall("/mcp", mcp.ToolsCall, "Get_weather"), false, false},
		"a resource":                {toolCall("/mcp", mcp.ResourcesRead, "file:///docs/a/b"), true, false},
		"a resource elsewhere":      {toolCall("/mcp", mcp.ResourcesRead, "file:///etc/passwd"), false, false},
		"a prompt":                  {toolCall("/mcp", mcp.PromptsGet, "ask"), true, false},
		"a prompt like a tool":      {toolCall("/mcp", mcp.PromptsGet, "get_weather"), false, false},
		"a method":                  {toolCall("/mcp", "tools/list", ""), true, false},
		"a method that is not open": {toolCall("/mcp", "resources/list", ""), false, false},
		"the other endpoint":        {toolCall("/other", mcp.ToolsCall, "get_weather"), false, true},
	} {
		if got := passes(table, want.call, "weather"); got != want.weather {
			t.Errorf("%s: weather may: %t", text, got)
		}
		if got := passes(table, want.call, "admin"); got != want.admin {
			t.Errorf("%s: admin may: %t", text, got)
		}
		if passes(table, want.call) {
			t.Errorf("%s: every caller may", text)
		}
	}
}

// Revisions before 2026-07-28 have streams by GET and end sessions by DELETE.
func TestOtherMethodsAtAnEndpointNeedAnActivityOfTheirOwn(t *testing.T) {
	table := mustCompile(t, toolTable)
	for target, want := range map[string]bool{"GET /mcp": true, "DELETE /mcp": false, "GET /other": false, "PUT /other": false, "GET /mcp2": true} {
		method, path, _ := strings.Cut(target, " ")
		if got := passes(table, &core.Call{Request: &core.Request{Method: method, Target: path, Host: "h"}, Path: path}); got != want {
			t.Errorf("%s: %t", target, got)
		}
	}
}

func TestCallWithoutTheHeadersOfItsRevisionIsRefusedForEverybody(t *testing.T) {
	table := mustCompile(t, toolTable)
	call := &core.Call{Request: &core.Request{Method: "POST", Target: "/mcp", Host: "h"}, Path: "/mcp"}
	access := table.Match(context.Background(), call)
	all := &core.Principal{Permissions: []string{"weather", "admin"}}
	if err := access.Refusal(); !errors.Is(err, core.ErrBadRequest) || access.Public() || access.Allows(context.Background(), call, all) == nil || access.CheckBody(call, 0) == nil {
		t.Errorf("refused with %v", err)
	}
	call.Host = "h" // an ordinary path needs none of them
	call.Path = "/x"
	if access := table.Match(context.Background(), call); access.Refusal() != nil || access.CheckBody(call, 0) != nil {
		t.Error("an ordinary call is refused")
	}
}

func TestMistakesInRulesOfToolsAreErrors(t *testing.T) {
	for text, want := range map[string]string{
		"{mcp: {endpoint: /mcp, tools: [a]}, activities: [POST /mcp]}":         `is an endpoint of mcp, where only mcp says which calls by POST an activity covers`,
		"{mcp: {endpoint: /mcp, tools: [a]}, activities: [ANY /mcp]}":          `is an endpoint of mcp`,
		"{mcp: {endpoint: '/mcp/.*', tools: [a]}}":                             ``,
		"{mcp: {endpoint: /a/../mcp, tools: [a]}}":                             `is no path that a request can have`,
		"{mcp: {endpoint: /%6dcp, tools: [a]}}":                                `is not written as a canonical path`,
		"{mcp: {endpoint: mcp, tools: [a]}}":                                   `endpoint`,
		"{mcp: {tools: [a]}}":                                                  `endpoint`,
		"{mcp: {endpoint: /mcp}}":                                              `names no calls; list some under tools, resources, prompts or methods`,
		"{mcp: []}":                                                            `mcp is empty`,
		"{mcp: {endpoint: /mcp, tools: []}}":                                   `tools is empty`,
		"{mcp: {endpoint: /mcp, tools: ['***']}}":                              `more than two asterisks`,
		"{mcp: {endpoint: /mcp, tools: ['']}}":                                 `is empty`,
		"{mcp: {endpoint: /mcp, methods: [tools/call]}}":                       `list that under tools`,
		"{mcp: {endpoint: /mcp, methods: ['tools/*']}}":                        `list each method by its name`,
		"{mcp: {endpoint: /mcp, resources: ['file:///a/../b']}}":               `can be the name of no call`,
		"{mcp: {endpoint: /mcp, tool: [a]}}":                                   `tool`,
		"{mcp: {endpoint: /mcp, tools: [a], require: {when: 'path.id == 1'}}}": `when`,
	} {
		_, err := compileText("permissions: {p: " + text + "}")
		if want == "" && err == nil {
			continue
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s\n%v", text, err)
		}
	}
	if _, err := compileText("public: [{mcp: {endpoint: /mcp, tools: [a], require: {aal: aal2}}}]"); err == nil {
		t.Error("a public tool requires something")
	}
	if _, err := permission.Compile(&permission.File{Public: []permission.Activity{{Methods: []string{"POST"}, Path: "/x", MCP: &mcp.Pattern{Endpoint: "/mcp", Method: "tools/list"}}}}); err == nil {
		t.Error("a tool that is matched by another path")
	}
}

func compileText(text string) (*permission.Table, error) {
	file, err := tablefile.Parse("t.yaml", []byte(text))
	if err != nil {
		return nil, err
	}
	return permission.Compile(file)
}

// What is written means what was read.
func TestRulesOfToolsAreWrittenAsTheyAreRead(t *testing.T) {
	file, err := tablefile.Parse("t.yaml", []byte(toolTable+"optional: [{mcp: {endpoint: /mcp, methods: [server/discover], hosts: [h]}}]\n"))
	if err != nil {
		t.Fatal(err)
	}
	text, err := tablefile.Write(file, tablefile.Comments{})
	if err != nil {
		t.Fatal(err)
	}
	again, err := tablefile.Parse("t.yaml", text)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	was, is := permission.Activities(file), permission.Activities(again)
	if len(was) != len(is) {
		t.Fatalf("%d activities became %d\n%s", len(was), len(is), text)
	}
	for i := range was {
		if was[i].String() != is[i].String() || was[i].Owner() != is[i].Owner() || strings.Join(was[i].Hosts, " ") != strings.Join(is[i].Hosts, " ") {
			t.Errorf("%s became %s\n%s", was[i].String(), is[i].String(), text)
		}
	}
}

// To many servers /MCP and /mcp/ are /mcp.
func TestVariantOfAnEndpointOpensNoTool(t *testing.T) {
	table := mustCompile(t, toolTable+"path_variants: {case: refuse, trailing_slash: refuse}\n")
	for path, want := range map[string]bool{"/MCP": false, "/mcp/": false, "/OTHER/": false, "/x": true} {
		call := toolCall(path, mcp.ToolsCall, "delete_all")
		if got := passes(table, call, "weather", "admin"); got != want {
			t.Errorf("%s: %t", path, got)
		}
	}
	if !passes(table, toolCall("/mcp", mcp.ToolsCall, "delete_all"), "admin") {
		t.Error("the endpoint itself is a variant")
	}
}
