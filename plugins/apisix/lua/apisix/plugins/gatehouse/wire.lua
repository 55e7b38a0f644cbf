-- The messages of the exchange with the process that decides requests: see
-- internal/exchange/doc.go for the protocol.
local bit = require "bit"

local new_tab = require "table.new"
local band, rshift = bit.band, bit.rshift
local byte, char, sub = string.byte, string.char, string.sub

local CUT = "a reply that is cut short"
-- In bytes: a request with more header is denied with 431.
local MAX_REQUEST = 1048576

local _M = { VERSION = 3, CUT = CUT }

local numbers = {}
for n = 0, 4095 do
  numbers[n] = char(0, 0, rshift(n, 8), band(n, 255))
end
-- number is four bytes.
local function number(n)
  return numbers[n] or char(band(rshift(n, 24), 255), band(rshift(n, 16), 255), band(rshift(n, 8), 255), band(n, 255))
end

-- number_at and text_at read a part of a message, and say where the next one begins.
local function number_at(message, at)
  local a, b, c, d = byte(message, at, at + 3)
  if not d then
    error(CUT, 0)
  end
  return a * 16777216 + b * 65536 + c * 256 + d, at + 4
end

local function text_at(message, at)
  local n, from = number_at(message, at)
  if from + n - 1 > #message then
    error(CUT, 0)
  end
  return sub(message, from, from + n - 1), from + n
end

local NONE = {}

-- A list of texts, of which each element has some.
local function texts_at(message, at, each)
  local n, from = number_at(message, at)
  if n == 0 then
    return NONE, from
  end
  local list = {}
  for i = 1, n * each do
    list[i], from = text_at(message, from)
  end
  return list, from
end

-- by_name groups names and values: a value, or a list of those of one name.
function _M.by_name(list)
  local grouped = {}
  for i = 1, #list, 2 do
    local name, value = list[i], list[i + 1]
    local before = grouped[name]
    if before == nil then
      grouped[name] = value
    elseif type(before) == "table" then
      before[#before + 1] = value
    else
      grouped[name] = { before, value }
    end
  end
  return grouped
end

-- copy is for others to change.
function _M.copy(list)
  local copied = {}
  for i = 1, #list do
    copied[i] = list[i]
  end
  return copied
end

-- once joins the values of each name: names and values in turn, a value or a list.
local function once(list)
  if #list == 2 then
    return list
  end
  local grouped, joined = _M.by_name(list), {}
  for i = 1, #list, 2 do
    local name = list[i]
    if grouped[name] then
      joined[#joined + 1], joined[#joined + 2] = name, grouped[name]
      grouped[name] = nil
    end
  end
  return joined
end

-- decode reads a reply, whose type is at 5, behind its length.
local function decode(reply)
  local d, at = new_tab(0, 16), 6
  d.outcome, at = text_at(reply, at)
  d.reason, at = text_at(reply, at)
  d.rule, at = text_at(reply, at)
  d.subject, at = text_at(reply, at)
  d.issuer, at = text_at(reply, at)
  d.strip, at = texts_at(reply, at, 1)
  if byte(reply, 5) == 0x41 and d.outcome == "allow" then -- A
    local groups
    d.set, at = texts_at(reply, at, 2)
    d.set = once(d.set)
    d.response, at = texts_at(reply, at, 2)
    d.target, at = texts_at(reply, at, 1)
    d.target = d.target[1]
    groups, at = number_at(reply, at)
    if groups > 0 then
      d.groups, at = texts_at(reply, at, 1)
    end
    d.caller, at = texts_at(reply, at, 1)
    d.allowed = true
  else
    d.status, at = number_at(reply, at)
    d.headers, at = texts_at(reply, at, 2)
    d.body, at = text_at(reply, at)
  end
  if at ~= #reply + 1 then
    error(CUT, 0)
  end
  return d
end

-- Admissions that were read before, by their replies: a caller who comes again gets the
-- same. So nobody may change one.
local ADMISSIONS, LONGEST = 1024, 2048
local admissions, count = {}, 0
function _M.decision(reply)
  local known = admissions[reply]
  if known then
    return known
  end
  local decision = decode(reply)
  if decision.allowed and #reply <= LONGEST then
    if count == ADMISSIONS then
      admissions, count = {}, 0
    end
    admissions[reply], count = decision, count + 1
  end
  return decision
end

-- encode lists the parts of a message. They are not joined: of a long string LuaJIT hashes
-- few bytes, and messages that differ by an id alone would all have one hash.
local function encode(name, request, without_headers)
  local id, line, peer, client = request.id or "", request.line or "", request.peer or "", request.client or ""
  local certificate, verify = request.certificate or "", request.verify or ""
  local p = new_tab(64, 0)
  p[2], p[3], p[4] = "R", name, char((without_headers and 1 or 0) + (request.authenticated and 2 or 0))
  p[5], p[6], p[7], p[8] = number(#id), id, number(#line), line
  p[9], p[10], p[11], p[12] = number(#peer), peer, number(#client), client
  p[13], p[14], p[15], p[16] = number(#certificate), certificate, number(#verify), verify
  local n, lines, size = 17, 0, 62 + #id + #line + #peer + #client + #certificate + #verify
  for header, value in pairs(without_headers and NONE or request.headers) do
    local several = type(value) == "table"
    for i = 1, several and #value or 1 do
      local text = several and value[i] or value
      p[n + 1], p[n + 2], p[n + 3], p[n + 4] = number(#header), header, number(#text), text
      n, lines, size = n + 4, lines + 1, size + 8 + #header + #text
    end
  end
  if size > MAX_REQUEST and not without_headers then
    return encode(name, request, true)
  end
  p[17], p[1] = number(lines), number(size)
  return p
end

_M.number, _M.number_at, _M.text_at, _M.request = number, number_at, text_at, encode

return _M
