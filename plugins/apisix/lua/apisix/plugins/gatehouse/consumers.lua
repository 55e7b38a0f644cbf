-- The consumers of APISIX by what a caller is called.
local consumers = require("apisix.consumer")

local _M = {}

-- get is the consumer of an id, as APISIX itself gets one by its name. Credentials of
-- consumers are in the same list; they have no name.
local function get(id)
  local consumer, conf = consumers.get_anonymous_consumer(id)
  if consumer and consumer.username and consumer.id == id then
    return consumer, conf
  end
end

-- What the consumers are called, for all that are not found by their id. A name that two
-- have is nobody's: it is false.
local AGAIN = 1 -- seconds
local names, named = {}, -math.huge
local function names_now()
  if ngx.now() - named < AGAIN then
    return names
  end
  local now = { username = {}, custom_id = {} }
  for _, item in ipairs(consumers.consumers() or {}) do
    local value = type(item) == "table" and item.value
    if value and value.username then
      for by, called in pairs { username = value.username, custom_id = value.labels and value.labels.custom_id } do
        now[by][called] = now[by][called] == nil and value.id
      end
    end
  end
  names, named = now, ngx.now()
  return names
end

function _M.name_of(consumer, by)
  if by == "custom_id" then
    return consumer.labels and consumer.labels.custom_id
  end
  return consumer[by]
end

-- find looks first where APISIX keeps consumers by their id, which is the username unless
-- a file says otherwise.
function _M.find(by, value)
  if value == "" then
    return nil
  end
  local consumer, conf
  if by ~= "custom_id" and value:find("^[%w_-]+$") then
    consumer, conf = get(value)
  end
  if by ~= "id" and not (consumer and consumer.username == value) then
    local id = names_now()[by][value]
    if id == false then
      return nil, "two consumers have the same " .. by
    end
    consumer, conf = get(id or "")
  end
  if consumer and _M.name_of(consumer, by) == value then
    return { consumer = consumer, conf = conf }
  end
end

return _M
