// Script is a plugin that does what the request's X-Do header says, so that
// tests can drive every corner of the gateway over the real protocol.
package main

import (
	"encoding/json"
	"fmt"
	"log"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/Kong/go-pdk"
	"github.com/Kong/go-pdk/server"
	"google.golang.org/protobuf/types/known/emptypb"
)

// Config is echoed on request, whatever is in it.
type Config map[string]any

// dump is written by hand: go-pdk's own can express none of this.
const dump = `{"Protocol": "ProtoBuf:1", "Plugins": [{"Name": "script", "Phases": ["access"], "Version": "1.0.0", "Priority": 1000, "Schema": {
	"name": "script",
	"fields": [
		{"protocols": {"type": "set", "required": true, "default": ["http", "https"], "elements": {"type": "string", "one_of": ["http", "https"]}}},
		{"consumer": {"type": "foreign", "reference": "consumers", "eq": null}},
		{"config": {"type": "record", "fields": [
			{"label": {"type": "string", "default": "none", "description": "Shown by the test."}},
			{"secret": {"type": "string", "referenceable": true, "encrypted": true}},
			{"mode": {"type": "string", "required": true, "default": "soft", "one_of": ["soft", "hard"]}},
			{"limits": {"type": "record", "fields": [
				{"burst": {"type": "integer", "default": 5, "between": [1, 10]}},
				{"names": {"type": "set", "elements": {"type": "string", "match": "^%l+$"}}}]}},
			{"clients": {"type": "array", "elements": {"type": "record", "fields": [
				{"id": {"type": "string", "required": true}},
				{"key": {"type": "string", "referenceable": true}}]}}}]}}]}}]}`

var hungUp atomic.Bool

// Access handles the access phase.
func (c *Config) Access(kong *pdk.PDK) {
	do, err := kong.Request.GetHeader("x-do")
	if err != nil {
		kong.Response.Exit(500, []byte(err.Error()), nil)
		return
	}
	word, arg, _ := strings.Cut(do, " ")
	if action, ok := actions[word]; ok {
		action(c, kong, arg)
	}
}

func report(kong *pdk.PDK, value any, err error) {
	if err != nil {
		value = "error: " + err.Error()
	}
	_ = kong.ServiceRequest.SetHeader("X-Report", fmt.Sprint(value))
}

var actions = map[string]func(*Config, *pdk.PDK, string){
	"auth": func(_ *Config, kong *pdk.PDK, _ string) {
		token, err := kong.Request.GetHeader("authorization")
		if err != nil || token != "Bearer good" {
			kong.Response.Exit(401, nil, nil)
			return
		}
		_ = kong.ServiceRequest.SetHeader("X-Authenticated", "yes")
	},
	"config": func(c *Config, kong *pdk.PDK, _ string) {
		text, err := json.Marshal(c)
		report(kong, string(text), err)
	},
	"pid": func(_ *Config, kong *pdk.PDK, _ string) { report(kong, os.Getpid(), nil) },
	"count-headers": func(_ *Config, kong *pdk.PDK, arg string) {
		limit, _ := strconv.Atoi(arg)
		headers, err := kong.Request.GetHeaders(limit)
		report(kong, len(headers), err)
	},
	"header": func(_ *Config, kong *pdk.PDK, arg string) {
		value, err := kong.Request.GetHeader(arg)
		report(kong, "<"+value+">", err)
	},
	"var": func(_ *Config, kong *pdk.PDK, arg string) {
		value, err := kong.Nginx.GetVar(arg)
		report(kong, "<"+value+">", err)
	},
	"body": func(_ *Config, kong *pdk.PDK, _ string) {
		body, err := kong.Request.GetRawBody()
		report(kong, "<"+string(body)+">", err)
	},
	"ask": func(_ *Config, kong *pdk.PDK, arg string) {
		report(kong, "answered", kong.Request.Ask(arg, nil, &emptypb.Empty{}))
	},
	"shared": func(_ *Config, kong *pdk.PDK, arg string) {
		_ = kong.Ctx.SetShared("authenticated_groups", []any{arg, true, 1.5, nil})
		value, err := kong.Ctx.GetSharedAny("authenticated_groups")
		report(kong, value, err)
	},
	"groups": func(_ *Config, kong *pdk.PDK, arg string) {
		groups := []any{}
		for _, group := range strings.Fields(arg) {
			groups = append(groups, group)
		}
		_ = kong.Ctx.SetShared("authenticated_groups", groups)
	},
	"client": func(_ *Config, kong *pdk.PDK, _ string) {
		ip, err := kong.Client.GetIp()
		forwarded, err2 := kong.Client.GetForwardedIp()
		if err == nil {
			err = err2
		}
		report(kong, ip+" "+forwarded, err)
	},
	"exit": func(_ *Config, kong *pdk.PDK, arg string) {
		status, _ := strconv.Atoi(arg)
		kong.Response.Exit(status, []byte("bye"), map[string][]string{"x_a": {"1", "2"}, "x-empty": {""}, "x-evil": {"a\r\nb"}})
	},
	"response-header": func(_ *Config, kong *pdk.PDK, arg string) {
		_ = kong.Response.SetHeader("X-Up", arg)
		_ = kong.Response.SetHeader("Cache-Control", "no-store")
	},
	"set": func(_ *Config, kong *pdk.PDK, arg string) {
		name, value, _ := strings.Cut(arg, "=")
		_ = kong.ServiceRequest.SetHeader(name, value)
	},
	"clear": func(_ *Config, kong *pdk.PDK, arg string) { _ = kong.ServiceRequest.ClearHeader(arg) },
	"log": func(_ *Config, kong *pdk.PDK, arg string) {
		_ = kong.Log.Warn(arg)
		fmt.Fprintln(os.Stderr, "stderr says "+arg)
	},
	"hang-up": func(_ *Config, kong *pdk.PDK, _ string) { _ = kong.Request.Close() },
	"hang-up-once": func(_ *Config, kong *pdk.PDK, _ string) {
		if hungUp.CompareAndSwap(false, true) {
			_ = kong.Request.Close()
			return
		}
		report(kong, "second time", nil)
	},
	"panic": func(*Config, *pdk.PDK, string) { panic("told to") },
}

func main() {
	if slices.Contains(os.Args, "-dump") {
		fmt.Println(dump)
		return
	}
	if err := server.StartServer(func() any { return &Config{} }, "1.0.0", 1000); err != nil {
		log.Fatal(err)
	}
}
