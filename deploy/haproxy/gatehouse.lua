-- Sends Gatehouse an auth request before HAProxy passes a request on. Needs
-- HAProxy 2.6 or newer with Lua 5.3, and nothing else.
--
--   http-request lua.gatehouse URL NAMES
--   http-request deny deny_status 503 unless { var(txn.gatehouse) -m str admitted }
--
-- Do not leave the second line out: HAProxy passes a request on if an action in
-- Lua fails or is aborted, which a client can cause.
--
-- Cookies that Gatehouse renews or ends are in txn.gatehouse_cookie_1 and so on
-- afterwards, for http-after-response, as haproxy.cfg has it.
--
-- URL is that of the endpoint, such as http://127.0.0.1:4180/auth/haproxy.
-- NAMES are the headers, separated by commas, that upstream_headers and
-- strip_headers of the gate name. The action removes them from the request, and
-- sets those of Gatehouse's response.

if core.httpclient == nil then
  error("gatehouse.lua needs HAProxy 2.6 or newer: this one has no HTTP client for Lua")
end

-- Headers that belong to a connection, or that are set here. Trailer is passed
-- on: Gatehouse refuses requests that announce trailer fields, because it would
-- not see them.
local not_passed = {
  ["connection"] = true, ["content-length"] = true, ["expect"] = true, ["host"] = true, ["keep-alive"] = true,
  ["proxy-connection"] = true, ["te"] = true, ["transfer-encoding"] = true, ["upgrade"] = true,
}

-- How many header lines HAProxy's client can send: tune.http.maxhdr (default 101)
-- less one. Before 3.4 the client writes further lines past the end of its memory;
-- later versions leave some out, which Gatehouse would then not check.
local max_lines = 100

-- How many cookies Gatehouse sets at once at most.
local max_cookies = 11

-- refuse_with responds as Gatehouse would. The id is the one that haproxy.cfg has
-- written into the request.
local function refuse_with(txn, status, title, detail)
  local reply = txn:reply({ status = status })
  reply:add_header("content-type", "application/problem+json")
  reply:add_header("cache-control", "no-store")
  if status == 503 then
    reply:add_header("retry-after", "5")
  end
  reply:set_body(string.format('{"type":"about:blank","title":"%s","status":%d,"detail":"%s","request_id":"%s"}',
    title, status, detail, (string.gsub(txn.sf:req_fhdr("x-request-id"), "[^%w-]", ""))))
  txn:done(reply)
end

-- target is the request target that the upstream gets: as received in HTTP/1, and
-- without scheme and host in HTTP/2, where HAProxy itself adds them.
local function target(txn)
  local uri = txn.sf:url()
  if string.sub(txn.sf:req_ver(), 1, 1) ~= "1" then
    uri = txn.sf:pathq()
  end
  return uri
end

-- auth_headers are the headers of the auth request about a request.
local function auth_headers(txn)
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

local function refuse(txn, response)
  if response.status == nil or response.status < 300 or response.status > 599 then
    refuse_with(txn, 503, "Service Unavailable", "The request could not be authorised at the moment.")
    return
  end
  local reply = txn:reply({ status = response.status })
  for name, values in pairs(response.headers) do
    if not not_passed[name] then
      for i = 0, #values do
        reply:add_header(name, values[i])
      end
    end
  end
  reply:set_body(response.body or "")
  txn:done(reply)
end

-- keep_cookies keeps what the browser is to get with the response of the upstream.
local function keep_cookies(txn, headers)
  for i = 1, max_cookies do
    local values = headers["gatehouse-set-cookie-" .. i]
    if values ~= nil then
      txn:set_var("txn.gatehouse_cookie_" .. i, values[0])
    end
  end
end

local function gatehouse(txn, url, names)
  local listed = {}
  for name in string.gmatch(names, "[^,%s]+") do
    table.insert(listed, string.lower(name))
  end
  local headers = auth_headers(txn)
  if count(headers) > max_lines then
    refuse_with(txn, 431, "Request Header Fields Too Large", "The request has too many header lines.")
    return
  end
  local response = core.httpclient():get({ url = url, headers = headers, timeout = 35000 })
  if response.status ~= 200 then
    refuse(txn, response)
    return
  end
  for _, name in ipairs(listed) do
    txn.http:req_del_header(name)
    local values = response.headers[name]
    if values ~= nil then
      txn.http:req_set_header(name, values[0])
      -- A long request leaves no room for the header, and HAProxy reports no
      -- error.
      if txn.sf:req_fhdr(name) ~= values[0] then
        refuse_with(txn, 431, "Request Header Fields Too Large", "The request leaves no room for what the upstream is told.")
        return
      end
    end
  end
  -- A server after HAProxy would remove a header that the client lists in
  -- Connection, and an upstream that accepts an upgrade to h2c serves requests without a
  -- decision. So both headers are replaced: there is WebSocket, or no upgrade.
  local websocket = string.lower(txn.sf:req_fhdr("upgrade")) == "websocket"
  txn.http:req_del_header("connection")
  txn.http:req_del_header("upgrade")
  txn.http:req_del_header("http2-settings")
  if websocket then
    txn.http:req_set_header("connection", "upgrade")
    txn.http:req_set_header("upgrade", "websocket")
  end
  keep_cookies(txn, response.headers)
  txn:set_var("txn.gatehouse", "admitted")
end

core.register_action("gatehouse", { "http-req" }, gatehouse, 2)
