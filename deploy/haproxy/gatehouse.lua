-- Asks Gatehouse before HAProxy passes a request on. Needs HAProxy 2.6 or newer
-- with Lua 5.3, and nothing else.
--
--   http-request lua.gatehouse URL NAMES
--   http-request deny deny_status 503 unless { var(txn.gatehouse) -m str admitted }
--
-- The second line is not to be left out: HAProxy passes a request on if an action
-- in Lua fails or is cut short, which a client can bring about.
--
-- URL is that of the endpoint, such as http://127.0.0.1:4180/auth/haproxy.
-- NAMES are the headers, separated by commas, that upstream_headers and
-- strip_headers of the gate name. They are removed from the request, and set if
-- Gatehouse says so.

-- Headers that belong to a connection, or that are written here. Trailer is
-- passed on: Gatehouse refuses requests that announce fields behind their body,
-- which it would not see.
local not_passed = {
  ["connection"] = true, ["content-length"] = true, ["expect"] = true, ["host"] = true, ["keep-alive"] = true,
  ["proxy-connection"] = true, ["te"] = true, ["transfer-encoding"] = true, ["upgrade"] = true,
}

-- What HAProxy's client asks with: tune.http.maxhdr, 101 unless it is set, less
-- one. Before 3.4 the client writes more lines past the end of its memory, and from
-- then on it leaves out some, which nobody has looked at.
local max_lines = 100

-- refuse_with answers as Gatehouse would. The id is what haproxy.cfg has written
-- into the request.
local function refuse_with(txn, status, title, detail)
  local reply = txn:reply({ status = status })
  reply:add_header("content-type", "application/problem+json")
  reply:add_header("cache-control", "no-store")
  reply:set_body(string.format('{"type":"about:blank","title":"%s","status":%d,"detail":"%s","request_id":"%s"}',
    title, status, detail, (string.gsub(txn.sf:req_fhdr("x-request-id"), "[^%w-]", ""))))
  txn:done(reply)
end

-- target is what the upstream will be sent: as received in HTTP/1, and without
-- scheme and host in HTTP/2, where HAProxy adds those itself.
local function target(txn)
  local uri = txn.sf:url()
  if string.sub(txn.sf:req_ver(), 1, 1) ~= "1" then
    uri = txn.sf:pathq()
  end
  return uri
end

local function question(txn)
  local headers = {}
  for name, values in pairs(txn.http:req_get_headers()) do
    if not not_passed[name] then
      headers[name] = {}
      for i = 0, #values do
        table.insert(headers[name], values[i])
      end
    end
  end
  headers["x-forwarded-method"] = { txn.sf:method() }
  headers["x-forwarded-uri"] = { target(txn) }
  -- The whole value, with commas, as the upstream gets it.
  headers["x-forwarded-host"] = { txn.sf:req_fhdr("host") }
  headers["x-forwarded-for"] = { txn.sf:src() }
  headers["x-forwarded-proto"] = { "http" }
  if txn.f:ssl_fc() == 1 or txn.f:ssl_fc() == true then
    headers["x-forwarded-proto"] = { "https" }
  end
  return headers
end

local function count(headers)
  local lines = 0
  for _, values in pairs(headers) do
    lines = lines + #values
  end
  return lines
end

local function refuse(txn, answer)
  if answer.status == nil or answer.status < 300 or answer.status > 599 then
    refuse_with(txn, 503, "Service Unavailable", "The request could not be authorised at the moment.")
    return
  end
  local reply = txn:reply({ status = answer.status })
  for name, values in pairs(answer.headers) do
    if not not_passed[name] then
      for i = 0, #values do
        reply:add_header(name, values[i])
      end
    end
  end
  reply:set_body(answer.body or "")
  txn:done(reply)
end

local function gatehouse(txn, url, names)
  local listed = {}
  for name in string.gmatch(names, "[^,%s]+") do
    table.insert(listed, string.lower(name))
  end
  local headers = question(txn)
  if count(headers) > max_lines then
    refuse_with(txn, 431, "Request Header Fields Too Large", "The request has too many header lines.")
    return
  end
  local answer = core.httpclient():get({ url = url, headers = headers, timeout = 35000 })
  if answer.status ~= 200 then
    refuse(txn, answer)
    return
  end
  for _, name in ipairs(listed) do
    txn.http:req_del_header(name)
    local values = answer.headers[name]
    if values ~= nil then
      txn.http:req_set_header(name, values[0])
      -- A long request leaves no room for it, and HAProxy does not say so.
      if txn.sf:req_fhdr(name) ~= values[0] then
        refuse_with(txn, 431, "Request Header Fields Too Large", "The request leaves no room for what the upstream is told.")
        return
      end
    end
  end
  -- A header that the client lists in Connection would be taken off behind
  -- HAProxy, and an upstream that agrees to an upgrade to h2c takes requests that
  -- nobody has decided. So neither is the client's word: there is WebSocket, or
  -- no upgrade.
  local websocket = string.lower(txn.sf:req_fhdr("upgrade")) == "websocket"
  txn.http:req_del_header("connection")
  txn.http:req_del_header("upgrade")
  txn.http:req_del_header("http2-settings")
  if websocket then
    txn.http:req_set_header("connection", "upgrade")
    txn.http:req_set_header("upgrade", "websocket")
  end
  txn:set_var("txn.gatehouse", "admitted")
end

core.register_action("gatehouse", { "http-req" }, gatehouse, 2)
