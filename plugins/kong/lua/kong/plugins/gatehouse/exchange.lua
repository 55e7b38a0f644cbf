-- One exchange with the process that decides requests: see internal/exchange/doc.go for
-- the protocol. Nothing here or in the file of the plugin holds policy. Whatever fails,
-- the request is denied.
local cjson = require "cjson.safe"

local here = (...):match("^.*%.")
local wire, connection = require(here .. "wire"), require(here .. "connection")

local byte, log, ERR = string.byte, ngx.log, ngx.ERR
local call, keep, say = connection.call, connection.keep, connection.say
local FOUND = wire.number(1) .. "F"

local _M = { by_name = wire.by_name, copy = wire.copy }

-- The names that the process has given to configurations.
local names = setmetatable({}, { __mode = "k" })

-- hand_over gives the process a configuration, and returns its name, or nil and an
-- error. The third is what is wrong with the configuration, if something is.
function _M.hand_over(path, conf)
  local text, err = cjson.encode(conf)
  if not text then
    return nil, err
  end
  local sock, reply = call(path, wire.number(#text + 1) .. "C" .. text)
  if not sock then
    return nil, reply
  end
  if byte(reply, 5) ~= 0x63 or #reply < 41 then -- c
    sock:close()
    return nil, wire.CUT
  end
  keep(sock)
  local problem = wire.text_at(reply, 38)
  return reply:sub(6, 37), nil, problem ~= "" and problem or nil
end

local function name_of(path, conf)
  local name, err, problem = _M.hand_over(path, conf)
  if not name then
    return nil, err
  end
  if problem then
    log(ERR, "gatehouse: the configuration did not load, and denies every request: ", problem)
  end
  names[conf] = name
  return name
end

local function send_body(sock, request, limit)
  local body, err = request.body(limit)
  return say(sock, body and "B" .. body or "X" .. tostring(err))
end

-- confirm looks up the consumer that an admitted caller is to be, and tells the process
-- what became of it. find takes how it is looked up and by what, and returns it, or nil
-- and an error where it could not tell. A caller who has to have one gets a refusal.
local function confirm(sock, decision, find)
  local caller = decision.caller
  local ok, consumer, err = pcall(find, caller[2], caller[3])
  if ok and not err and (consumer or caller[4] ~= "") then
    local sent
    sent, err = sock:send(FOUND)
    return sent and decision, sent and consumer or err
  end
  if not ok then
    err = consumer
  end
  local reply
  reply, err = say(sock, "N" .. tostring(err or ""))
  decision = reply and wire.decision(reply)
  if decision and decision.allowed then
    return nil, "a caller without the consumer is admitted"
  end
  return decision, err
end

local function exchange(path, conf, request, find)
  local name, err = names[conf]
  for _ = 1, 2 do
    if not name then
      name, err = name_of(path, conf)
      if not name then
        return nil, err
      end
    end
    local sock, reply = call(path, wire.request(name, request))
    if not sock then
      return nil, reply
    end
    local kind = byte(reply, 5)
    if kind == 0x62 then -- b
      reply, err = send_body(sock, request, (wire.number_at(reply, 6)))
      kind = reply and byte(reply, 5)
    end
    if kind == 0x41 or kind == 0x44 then -- A, D
      local decision, consumer = wire.decision(reply)
      if decision.caller and decision.caller[2] then
        decision, consumer = confirm(sock, decision, find)
      end
      if decision then
        keep(sock)
      else
        sock:close()
      end
      return decision, consumer
    elseif kind ~= 0x75 then -- u
      sock:close()
      return nil, err or "a reply of the unknown type " .. kind
    end
    keep(sock)
    name = nil
  end
  return nil, "the process does not know the configuration that it was given"
end

-- unavailable is the decision where there is none.
local function unavailable(id)
  return {
    outcome = "deny", reason = "unavailable", rule = "", subject = "", issuer = "", strip = {}, status = 503,
    headers = { "Content-Type", "application/problem+json", "Cache-Control", "no-store", "Retry-After", "5" },
    body = cjson.encode {
      type = "about:blank", title = "Service Unavailable", status = 503,
      detail = "The request could not be authorised at the moment.", request_id = id,
    },
  }
end

-- decide always returns a decision, and the consumer that the caller is, if they are one.
-- The request has an id, the request line, the addresses of the peer and of the client,
-- headers by name, authenticated if another plugin has said who calls, and body, a
-- function; find is that of confirm.
function _M.decide(path, conf, request, find)
  local ok, decision, consumer = pcall(exchange, path, conf, request, find)
  if ok and decision then
    return decision, consumer
  end
  log(ERR, "gatehouse: the request is denied: ", ok and consumer or decision)
  return unavailable(request.id)
end

-- body reads at most one byte more than a limit of the body of the request.
function _M.body(limit)
  local ok, err = pcall(ngx.req.read_body)
  if not ok then
    return nil, err
  end
  local body = ngx.req.get_body_data()
  if body then
    return body:sub(1, limit + 1)
  end
  local path = ngx.req.get_body_file()
  if not path then
    return ""
  end
  local file
  file, err = io.open(path, "rb")
  if not file then
    return nil, err
  end
  body = file:read(limit + 1) or ""
  file:close()
  return body
end

return _M
