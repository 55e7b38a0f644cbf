-- A stand-in of apisix.consumer: consumers and their credentials in one list, as APISIX
-- keeps them, from the file consumers.json.
local cjson = require "cjson.safe"
local core = require "apisix.core"

local _M = {}

local function all()
  local file = io.open(require("gateway").folder .. "/consumers.json")
  if not file then
    return nil -- not there yet
  end
  local text = file:read("*a")
  file:close()
  local values, by_key = {}, {}
  for _, value in ipairs(assert(cjson.decode(text))) do
    local key = value.key or value.id or value.username
    value.key, value.id = nil, value.id or value.username
    values[#values + 1] = { key = "/consumers/" .. key, value = value, modifiedIndex = #text }
    by_key[key] = values[#values]
  end
  return { values = values, by_key = by_key, conf_version = #text }
end

function _M.consumers()
  local now = all()
  if not now then
    return nil
  end
  local list = {}
  for _, item in ipairs(now.values) do
    if not item.key:find("/credentials/", 1, true) then
      list[#list + 1] = item
    end
  end
  return list, now.conf_version
end

function _M.get_anonymous_consumer(name)
  local raw = all().by_key[name]
  if not raw then
    return nil, nil, "failed to get anonymous consumer " .. name
  end
  raw.value.consumer_name, raw.value.modifiedIndex = raw.value.id, raw.modifiedIndex
  return raw.value, { conf_version = raw.modifiedIndex }
end

function _M.attach_consumer(ctx, consumer, conf)
  ctx.consumer = consumer
  ctx.consumer_name = consumer.consumer_name
  ctx.consumer_group_id = consumer.group_id
  ctx.consumer_ver = conf.conf_version
  core.request.set_header(ctx, "X-Consumer-Username", consumer.username)
  core.request.set_header(ctx, "X-Credential-Identifier", consumer.credential_id)
  core.request.set_header(ctx, "X-Consumer-Custom-ID", consumer.custom_id)
end

return _M
