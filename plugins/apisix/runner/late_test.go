package runner

import (
	"context"
	"net/http"
	"testing"
	"time"

	pkgHTTP "github.com/apache/apisix-go-plugin-runner/pkg/http"

	"gatehouse/core"
)

// slowRecorder panics in time, and is not done with recording that in time.
type slowRecorder struct{ probe }

func (*slowRecorder) RequestFilter(any, http.ResponseWriter, pkgHTTP.Request)    { panic("x") }
func (*slowRecorder) Begin(ctx context.Context, _ *core.Request) context.Context { return ctx }
func (*slowRecorder) End(context.Context, core.Event)                            { time.Sleep(300 * time.Millisecond) }

// The time limit can pass between a plugin's end and its reply. To hang up on
// APISIX then would open a route with allow_degradation.
func TestHoleDegradationOpensWhileTheResponseIsSent(t *testing.T) {
	r := startRunner(t, options{plugins: []Plugin{&slowRecorder{probe{name: "p"}}}, filterTimeout: 100 * time.Millisecond})
	g := r.dial(t)
	if got := g.call(t, call{token: g.prepare(t, "k", conf{"p", ""})}); !got.stop || got.status != 503 {
		t.Errorf("%s, want a denial", got)
	}
}
