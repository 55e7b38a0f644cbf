-- Connections to the process that decides requests: pooled, tried once more where nothing
-- was answered, and waited for where the process is started again.
local wire = require((...):match("^.*%.") .. "wire")

local byte, char = string.byte, string.char
local tcp, max, now, sleep, get_phase = ngx.socket.tcp, math.max, ngx.now, ngx.sleep, ngx.get_phase

local HELLO = "GHX" .. char(wire.VERSION)
local MAX_REPLY = 16777216 -- bytes: no reply is longer
-- In milliseconds. The process takes 50 s for a decision at most.
local CONNECT, SEND, READ, IDLE = 5000, 10000, 60000, 60000
local POOLED, FRESH = { pool = "gatehouse", pool_size = 512 }, { pool = "gatehouse-fresh", pool_size = 1 }

local _M = {}

-- receive returns a message behind its length, or an error and whether nothing at all has
-- come. What comes with a message, but is not of it, is nothing that anybody asked for.
local function receive(sock)
  local reply, err = sock:receiveany(MAX_REPLY)
  if not reply then
    return nil, err, err ~= "timeout"
  end
  local rest
  if #reply < 4 then
    rest, err = sock:receive(4 - #reply)
    if not rest then
      return nil, err
    end
    reply = reply .. rest
  end
  local n = wire.number_at(reply, 1)
  if n == 0 or n > MAX_REPLY or n < #reply - 4 then
    return nil, "a reply of " .. n .. " bytes, of which " .. #reply - 4 .. " have come"
  elseif n > #reply - 4 then
    rest, err = sock:receive(n + 4 - #reply)
    if not rest then
      return nil, err
    end
    reply = reply .. rest
  end
  return reply
end

local function open(path, from)
  local sock = tcp()
  sock:settimeouts(CONNECT, SEND, READ)
  local ok, err = sock:connect(path, 0, from) -- with a port, or APISIX drops the name of the pool
  return ok and sock, err
end

-- A program that ended is started again, by Kong within a second and by APISIX after three.
-- Requests wait for it that long, and not more of them at once. Nothing is asked meanwhile.
local PATIENCE, WAITING, STEP = 5, 256, 0.05 -- seconds, requests, seconds
local missing, waiting = nil, 0

local function connect(path, from)
  local sock, err = open(path, from)
  if not sock then
    missing = missing or now()
    local last = missing + PATIENCE
    if waiting >= WAITING or now() > last or get_phase() == "content" then -- an Admin API does not wait
      return nil, err
    end
    waiting = waiting + 1
    repeat
      sleep(STEP)
      sock, err = open(path, from)
    until sock or now() > last
    waiting = max(waiting - 1, 0)
  end
  if sock and missing then
    missing, waiting = nil, 0 -- also of those that nginx ended while they waited
  end
  return sock, err
end

local function ask(path, message, from)
  local sock, err = connect(path, from)
  if not sock then
    return nil, err
  end
  local ok
  local reused = sock:getreusedtimes() > 0
  ok, err = sock:send(reused and message or { HELLO, message })
  if not ok then
    sock:close()
    return nil, err, err ~= "timeout"
  end
  local reply, unanswered
  reply, err, unanswered = receive(sock)
  if not reply then
    sock:close()
    return nil, err, unanswered
  end
  if byte(reply, 5) == 0x56 then -- V
    sock:close()
    return nil, "the program " .. path .. " and this file are of different releases (protocol "
      .. tostring(byte(reply, 6)) .. ", and " .. wire.VERSION .. " here): install both of one release"
  end
  return sock, reply
end

-- call asks once more, on a fresh connection, if no byte of a reply has come.
function _M.call(path, message)
  local sock, reply, unanswered = ask(path, message, POOLED)
  if not sock and unanswered then
    sock, reply = ask(path, message, FRESH)
  end
  return sock, reply
end

function _M.keep(sock)
  sock:setkeepalive(IDLE)
end

-- say sends one more message of the exchange, and returns the reply.
function _M.say(sock, message)
  local ok, err = sock:send(wire.number(#message) .. message)
  if not ok then
    return nil, err
  end
  return receive(sock)
end

return _M
