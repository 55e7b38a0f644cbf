package condition

import (
	"testing"

	"gatehouse/core"
	"gatehouse/core/permission/pattern"
)

// A caller without a credential has no claims.
func TestConditionThatNoCallerWithoutClaimsMeets(t *testing.T) {
	path, err := pattern.ParsePath("/(?P<id>.*)")
	if err != nil {
		t.Fatal(err)
	}
	held := map[string]bool{}
	for text, asks := range map[string]bool{
		"claims.sub == 'a'":                                   true,
		"claims['sub'] == 'a'":                                true,
		"raw.sub == 'a'":                                      true,
		"!(claims.sub == 'a')":                                true,
		"claims.sub != 'a'":                                   true,
		"claims.a.b == 'c'":                                   true,
		"claims.sub == path.id":                               true,
		"path.id in claims.list":                              true,
		"claims.list.exists(x, x == 'a')":                     true,
		"claims.list.all(x, x == 'a')":                        true,
		"size(claims.list) == 0":                              true,
		"string(claims.sub).startsWith('a')":                  true,
		"claims.sub in ['a', 'b']":                            true,
		"'a' in [claims.sub]":                                 true,
		"has(claims.sub) && claims.sub == 'a'":                true,
		"method == 'GET' && claims.sub == 'a'":                true,
		"claims.a == 'x' || claims.b == 'x'":                  true,
		"claims.a == 'x' ? true : true":                       true,
		"method == 'GET' ? claims.a == 'x' : claims.b == 'y'": true,

		"has(claims.sub)":                                       false,
		"!has(claims.sub)":                                      false,
		"has(claims.kind)":                                      false,
		"'sub' in claims":                                       false,
		"!('sub' in claims)":                                    false,
		"!has(claims.sub) || claims.sub == 'a'":                 false,
		"claims.a == 'x' || method == 'GET'":                    false,
		"method == 'GET' ? true : claims.b == 'y'":              false,
		"method == 'GET'":                                       false,
		"path.id == 'x'":                                        false,
		"headers['x-a'] == 'b'":                                 false,
		"['a'].exists(x, x == method)":                          false,
		"has(claims.sub) ? claims.sub == 'a' : method == 'GET'": false,
	} {
		c, problems := Compile(text, path)
		if len(problems) > 0 {
			t.Fatalf("%s: %v", text, problems)
		}
		if c.AsksOfCaller() != asks {
			t.Errorf("%s asks of the caller: %t", text, !asks)
		}
		for _, method := range []string{"GET", "POST"} {
			for _, path := range []string{"/x", "/a"} {
				r := &core.Request{Method: method, Target: path, Header: []core.Header{{Name: "X-A", Value: "b"}}}
				if c.Holds(&core.Call{Request: r, Path: path}, &core.Principal{}) == nil {
					held[text] = true
				}
			}
		}
		if asks && held[text] {
			t.Errorf("%s holds without claims", text)
		}
	}
	for _, text := range []string{"!has(claims.sub)", "!has(claims.sub) || claims.sub == 'a'", "claims.a == 'x' || method == 'GET'", "has(claims.sub) ? claims.sub == 'a' : method == 'GET'", "!('sub' in claims)"} {
		if !held[text] {
			t.Errorf("%s never holds without claims", text)
		}
	}
}
