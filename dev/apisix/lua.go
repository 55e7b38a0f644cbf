package apisix

import (
	"errors"
	"fmt"
	"strings"
	"sync"

	lua "github.com/yuin/gopher-lua"
)

// luaFunction is one function of a serverless plugin. It runs in an interpreter of
// Lua 5.1, which is what LuaJIT speaks without its extensions, with the part of the
// API of APISIX and nginx that is here.
type luaFunction struct {
	mu    sync.Mutex
	state *lua.LState
	fn    *lua.LFunction
	conf  lua.LValue
	x     *exchange // that it runs for
}

// compileLua runs a chunk, which has to return a function, as APISIX does when it
// checks a configuration.
func compileLua(chunk string, conf map[string]any) (*luaFunction, error) {
	f := &luaFunction{state: lua.NewState(lua.Options{SkipOpenLibs: true})}
	for _, open := range []lua.LGFunction{lua.OpenBase, lua.OpenTable, lua.OpenString, lua.OpenMath} {
		f.state.Push(f.state.NewFunction(open))
		f.state.Call(0, 0)
	}
	f.conf = f.toLua(conf)
	f.state.SetGlobal("ngx", f.ngx())
	f.state.SetGlobal("require", f.function(f.require))
	loaded, err := f.state.LoadString(chunk)
	if err != nil {
		return nil, fmt.Errorf("failed to loadstring: %w", err)
	}
	if err := f.state.CallByParam(lua.P{Fn: loaded, NRet: 1, Protect: true}); err != nil {
		return nil, fmt.Errorf("pcall error: %w", err)
	}
	var ok bool
	if f.fn, ok = f.state.Get(-1).(*lua.LFunction); !ok {
		return nil, fmt.Errorf("only accept Lua function, the input code type is %s", f.state.Get(-1).Type())
	}
	f.state.Pop(1)
	return f, nil
}

// run calls the function for one request.
func (f *luaFunction) run(x *exchange) (*reply, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.x = x
	defer func() { f.x = nil }()
	if err := f.state.CallByParam(lua.P{Fn: f.fn, NRet: 2, Protect: true}, f.conf, f.ctx()); err != nil {
		return nil, err
	}
	code, body := f.state.Get(-2), f.state.Get(-1)
	f.state.Pop(2)
	if code == lua.LNil && body == lua.LNil {
		return nil, nil
	}
	status, ok := code.(lua.LNumber)
	if !ok {
		return nil, errors.New("a function returned a body without a status")
	}
	if table, isTable := body.(*lua.LTable); isTable {
		return jsonReply(int(status), toGo(table)), nil
	}
	if body == lua.LNil {
		return &reply{status: int(status)}, nil
	}
	return &reply{int(status), []byte(body.String())}, nil
}

// function is one of Lua that returns the values of a function of Go.
func (f *luaFunction) function(do func(args []lua.LValue) []lua.LValue) *lua.LFunction {
	return f.state.NewFunction(func(l *lua.LState) int {
		args := make([]lua.LValue, l.GetTop())
		for i := range args {
			args[i] = l.Get(i + 1)
		}
		results := do(args)
		for _, result := range results {
			l.Push(result)
		}
		return len(results)
	})
}

// proxy is a table whose members are read and written by functions.
func (f *luaFunction) proxy(get func(key string) lua.LValue, set func(key string, value lua.LValue)) *lua.LTable {
	meta := f.state.NewTable()
	meta.RawSetString("__index", f.function(func(args []lua.LValue) []lua.LValue {
		return []lua.LValue{get(lua.LVAsString(args[1]))}
	}))
	meta.RawSetString("__newindex", f.function(func(args []lua.LValue) []lua.LValue {
		set(lua.LVAsString(args[1]), args[2])
		return nil
	}))
	table := f.state.NewTable()
	table.Metatable = meta
	return table
}

func (f *luaFunction) table(members map[string]lua.LValue) *lua.LTable {
	t := f.state.NewTable()
	for name, member := range members {
		t.RawSetString(name, member)
	}
	return t
}

// ctx is api_ctx. What a function writes there, the plugins after it read.
func (f *luaFunction) ctx() lua.LValue {
	return f.proxy(func(key string) lua.LValue {
		switch key {
		case "var":
			return f.variables(f.x.variable)
		case "matched_route":
			return f.matchedRoute()
		}
		return f.toLua(f.x.ctx[key])
	}, func(key string, value lua.LValue) {
		if f.x.ctx == nil {
			f.x.ctx = map[string]any{}
		}
		f.x.ctx[key] = toGo(value)
	})
}

func (f *luaFunction) variables(read func(string) (string, bool)) lua.LValue {
	return f.proxy(func(key string) lua.LValue {
		if value, ok := read(key); ok {
			return lua.LString(value)
		}
		return lua.LNil
	}, func(key string, value lua.LValue) {
		if value == lua.LNil {
			delete(f.x.cached, key)
			return
		}
		f.x.cache(key, value.String())
	})
}

// matchedRoute has of the route what a function looks at: its id, and its plugins with
// those that it inherits.
func (f *luaFunction) matchedRoute() lua.LValue {
	if f.x.route == nil {
		return lua.LNil
	}
	plugins := map[string]any{}
	for _, p := range f.x.route.all {
		plugins[p.name] = p.written
	}
	return f.toLua(map[string]any{"value": map[string]any{"id": f.x.route.id, "plugins": plugins}})
}

func (f *luaFunction) ngx() lua.LValue {
	nothing := f.function(func([]lua.LValue) []lua.LValue { return nil })
	return f.table(map[string]lua.LValue{
		"req": f.table(map[string]lua.LValue{
			"get_headers": f.function(func(args []lua.LValue) []lua.LValue {
				limit := maxSeenHeaders
				if len(args) > 0 && args[0] != lua.LNil {
					limit = int(lua.LVAsNumber(args[0]))
				}
				return f.headers(limit)
			}),
			"get_method":   f.function(func([]lua.LValue) []lua.LValue { return []lua.LValue{lua.LString(f.x.method)} }),
			"set_header":   f.function(func(args []lua.LValue) []lua.LValue { f.setHeader(args[0], args[1]); return nil }),
			"clear_header": f.function(func(args []lua.LValue) []lua.LValue { f.setHeader(args[0], lua.LNil); return nil }),
		}),
		"var": f.variables(func(name string) (string, bool) { return f.x.uncached(name) }),
		"log": nothing, "ERR": lua.LNumber(4), "WARN": lua.LNumber(5), "NOTICE": lua.LNumber(6), "INFO": lua.LNumber(7),
	})
}

func (f *luaFunction) setHeader(name, value lua.LValue) {
	if value == lua.LNil {
		f.x.header.Clear(name.String())
		return
	}
	f.x.setHeader(name.String(), value.String())
}

// headers is ngx.req.get_headers: at most as many lines as limit, which the second value
// then says; 0 for all. A name is found in any case, and with "_" for "-".
func (f *luaFunction) headers(limit int) []lua.LValue {
	list := f.state.NewTable()
	truncated := lua.LValue(lua.LNil)
	for i, h := range f.x.header {
		if limit > 0 && i >= limit {
			truncated = lua.LString("truncated")
			break
		}
		name := strings.ToLower(h.Name)
		switch before := list.RawGetString(name).(type) {
		case *lua.LTable:
			before.Append(lua.LString(h.Value))
		case lua.LString:
			list.RawSetString(name, f.toLua([]any{string(before), h.Value}))
		default:
			list.RawSetString(name, lua.LString(h.Value))
		}
	}
	meta := f.state.NewTable()
	meta.RawSetString("__index", f.function(func(args []lua.LValue) []lua.LValue {
		name := strings.ToLower(strings.ReplaceAll(lua.LVAsString(args[1]), "_", "-"))
		return []lua.LValue{list.RawGetString(name)}
	}))
	list.Metatable = meta
	return []lua.LValue{list, truncated}
}

// require finds the modules apisix.core and apisix.plugin.
func (f *luaFunction) require(args []lua.LValue) []lua.LValue {
	switch name := args[0].String(); name {
	case "apisix.core":
		return []lua.LValue{f.core()}
	case "apisix.plugin":
		return []lua.LValue{f.table(map[string]lua.LValue{"get": f.function(func(args []lua.LValue) []lua.LValue {
			if enabled := f.x.gateway.enabled; enabled != nil && !enabled[args[0].String()] {
				return []lua.LValue{lua.LNil}
			}
			return []lua.LValue{f.table(map[string]lua.LValue{"name": args[0]})}
		})})}
	default:
		f.state.RaiseError("module '%s' not found: the local gateway has apisix.core and apisix.plugin", name)
		return nil
	}
}

func (f *luaFunction) core() lua.LValue {
	nothing := f.function(func([]lua.LValue) []lua.LValue { return nil })
	log := map[string]lua.LValue{}
	for _, level := range []string{"error", "warn", "notice", "info", "debug"} {
		log[level] = nothing
	}
	return f.table(map[string]lua.LValue{
		"log": f.table(log),
		"request": f.table(map[string]lua.LValue{
			"headers": f.function(func([]lua.LValue) []lua.LValue { return f.headers(maxSeenHeaders)[:1] }),
			"header": f.function(func(args []lua.LValue) []lua.LValue {
				value := f.state.GetField(f.headers(maxSeenHeaders)[0], args[1].String())
				if lines, ok := value.(*lua.LTable); ok {
					value = lines.RawGetInt(1)
				}
				return []lua.LValue{value}
			}),
			"set_header": f.function(func(args []lua.LValue) []lua.LValue {
				f.setHeader(args[1], args[2])
				delete(f.x.cached, "http_"+strings.ToLower(args[1].String()))
				return nil
			}),
		}),
		"response": f.table(map[string]lua.LValue{
			"set_header": f.function(func(args []lua.LValue) []lua.LValue {
				f.x.respHeader.Set(args[0].String(), args[1].String())
				return nil
			}),
		}),
	})
}

func (f *luaFunction) toLua(value any) lua.LValue {
	switch v := value.(type) {
	case string:
		return lua.LString(v)
	case bool:
		return lua.LBool(v)
	case int:
		return lua.LNumber(v)
	case float64:
		return lua.LNumber(v)
	case []any:
		list := f.state.NewTable()
		for _, item := range v {
			list.Append(f.toLua(item))
		}
		return list
	case map[string]any:
		table := f.state.NewTable()
		for key, member := range v {
			table.RawSetString(key, f.toLua(member))
		}
		return table
	}
	return lua.LNil
}

func toGo(value lua.LValue) any {
	switch v := value.(type) {
	case lua.LString:
		return string(v)
	case lua.LBool:
		return bool(v)
	case lua.LNumber:
		return float64(v)
	case *lua.LTable:
		if v.Len() > 0 {
			var list []any
			for i := range v.Len() {
				list = append(list, toGo(v.RawGetInt(i+1)))
			}
			return list
		}
		table := map[string]any{}
		v.ForEach(func(key, member lua.LValue) { table[key.String()] = toGo(member) })
		return table
	}
	return nil
}
