package pluginserver

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"

	"gatehouse/core"
	"gatehouse/internal/exchange"
)

// Plugin is what is served.
type Plugin struct {
	// Name under which Kong knows the plugin, and of its socket.
	Name string
	// Version in Kong's and our own output.
	Version string
	// Priority orders the plugins of a phase; a higher one runs earlier.
	Priority int
	// Config is a value of the configuration struct. Kong's schema is made
	// from its tags; see [Schema].
	Config any
	// New builds the handler of one instance from the configuration as Kong
	// sends it: the fields of the schema, those that are unset as null or not
	// at all, and beside them __seq__, __key__, __plugin_id, __ws_id and what
	// the plugin is attached to, such as route_id. If it fails or panics, the
	// instance denies every request with 503; its error goes to the log, so it
	// must hold no secret.
	New func(config json.RawMessage) (Handler, error)
	// First are the calls with which a handler begins, in their order. They are sent
	// in one go, since Kong serves them one after the other anyway.
	First []Call
	// Exchange is served on the same socket, to Kong's Lua file; nil: it is not.
	Exchange *exchange.Options
	// Recorder records every request that the server itself denies; nil: none. Of
	// such a request the id and the request line are known, where Kong knows them.
	Recorder core.Recorder
	// Log gets lines about what the server does; nil: text on the standard error.
	Log *slog.Logger
	// Errors are to be in Kong's own log; nil: they are in Log alone.
	Errors *ErrorLog
	// Flags adds the program's own to its command line; nil: none.
	Flags func(*flag.FlagSet)
	// Start is called before the plugin is served, with Kong's prefix, and not for
	// -dump and -version; nil: nothing.
	Start func(prefix string)
}

// Handler is one plugin instance. Kong calls it for many requests at a time.
type Handler interface {
	// Access decides one request. To return lets it go on; to respond to it, call
	// Exit and return. ctx ends when Kong gives up waiting and when the server has
	// to stop.
	//
	// Kong may call Access twice for one request: it does so when the
	// connection is lost on the way.
	Access(ctx context.Context, k Kong)
}

// phaseAccess is the one phase that is served: each further one would cost every
// request another round trip.
const phaseAccess = "access"

func (p Plugin) check() error {
	switch {
	case p.Name == "":
		return errors.New("a plugin needs a name")
	case p.New == nil:
		return fmt.Errorf("plugin %s has no constructor", p.Name)
	}
	return nil
}
