package upstreamtoken_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"gatehouse/core"
	"gatehouse/core/upstreamtoken"
)

// maker notes what it is asked for.
type maker struct {
	token    string
	err      error
	audience []string
}

func (m *maker) Token(_ context.Context, w upstreamtoken.Wanted) (string, error) {
	m.audience = w.Audience
	return m.token, m.err
}

func TestRouteOfACallChoosesTheAudience(t *testing.T) {
	m := &maker{token: "t"}
	h := upstreamtoken.Header{Maker: m, Audiences: upstreamtoken.Audiences{
		Default: []string{"default"},
		Routes: []upstreamtoken.Route{
			{Hosts: []string{"api.example.com"}, Paths: []string{"/orders", "/carts"}, Audience: []string{"orders"}},
			{Paths: []string{"/orders/archive", "/files"}, Audience: []string{"archive"}},
			{Hosts: []string{"*.internal.example.com"}, Audience: []string{"internal", "all"}},
		},
	}}
	for _, c := range []struct{ host, path, want string }{
		{"api.example.com", "/orders", "orders"},
		{"API.example.com:8443", "/orders/7", "orders"},
		{"api.example.com.", "/carts", "orders"},
		{"api.example.com", "/orders/archive", "orders"}, // the first that covers
		{"other.example.com", "/orders/archive/1", "archive"},
		{"other.example.com", "/orders", "default"},
		{"api.example.com", "/ordersx", "default"},
		{"api.example.com", "/order", "default"},
		{"api.example.com", "/x/orders", "default"},
		{"api.example.com", "/", "default"},
		{"a.internal.example.com", "/x", "internal,all"},
		{"internal.example.com", "/x", "default"},
		{"a.internal.example.com.evil.example", "/x", "default"},
		{"api.example.com@evil", "/orders", "default"},
		{"", "/orders", "default"},
	} {
		_, _, err := h.Value(context.Background(), &core.Call{Request: &core.Request{Host: c.host}, Path: c.path}, &core.Principal{}, nil)
		if err != nil || !slices.Equal(m.audience, strings.Split(c.want, ",")) {
			t.Errorf("%s%s: %v, want %s (%v)", c.host, c.path, m.audience, c.want, err)
		}
	}
}

func TestHeaderWithTheToken(t *testing.T) {
	call, p := &core.Call{Request: &core.Request{}}, &core.Principal{}
	for name, c := range map[string]struct {
		header upstreamtoken.Header
		want   string
		err    error
	}{
		"Authorization":   {upstreamtoken.Header{Maker: &maker{token: "t"}, Bearer: true}, "Bearer t", nil},
		"a header of its": {upstreamtoken.Header{Maker: &maker{token: "t"}}, "t", nil},
		"as long as can be": {upstreamtoken.Header{Maker: &maker{token: strings.Repeat("t", upstreamtoken.MaxToken)}, Bearer: true},
			"Bearer " + strings.Repeat("t", upstreamtoken.MaxToken), nil},
		"too long": {upstreamtoken.Header{Maker: &maker{token: strings.Repeat("t", upstreamtoken.MaxToken+1)}, Bearer: true}, "", core.ErrForbidden},
		"refused":  {upstreamtoken.Header{Maker: &maker{token: "t", err: core.ErrForbidden}}, "", core.ErrForbidden},
	} {
		value, ok, err := c.header.Value(context.Background(), call, p, nil)
		if value != c.want || ok != (c.err == nil) || !errors.Is(err, c.err) {
			t.Errorf("%s: %d bytes, %v, %v", name, len(value), ok, err)
		}
	}
}
