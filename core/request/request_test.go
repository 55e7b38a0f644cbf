package request

import (
	"gatehouse/core/httpsyntax"
	"net/netip"
	"strings"
	"testing"
)

func TestAddressIsAskedForOnce(t *testing.T) {
	asked := 0
	r := Request{AskPeer: func() netip.Addr { asked++; return netip.MustParseAddr("10.0.0.1") }}
	if asked != 0 {
		t.Error("asked before anybody wanted to know")
	}
	for range 2 {
		if addr := r.PeerAddr(); asked != 1 || addr.String() != "10.0.0.1" {
			t.Errorf("asked %d times for %v", asked, addr)
		}
	}
	for range 2 {
		if addr := r.ClientAddr(); addr.String() != "10.0.0.1" {
			t.Errorf("without proxies the client is %v", addr)
		}
	}
	asked = 0
	r.AskClient = func() netip.Addr { asked++; return netip.MustParseAddr("192.0.2.1") }
	for range 2 {
		if addr := r.ClientAddr(); asked != 1 || addr.String() != "192.0.2.1" || r.PeerAddr().String() != "10.0.0.1" {
			t.Errorf("asked %d times for the client %v", asked, addr)
		}
	}
	if unknown := (&Request{}); unknown.PeerAddr().IsValid() || unknown.ClientAddr().IsValid() {
		t.Error("an address out of nothing")
	}
}

func TestIDIsAskedForOnceAndOnlyWhenNeeded(t *testing.T) {
	asked := 0
	ask := func() string { asked++; return "f8ddf30b9ec2a1e67c8e12ee778ea480" }
	r := Request{AskID: ask}
	for range 2 {
		if id := r.Identify(); asked != 1 || id != "f8ddf30b9ec2a1e67c8e12ee778ea480" {
			t.Errorf("asked %d times for %q", asked, id)
		}
	}
	known := Request{ID: "7b4f4c1e-0d1b-4a0e-9a8e-6c2f6b1a2d3c", AskID: ask}
	if id := known.Identify(); asked != 1 || id != "7b4f4c1e-0d1b-4a0e-9a8e-6c2f6b1a2d3c" {
		t.Errorf("asked %d times although the id is known: %q", asked, id)
	}
}

// A host whose proxy passes on what clients send has no name by which a second run of a
// request could be told from another request.
func TestIDThatAClientMayHaveChosenNamesNoSecondRun(t *testing.T) {
	for name, c := range map[string]struct {
		r    Request
		want string
	}{
		"of a proxy":             {Request{ID: "chosen"}, ""},
		"of a proxy, asked for":  {Request{AskID: func() string { return "chosen" }}, ""},
		"of the gateway":         {Request{ID: "own", RunsTwice: true}, "own"},
		"asked of the gateway":   {Request{AskID: func() string { return "own" }, RunsTwice: true}, "own"},
		"the gateway has none":   {Request{RunsTwice: true}, ""},
		"the gateway fails":      {Request{AskID: func() string { panic("no connection") }, RunsTwice: true}, ""},
		"the gateway says no id": {Request{ID: "a b", RunsTwice: true}, ""},
	} {
		if got := c.r.GatewayID(); got != c.want {
			t.Errorf("%s: %q", name, got)
		}
	}
}

// Whatever a host hands in, a log line and a body hold a short plain word.
func TestIDThatForgesALogLineIsReplaced(t *testing.T) {
	for name, r := range map[string]*Request{
		"nothing":       {},
		"nothing told":  {AskID: func() string { return "" }},
		"a panic":       {AskID: func() string { panic("no connection") }},
		"another line":  {ID: "x\ntime=now level=INFO msg=allowed"},
		"a second word": {ID: "x status=200"},
		"a quote":       {AskID: func() string { return `x"` }},
		"terminal":      {ID: "x\x1b[2K"},
		"not ASCII":     {ID: "ｘ"},
		"not UTF-8":     {ID: "\xff"},
		"far too long":  {ID: strings.Repeat("a", httpsyntax.MaxRequestID+1)},
	} {
		id, again := r.Identify(), r.Identify()
		if len(id) != 32 || strings.Trim(id, "0123456789abcdef") != "" || id != again {
			t.Errorf("%s: %q, then %q", name, id, again)
		}
	}
	if a, b := (&Request{}).Identify(), (&Request{}).Identify(); a == b {
		t.Errorf("two requests are both %s", a)
	}
}
