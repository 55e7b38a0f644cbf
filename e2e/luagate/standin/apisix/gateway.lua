-- A stand-in of APISIX: it routes by the longest prefix and calls one plugin.
local cjson = require "cjson.safe"

local _M = {}
local routes

function _M.init(dir)
  _M.folder = dir
  local file = assert(io.open(dir .. "/routes.json"))
  routes = assert(cjson.decode(file:read("*a")))
  file:close()
  table.sort(routes, function(a, b) return #a.prefix > #b.prefix end)
  local plugin = require "apisix.plugins.gatehouse"
  for _, route in ipairs(routes) do
    assert(plugin.check_schema(route.config)) -- as from a file: never refused
  end
end

-- check answers as the Admin API does for a configuration of the plugin.
function _M.check()
  ngx.req.read_body()
  local ok, err = require("apisix.plugins.gatehouse").check_schema(cjson.decode(ngx.req.get_body_data()))
  ngx.status = ok and 201 or 400
  ngx.say(ok and "" or err)
end

local function find()
  local uri = ngx.var.uri
  for _, route in ipairs(routes) do
    local prefix = route.prefix
    if uri:sub(1, #prefix) == prefix and (#uri == #prefix or prefix:sub(-1) == "/" or uri:sub(#prefix + 1, #prefix + 1) == "/") then
      return route
    end
  end
end

-- certificate asks as APISIX does where an SSL resource names authorities for clients.
function _M.certificate()
  assert(require("ngx.ssl").verify_client(nil, 0))
end

-- authenticate_by_key is key-auth, in front of the plugin: a key is a name.
local function authenticate_by_key(ctx)
  local name = ngx.req.get_headers()["X-Test-Key"]
  if name then
    local consumers = require "apisix.consumer"
    consumers.attach_consumer(ctx, consumers.get_anonymous_consumer(name))
  end
end

-- merge fails as APISIX does for a consumer without what it needs, and tells the upstream
-- by what consumer-restriction, limit-count and acl go.
local function merge(ctx)
  local consumer = ctx.consumer
  if consumer then
    assert(consumer.id .. "#" .. consumer.modifiedIndex .. "&" .. ctx.consumer_ver .. "&" .. ctx.consumer_name)
    ngx.req.set_header("X-Test-Team", consumer.labels and consumer.labels.team)
  end
  ngx.req.set_header("X-Test-Consumer-Name", ctx.consumer_name)
  ngx.req.set_header("X-Test-Group", ctx.consumer_group_id)
  ngx.req.set_header("X-Test-Limit-Credential", require("apisix.core").vars.gatehouse_caller(ctx))
end

function _M.access()
  local route = find()
  if not route then
    return ngx.exit(404)
  end
  ngx.var.upstream = route.upstream
  local ctx = { var = setmetatable({}, { __index = function(_, key) return ngx.var[key] end }) }
  ngx.ctx.api_ctx = ctx
  authenticate_by_key(ctx)
  local status, body = require("apisix.plugins.gatehouse").rewrite(route.config, ctx)
  if status then
    ngx.status = status
    if body then
      ngx.print(body)
    end
    return ngx.exit(status)
  end
  merge(ctx)
  if ctx.external_user then
    local groups = ctx.external_user.groups
    ngx.req.set_header("X-Authenticated-Groups", table.concat(groups, ", "))
    groups[#groups + 1] = "of another plugin"
  end
end

function _M.log()
  local ctx = ngx.ctx.api_ctx
  if not ctx or not ctx.gatehouse then
    return
  end
  local vars, line = require("apisix.core").vars, {}
  for name, as in pairs { gatehouse_sub = "subject", gatehouse_reason = "reason", gatehouse_rule = "rule", gatehouse_decision = "decision" } do
    line[as] = vars[name](ctx)
  end
  local file = assert(io.open(_M.folder .. "/serialized.log", "a")) -- as APISIX's file-logger
  file:write(cjson.encode({ gatehouse = line, user = ngx.var.http_x_user_id, consumer = ctx.consumer_name, headers = ngx.req.get_headers(0, true) }), "\n")
  file:close()
end

return _M
