package = "kong-plugin-gatehouse"
version = "1.0-1"
source = { url = "git+file://." }
description = { summary = "Gatehouse in Kong's own Lua; it needs the plugin server of the same release" }
dependencies = {}
build = {
  type = "builtin",
  modules = {
    ["kong.plugins.gatehouse.handler"] = "kong/plugins/gatehouse/handler.lua",
    ["kong.plugins.gatehouse.consumers"] = "kong/plugins/gatehouse/consumers.lua",
    ["kong.plugins.gatehouse.exchange"] = "kong/plugins/gatehouse/exchange.lua",
    ["kong.plugins.gatehouse.connection"] = "kong/plugins/gatehouse/connection.lua",
    ["kong.plugins.gatehouse.wire"] = "kong/plugins/gatehouse/wire.lua",
  },
}
