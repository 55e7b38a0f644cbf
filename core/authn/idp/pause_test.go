package idp_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"gatehouse/core"
	"gatehouse/core/authn/idp"
	"gatehouse/core/coretest"
)

func TestProviderThatAsksForAPauseIsNotCalledMeanwhile(t *testing.T) {
	const inTwentySeconds = "a date"
	for name, c := range map[string]struct {
		status     int
		retryAfter string
		pause      time.Duration
	}{
		"429 with seconds":       {429, "30", 30 * time.Second},
		"429 with a date":        {429, inTwentySeconds, 19 * time.Second},
		"429 without a time":     {429, "", time.Second},
		"429 with nonsense":      {429, "soon", time.Second},
		"429 with a past date":   {429, "Mon, 02 Jan 2006 15:04:05 GMT", time.Second},
		"429 with a year":        {429, "31536000", 30 * time.Second},
		"503 with seconds":       {503, "7", 7 * time.Second},
		"503 without a time":     {503, "", 0},
		"500 with seconds":       {500, "30", 0},
		"200 with seconds":       {200, "30", 0},
		"429 with negative time": {429, "-5", time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			clock := coretest.NewClock()
			if c.retryAfter == inTwentySeconds {
				c.retryAfter = clock.Now().UTC().Add(20 * time.Second).Format(http.TimeFormat)
			}
			server := coretest.NewServer(t, http.HandlerFunc(hello))
			server.Instead(func(w http.ResponseWriter, _ *http.Request) {
				if c.retryAfter != "" {
					w.Header().Set("Retry-After", c.retryAfter)
				}
				w.WriteHeader(c.status)
			})
			calling := client(t, idp.Options{Now: clock.Now})
			if _, err := get(t, calling, server.URL, 5); err != nil {
				t.Fatal(err)
			}
			server.Heal()
			if c.pause > 0 {
				clock.Advance(c.pause - time.Second/2)
				_, err := get(t, calling, server.URL, 5)
				if err == nil || !strings.Contains(err.Error(), "as the provider asked (Retry-After)") || server.Calls() != 1 {
					t.Errorf("within the pause: %v, %d calls", err, server.Calls())
				}
				var later *core.Later
				if !errors.As(err, &later) || later.Wait <= 0 || later.Wait > c.pause {
					t.Errorf("the end of the pause is %+v", later)
				}
				other := coretest.NewServer(t, http.HandlerFunc(hello))
				if _, err := get(t, calling, other.URL, 5); err != nil {
					t.Errorf("another provider: %v", err)
				}
				clock.Advance(time.Second + time.Second/2)
			}
			if _, err := get(t, calling, server.URL, 5); err != nil {
				t.Errorf("after the pause: %v", err)
			}
		})
	}
}
