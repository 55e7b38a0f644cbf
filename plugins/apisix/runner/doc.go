// Package runner is a plugin runner for Apache APISIX: the process that
// APISIX starts by ext-plugin.cmd and sends a call for each request over a unix
// socket. It runs plugins written against the public interfaces of
// github.com/apache/apisix-go-plugin-runner, ours and a team's own side by
// side, because APISIX has exactly one runner:
//
//	func main() {
//		runner.Main(logqueue.New(os.Stderr), &mine.Plugin{}, &theirs.Plugin{})
//	}
//
// Plugins are handed over here and not registered: the stock library's
// plugin.RegisterPlugin keeps them in a registry that cannot be read from outside.
//
// The wire protocol is that of github.com/api7/ext-plugin-proto. What is
// different from the stock runner is everything through which a request can
// get past a plugin that guards a route:
//
//   - A conf token never means another config, neither in this process nor in
//     one before it; an unknown token is said to be unknown, and APISIX then
//     hands the config over again.
//   - A config that does not load, a misspelt plugin name, a panic, a plugin
//     that takes too long or that replies with an impossible status denies
//     the request. Nothing is skipped.
//   - Header().Set replaces and Header().Del removes every copy of a header
//     in what the upstream receives, also those beyond the first 100, which
//     APISIX does not show to a runner.
//   - A request whose header list may have been cut off is refused.
//   - A plugin can see the request target as it was received: see
//     [RawRequest]. APISIX passes that on to the upstream, not the decoded
//     path that Request.Path returns.
//
// Nothing is logged per request, a frame costs one read and one write, and
// what a client can influence is bounded.
package runner
