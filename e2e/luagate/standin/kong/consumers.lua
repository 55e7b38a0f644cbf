-- The consumers of the stand-in of Kong: a database, which is the file consumers.json and
-- is gone where there is none, and a cache that forgets what the Admin API forgets.
local cjson = require "cjson.safe"

local _M = { cache = {} }

local kept = ngx.shared.consumers

local function all()
  local file = io.open(_M.folder .. "/consumers.json")
  if not file then
    return nil, "connection refused"
  end
  local list = assert(cjson.decode(file:read("*a")))
  file:close()
  return list
end

function _M.select_by(field, value)
  local list, err = all()
  if not list then
    return nil, err
  end
  for _, consumer in ipairs(list) do
    if consumer[field] == value then
      return consumer
    end
  end
end

function _M:select_by_username(value) return _M.select_by("username", value) end
function _M:select_by_custom_id(value) return _M.select_by("custom_id", value) end

function _M:cache_key(key, arg2, arg3)
  return string.format("consumers:%s:%s:%s::::ws", key, arg2 or "", arg3 or "")
end

-- get keeps what a loader returns, nothing included, for as long as Kong does by default:
-- for ever, but for the time that the options give.
function _M.cache:get(key, options, load, ...)
  local text = kept:get(key)
  if text then
    return cjson.decode(text)[1], nil, 2
  end
  local value, err = load(...)
  if err then
    return nil, "failed to get from node cache: " .. err
  end
  kept:set(key, cjson.encode { value }, not value and options and options.neg_ttl or 0)
  return value, nil, 3
end

-- changed is what Kong does when a consumer was changed: it forgets its id and its
-- username, and no custom_id.
function _M.changed()
  local args = ngx.req.get_uri_args()
  kept:delete(_M:cache_key(args.id))
  kept:delete(_M:cache_key(args.username))
end

-- load is what Kong's plugins for authentication do with the id of a consumer.
function _M.load(id)
  return _M.cache:get(_M:cache_key(id), nil, kong.client.load_consumer, id)
end

-- authenticate_by_key is key-auth, in front of the plugin: a key is an id.
function _M.authenticate_by_key()
  local id = ngx.req.get_headers()["X-Test-Key"]
  if not id then
    return
  end
  local consumer = assert(_M.load(id))
  kong.client.authenticate(consumer, { id = "key-of-" .. consumer.username })
  ngx.req.set_header("X-Consumer-ID", consumer.id)
  ngx.req.set_header("X-Consumer-Username", consumer.username)
  ngx.req.set_header("X-Credential-Identifier", "key-of-" .. consumer.username)
  ngx.req.clear_header("X-Consumer-Custom-ID")
  ngx.req.clear_header("X-Anonymous-Consumer")
end

-- limit tells the upstream by what rate-limiting would count.
function _M.limit()
  local consumer, credential = ngx.ctx.authenticated_consumer, ngx.ctx.authenticated_credential
  ngx.req.set_header("X-Test-Limit-Consumer", (consumer or credential or {}).id or ngx.var.remote_addr)
  ngx.req.set_header("X-Test-Limit-Credential", (credential or {}).id or ngx.var.remote_addr)
end

return _M
