-- The consumers of Kong by what a caller is called: returns a function that takes how one
-- is looked up (id, username or custom_id) and by what, and returns the consumer, or nil and
-- an error where that could not be told.
local is_valid_uuid = require("kong.tools.uuid").is_valid_uuid

local kong = kong

-- What is found stays in Kong's cache under the keys that Kong itself forgets when a
-- consumer changes. A value that was not found again when its time was over is none.
local FRESH = { resurrect_ttl = 0.001 }
local NEW = { resurrect_ttl = 0.001, neg_ttl = 5 } -- for a key that Kong does not know

local function cached(key, options, load, ...)
  local value, err, level = kong.cache:get(key, options, load, ...)
  if err then
    return nil, err
  elseif level == 4 then
    return nil, "the database does not reply"
  end
  return value
end

local function by_id(id)
  if not is_valid_uuid(id) or id:lower() ~= id then
    return nil
  end
  return cached(kong.db.consumers:cache_key(id), FRESH, kong.client.load_consumer, id)
end

local function load_by_username(name)
  return kong.db.consumers:select_by_username(name)
end

-- by_username keeps nothing of a name that looks like an id: Kong has ids under the same
-- keys.
local function by_username(name)
  if is_valid_uuid(name) then
    return load_by_username(name)
  end
  return cached(kong.db.consumers:cache_key(name), FRESH, load_by_username, name)
end

local function load_id(custom_id)
  local consumer, err = kong.db.consumers:select_by_custom_id(custom_id)
  return consumer and consumer.id, err
end

-- by_custom_id keeps the id alone: a consumer that has gone, or has another custom_id now,
-- is looked for again.
local function by_custom_id(custom_id)
  local id, err = cached(kong.db.consumers:cache_key(custom_id, "gatehouse", "custom_id"), NEW, load_id, custom_id)
  if not id then
    return nil, err
  end
  local consumer
  consumer, err = by_id(id)
  if err or consumer and consumer.custom_id == custom_id then
    return consumer, err
  end
  return kong.db.consumers:select_by_custom_id(custom_id)
end

local look_up = { id = by_id, username = by_username, custom_id = by_custom_id }

return function(by, value)
  if value == "" then
    return nil
  end
  local consumer, err = look_up[by](value)
  if consumer and consumer[by] ~= value then
    return nil
  end
  return consumer, err
end
