-- Gatehouse as a plugin of APISIX in its own Lua: one exchange for each request with the
-- runner that APISIX has started by ext-plugin.cmd, in the place of ext-plugin-pre-req.
local core = require("apisix.core")
local consumers = require("apisix.consumer")
local plugin = require("apisix.plugin")
local secret = require("apisix.secret")
local helper = require("apisix.plugins.ext-plugin.helper")
local callers = require("apisix.plugins.gatehouse.consumers")
local exchange = require("apisix.plugins.gatehouse.exchange")
local schema = require("apisix.plugins.gatehouse.schema")

local name = "gatehouse"

local _M = {
  version = 1.0,
  priority = 2595, -- where APISIX's plugins for authentication are
  name = name,
  schema = schema,
}

for variable, field in pairs { sub = "subject", iss = "issuer", rule = "rule", reason = "reason", decision = "outcome" } do
  core.ctx.register_var("gatehouse_" .. variable, function(ctx)
    return ctx.gatehouse and ctx.gatehouse[field]
  end)
end

core.ctx.register_var("gatehouse_caller", function(ctx)
  local caller = ctx.gatehouse and ctx.gatehouse.caller
  return caller and caller[1] ~= "" and caller[1] or nil
end)

local path
local function socket()
  if not path then
    local attr = plugin.plugin_attr(name)
    path = attr and attr.socket and "unix:" .. attr.socket or helper.get_path()
  end
  return path
end

-- The settings of configurations: without what is APISIX's, and with secrets in the place
-- of references. These are looked up again after a while.
local REFRESH = 60 -- seconds
local known = setmetatable({}, { __mode = "k" })
local function settings_of(conf)
  local now, found = ngx.now(), known[conf]
  if found and now < found.until_time then
    return found.settings
  end
  local settings = {}
  for key, value in pairs(conf) do
    if key ~= "_meta" then
      settings[key] = value
    end
  end
  local text = core.json.encode(settings) or ""
  local until_time = math.huge
  if text:find("$secret:", 1, true) or text:lower():find("$env:", 1, true) then
    settings = secret.fetch_secrets(settings, true) or settings
    until_time = now + REFRESH
  end
  known[conf] = { settings = settings, until_time = until_time }
  return settings
end

-- check_schema refuses only where somebody reads the reason: an Admin API, which runs in
-- the phase content. Elsewhere APISIX leaves out a route that is refused, and another
-- route may serve its requests to everybody; so the requests of this one get 503.
function _M.check_schema(conf, schema_type)
  local ok, err = core.schema.check(schema, conf)
  if ok and (schema_type == core.schema.TYPE_CONSUMER or schema_type == core.schema.TYPE_METADATA) then
    ok, err = false, "gatehouse is for routes, services, plugin configs and global rules"
  end
  local asked = ngx.get_phase() == "content"
  if ok and asked then
    local called, _, _, problem = pcall(function()
      return exchange.hand_over(socket(), settings_of(conf))
    end)
    if called and problem then -- a runner that is not there says so at the first request
      ok, err = false, problem
    end
  end
  if not ok and not asked then
    core.log.error("gatehouse: a configuration has an error, and every request of its routes is denied: ", err)
    return true
  end
  return ok, err
end

local function variable_of(header)
  return "http_" .. header:lower():gsub("-", "_")
end

-- The variables of the headers that configurations set.
local variables = {}

-- replace sets or removes a header, for all of APISIX. It keeps $http_x_user_id under that
-- name once something has read it, and its own set_header forgets another.
local function replace(ctx, header, value, variable)
  core.request.set_header(ctx, header, value)
  ctx.var[variable] = nil
end

-- identify tells APISIX who calls, and the upstream as its own plugins do. Where nobody is
-- known, what another plugin has said stays.
local function identify(ctx, caller, found)
  if found then
    consumers.attach_consumer(ctx, found.consumer, found.conf)
  elseif caller ~= "" then
    ctx.consumer, ctx.consumer_name, ctx.consumer_group_id, ctx.consumer_ver = nil, nil, nil, nil
  end
  local consumer = ctx.consumer or {}
  replace(ctx, "X-Consumer-Username", consumer.username, "http_x_consumer_username")
  replace(ctx, "X-Consumer-Custom-ID", callers.name_of(consumer, "custom_id"), "http_x_consumer_custom_id")
  replace(ctx, "X-Credential-Identifier", consumer.credential_id, "http_x_credential_identifier")
end

local function pass_on(ctx, decision)
  local set = decision.set
  for i = 1, #set, 2 do
    local header = set[i]
    local variable = variables[header]
    if not variable then
      variable = variable_of(header)
      variables[header] = variable
    end
    replace(ctx, header, set[i + 1], variable)
  end
  local added = decision.response
  for i = 1, #added, 2 do
    core.response.add_header(added[i], added[i + 1])
  end
  if decision.groups then
    ctx.external_user = { groups = exchange.copy(decision.groups) }
  end
end

function _M.rewrite(conf, ctx)
  local var = ngx.var
  local request = {
    id = var.request_id,
    line = var.request,
    peer = var.realip_remote_addr,
    client = var.remote_addr,
    headers = ngx.req.get_headers(0, true),
    body = exchange.body,
    authenticated = ctx.consumer or ctx.consumer_name,
  }
  if var.https == "on" then
    request.certificate, request.verify = var.ssl_client_raw_cert, var.ssl_client_verify
  end
  local decision, found = exchange.decide(socket(), settings_of(conf), request, callers.find)
  ctx.gatehouse = decision
  local strip = decision.strip
  for i = 1, #strip do
    replace(ctx, strip[i], nil, variable_of(strip[i]))
  end
  if decision.allowed then
    if decision.caller[1] then
      identify(ctx, decision.caller[1], found)
    end
    return pass_on(ctx, decision)
  end
  core.response.set_header(exchange.by_name(decision.headers))
  local body = decision.body
  if body == "" then
    body = decision.status >= 300 and "\n" or nil -- or nginx writes a page
  end
  return decision.status, body
end

return _M
