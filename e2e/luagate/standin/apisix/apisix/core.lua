-- A stand-in of apisix.core: what gatehouse.lua calls, as APISIX 3.18 does it, without
-- its caches and its library for JSON Schema.
local cjson = require "cjson.safe"

local vars = {}

return {
  vars = vars,
  ctx = { register_var = function(name, getter) vars[name] = getter end },
  json = { encode = cjson.encode },
  log = { error = function(...) ngx.log(ngx.ERR, ...) end },
  schema = { TYPE_CONSUMER = 1, TYPE_METADATA = 2, check = function() return true end },
  request = { set_header = function(_, name, value) ngx.req.set_header(name, value) end },
  response = {
    set_header = function(headers)
      for name, value in pairs(headers) do
        ngx.header[name] = value
      end
    end,
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
  },
}
