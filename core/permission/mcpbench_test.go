package permission_test

import (
	"encoding/json"
	"fmt"
	"testing"

	"gatehouse/core"
	"gatehouse/core/permission"
	"gatehouse/core/permission/mcp"
	"gatehouse/core/permission/model"
)

// tableOf has so many activities, each of a permission of its own, and some of them are tools
// at a number of endpoints.
func tableOf(b *testing.B, all, tools, endpoints int) *permission.Table {
	b.Helper()
	file := &permission.File{}
	for i := range all {
		a := permission.Activity{Methods: []string{"GET"}, Path: fmt.Sprintf("/service-%d/items/[^/]+", i)}
		if i < tools {
			a = model.OfMCP(mcp.Pattern{Endpoint: fmt.Sprintf("/mcp/%d", i%endpoints), Method: mcp.ToolsCall, Name: fmt.Sprintf("tool_%d", i)})
		}
		file.Permissions = append(file.Permissions, permission.Permission{Name: fmt.Sprintf("p%d", i), Activities: []permission.Activity{a}})
	}
	table, err := permission.Compile(file)
	if err != nil {
		b.Fatal(err)
	}
	return table
}

// BenchmarkMatchWithTools matches ordinary calls in a table without tools and with 2,000 of
// 10,000 activities, at 20 endpoints and each at one of its own, and calls of tools. The last
// are the comparison of a small body, and, beside it, the same body read by encoding/json.
func BenchmarkMatchWithTools(b *testing.B) {
	ctx := b.Context()
	for _, size := range []struct{ tools, endpoints int }{{0, 1}, {2000, 2000}, {2000, 20}} {
		tools := size.tools
		table := tableOf(b, 10_000, tools, size.endpoints)
		calls := make([]*core.Call, 500)
		for i := range calls {
			path := fmt.Sprintf("/service-%d/items/7", 2000+i*16)
			calls[i] = &core.Call{Request: &core.Request{Method: "GET", Target: path, Host: "h"}, Path: path}
		}
		b.Run(fmt.Sprintf("path/tools=%d/endpoints=%d", tools, size.endpoints), func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if table.Match(ctx, calls[i%len(calls)]) == nil {
					b.Fatal("no activity covers the call")
				}
			}
		})
		if size.endpoints != 20 {
			continue
		}
		for i := range calls {
			calls[i] = toolCall(fmt.Sprintf("/mcp/%d", i%20), mcp.ToolsCall, fmt.Sprintf("tool_%d", i))
		}
		b.Run("tool", func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if access := table.Match(ctx, calls[i%len(calls)]); access == nil || access.Refusal() != nil {
					b.Fatal("no activity covers the call")
				}
			}
		})
		access := table.Match(ctx, calls[0])
		b.Run("tool/body", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := access.CheckBody(calls[0], 1<<20); err != nil {
					b.Fatal(err)
				}
			}
		})
		body, err := calls[0].Request.AskBody(1 << 20)
		if err != nil {
			b.Fatal(err)
		}
		b.Run("tool/encoding-json", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				var message map[string]any
				if err := json.Unmarshal(body, &message); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
