// Command gatehouse-runner is Gatehouse as a native plugin of Apache APISIX.
// APISIX runs it; see the README beside it.
package main

import "gatehouse/plugins/apisix/command"

func main() { command.Main() }
