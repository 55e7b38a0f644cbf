package upstreamtoken_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"gatehouse/core/keyedhash"
	"gatehouse/core/upstreamtoken"
)

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func TestCacheOfTokensIsBounded(t *testing.T) {
	now := start
	for name, l := range map[string]upstreamtoken.Limits{
		"by entries": {Entries: 100, Bytes: 1 << 30},
		"by bytes":   {Entries: 1 << 30, Bytes: 100 * (1000 + 160)},
	} {
		c := upstreamtoken.NewCache(l, time.Minute, func() time.Time { return now })
		names := keyedhash.New(nil)
		key := func(i int) upstreamtoken.Key { return names.Sum(fmt.Sprint(i)) }
		put := func(i int) {
			_, err := c.Make(context.Background(), key(i), start.Add(time.Hour), func(context.Context) (upstreamtoken.Token, error) {
				return upstreamtoken.Token{Value: strings.Repeat("t", 1000), Expiry: now.Add(time.Minute), Life: time.Minute}, nil
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		put(0)
		for i := range 1000 {
			put(i + 1)
			if _, found := c.Get(key(0), start.Add(time.Hour)); !found {
				t.Fatalf("%s: a token that is in use was dropped after %d others", name, i)
			}
		}
		kept := 0
		for i := range 1001 {
			if _, found := c.Get(key(i), start.Add(time.Hour)); found {
				kept++
			}
		}
		if kept < 50 || kept > 100 {
			t.Errorf("%s: %d tokens are kept, want 50 to 100", name, kept)
		}
	}
}

func TestMakerThatPanicsOrFailsIsAnOutage(t *testing.T) {
	c := upstreamtoken.NewCache(upstreamtoken.Limits{Entries: 10, Bytes: 1000}, time.Minute, time.Now)
	for name, make := range map[string]func(context.Context) (upstreamtoken.Token, error){
		"panics": func(context.Context) (upstreamtoken.Token, error) { panic("secret") },
		"fails": func(context.Context) (upstreamtoken.Token, error) {
			return upstreamtoken.Token{Value: "t"}, errors.New("x")
		},
	} {
		token, err := c.Make(context.Background(), upstreamtoken.Key{}, time.Now().Add(time.Hour), make)
		if err == nil || token.Value != "" {
			t.Errorf("%s: %q, %v", name, token.Value, err)
		}
		if _, found := c.Get(upstreamtoken.Key{}, time.Now().Add(time.Hour)); found {
			t.Errorf("%s: the outage is remembered", name)
		}
	}
}
