package redis

import (
	"context"

	goredis "github.com/redis/go-redis/v9"
)

// connect makes the client of go-redis. That of a Cluster connects by clients of its
// own, to which the hook for connections goes, if there is one.
func connect(o *goredis.UniversalOptions, dial func(goredis.DialHook) goredis.DialHook) goredis.UniversalClient {
	if !o.IsClusterMode {
		return goredis.NewUniversalClient(o)
	}
	var c *goredis.ClusterClient
	cluster := o.Cluster()
	cluster.NewClient = func(o *goredis.Options) *goredis.Client {
		node := goredis.NewClient(o)
		node.AddHook(nodeHook{dial, func() { c.ReloadState(context.Background()) }})
		return node
	}
	c = goredis.NewClusterClient(cluster)
	return c
}

// nodeHook looks again which server of a Cluster has which keys when one does not
// respond. By itself go-redis does so once a minute, and a replica that was promoted
// would not be asked until then.
type nodeHook struct {
	dial   func(goredis.DialHook) goredis.DialHook
	reload func()
}

func (h nodeHook) DialHook(next goredis.DialHook) goredis.DialHook {
	if h.dial == nil {
		return next
	}
	return h.dial(next)
}

func (h nodeHook) ProcessHook(next goredis.ProcessHook) goredis.ProcessHook {
	return func(ctx context.Context, cmd goredis.Cmder) error {
		err := next(ctx, cmd)
		h.look(err, cmd)
		return err
	}
}

func (h nodeHook) ProcessPipelineHook(next goredis.ProcessPipelineHook) goredis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []goredis.Cmder) error {
		err := next(ctx, cmds)
		h.look(err, cmds...)
		return err
	}
}

// look does nothing when looking itself has failed, which would never end.
func (h nodeHook) look(err error, cmds ...goredis.Cmder) {
	if len(cmds) > 0 && cmds[0].Name() != "cluster" && (!answered(err) || goredis.IsClusterDownError(err)) {
		h.reload()
	}
}
