-- A stand-in of Kong: what handler.lua calls, as Kong 3.9 does it, and no more.
local cjson = require "cjson.safe"

local db = require "consumers"
local uuid = require "kong.tools.uuid"

local routes, folder

local _M = {}

local function pdk(prefix)
  return {
    configuration = { prefix = prefix },
    ctx = { shared = setmetatable({}, {
      __index = function(_, key) return ngx.ctx.shared and ngx.ctx.shared[key] end,
      __newindex = function(_, key, value)
        ngx.ctx.shared = ngx.ctx.shared or {}
        ngx.ctx.shared[key] = value
      end,
    }) },
    client = {
      get_ip = function() return ngx.var.realip_remote_addr or ngx.var.remote_addr end,
      get_forwarded_ip = function() return ngx.var.remote_addr end,
      tls = { request_client_certificate = function(authorities)
        return require("ngx.ssl").verify_client(authorities, 0)
      end, get_full_client_certificate_chain = function() -- nginx has no other than the first
        return ngx.var.ssl_client_raw_cert
      end },
      get_consumer = function() return ngx.ctx.authenticated_consumer end,
      get_credential = function() return ngx.ctx.authenticated_credential end,
      authenticate = function(consumer, credential)
        if consumer == nil and credential == nil then
          error("either credential or consumer must be provided", 2)
        end
        ngx.ctx.authenticated_consumer, ngx.ctx.authenticated_credential = consumer, credential
      end,
      load_consumer = function(id)
        if not uuid.is_valid_uuid(id) then
          error("cannot load a consumer with an id that is not a uuid", 2)
        end
        return db.select_by("id", id)
      end,
    },
    db = { consumers = db },
    cache = db.cache,
    log = {
      err = function(...) ngx.log(ngx.ERR, ...) end,
      set_serialize_value = function(key, value)
        ngx.ctx.serialized = ngx.ctx.serialized or {}
        ngx.ctx.serialized[key] = value
      end,
    },
    service = { request = {
      set_header = function(name, value) ngx.req.set_header(name, value) end,
      clear_header = function(name) ngx.req.clear_header(name) end,
      set_raw_query = function(query) ngx.req.set_uri_args(query) end,
    } },
    response = {
      add_header = function(name, value)
        local all = ngx.header[name]
        if all == nil then
          all = {}
        elseif type(all) ~= "table" then
          all = { all }
        end
        all[#all + 1] = value
        ngx.header[name] = all
      end,
      exit = function(status, body, headers)
        ngx.status = status
        local has_length
        for name, value in pairs(headers or {}) do
          ngx.header[name] = value
          has_length = has_length or name:lower() == "content-length"
        end
        if not has_length then
          ngx.header["Content-Length"] = body and #body or 0
        end
        ngx.print(body or "")
        return ngx.exit(status)
      end,
    },
  }
end

function _M.init(dir)
  folder = dir
  db.folder = dir
  local file = assert(io.open(dir .. "/routes.json"))
  routes = assert(cjson.decode(file:read("*a")))
  file:close()
  table.sort(routes, function(a, b) return #a.prefix > #b.prefix end)
  _G.kong = pdk(dir)
  require "kong.plugins.gatehouse.handler"
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

-- certificate stands for that of Kong, with the first route's plugin as a global one.
function _M.certificate()
  require("kong.plugins.gatehouse.handler"):certificate(routes[1].config)
end

function _M.access()
  local route = find()
  if not route then
    return ngx.exit(404)
  end
  ngx.var.upstream = route.upstream
  -- Kong: an error of a plugin's access handler is a 500.
  local handler = require "kong.plugins.gatehouse.handler"
  db.authenticate_by_key()
  handler:access(route.config)
  local groups = kong.ctx.shared.authenticated_groups
  if groups then -- as Kong's acl
    ngx.req.set_header("X-Authenticated-Groups", table.concat(groups, ", "))
    groups[#groups + 1] = "of another plugin"
  end
  db.limit()
end

function _M.log()
  if ngx.ctx.serialized then
    ngx.ctx.serialized.user = ngx.var.http_x_user_id
    ngx.ctx.serialized.consumer = ngx.ctx.authenticated_consumer
    ngx.ctx.serialized.headers = ngx.req.get_headers(0, true)
    local file = assert(io.open(folder .. "/serialized.log", "a")) -- as Kong's file-log
    file:write(cjson.encode(ngx.ctx.serialized), "\n")
    file:close()
  end
end

return _M
