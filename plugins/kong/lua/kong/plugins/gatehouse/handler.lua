-- Gatehouse in Kong's own Lua: one exchange for each request with the plugin server that
-- Kong has started, in the place of its plugin protocol. Kong prefers this file to the
-- plugin server of the same name, and takes the schema from the program's -dump.
local exchange = require "kong.plugins.gatehouse.exchange"
local find = require "kong.plugins.gatehouse.consumers"

local kong, ngx = kong, ngx

local Gatehouse = {
  PRIORITY = 1050, -- as the program says
  VERSION = "1.0",
}

local path
local function socket()
  if not path then
    local configuration = kong.configuration
    path = "unix:" .. configuration.prefix .. "/gatehouse.socket"
    for _, server in ipairs(configuration.pluginservers or {}) do
      if server.name == "gatehouse" then
        path = "unix:" .. server.socket
      end
    end
  end
  return path
end

local function replace(name, value)
  if value then
    kong.service.request.set_header(name, value)
  else
    kong.service.request.clear_header(name)
  end
end

-- identify tells Kong who calls, and the upstream as Kong's own plugins do. Where nobody
-- is known, what another plugin has said stays.
local function identify(caller, consumer)
  if caller == "" then
    consumer = kong.client.get_consumer()
  else
    kong.client.authenticate(consumer, { id = caller })
  end
  local credential = kong.client.get_credential()
  replace("X-Consumer-ID", consumer and consumer.id)
  replace("X-Consumer-Custom-ID", consumer and consumer.custom_id)
  replace("X-Consumer-Username", consumer and consumer.username)
  replace("X-Credential-Identifier", credential and credential.id)
  replace("X-Anonymous-Consumer", not credential and "true")
end

local function pass_on(decision)
  local request, set = kong.service.request, decision.set
  for i = 1, #set, 2 do
    request.set_header(set[i], set[i + 1])
  end
  local added = decision.response
  for i = 1, #added, 2 do
    kong.response.add_header(added[i], added[i + 1])
  end
  if decision.target then
    request.set_raw_query(decision.target:match("^[^?]*%?(.*)$") or "")
  end
  if decision.groups then
    kong.ctx.shared.authenticated_groups = exchange.copy(decision.groups)
  end
end

local function needs_certificate(conf)
  for _, resource in ipairs(conf.resource_metadata or {}) do
    if resource.tls_client_certificate_bound_access_tokens then
      return true
    end
  end
  return conf.mtls or conf.spiffe
end

-- certificate asks clients for a certificate where the settings need one. Kong calls it
-- for a global plugin alone: no Route is known yet.
function Gatehouse:certificate(conf)
  if needs_certificate(conf) then
    local ok, err = kong.client.tls.request_client_certificate()
    if not ok then
      kong.log.err("a client cannot be asked for its certificate: ", err)
    end
  end
end

-- shown is the client's certificate with its chain, or without it over a TLS session that
-- is resumed.
local function shown(verify)
  if not verify or verify == "NONE" then
    return nil
  end
  return kong.client.tls.get_full_client_certificate_chain() or ngx.var.ssl_client_raw_cert
end

function Gatehouse:access(conf)
  local var = ngx.var
  local request = {
    id = var.kong_request_id,
    line = var.request,
    peer = var.realip_remote_addr,
    client = var.remote_addr,
    headers = ngx.req.get_headers(0, true),
    body = exchange.body,
    authenticated = kong.client.get_credential() or kong.client.get_consumer(),
  }
  if var.https == "on" then
    request.verify = var.ssl_client_verify
    request.certificate = shown(request.verify)
  end
  local decision, consumer = exchange.decide(socket(), conf, request, find)
  kong.log.set_serialize_value("gatehouse", {
    decision = decision.outcome, reason = decision.reason, rule = decision.rule, subject = decision.subject,
  })
  local strip = decision.strip
  for i = 1, #strip do
    kong.service.request.clear_header(strip[i])
  end
  if not decision.allowed then
    return kong.response.exit(decision.status, decision.body, exchange.by_name(decision.headers))
  end
  pass_on(decision)
  if decision.caller[1] then
    identify(decision.caller[1], consumer)
  end
end

return Gatehouse
