package httpsyntax

import "testing"

func TestMediaTypeIsWholeAndWellFormed(t *testing.T) {
	for text, is := range map[string]bool{
		"application/json": true, "Application/JSON": true, "application/json; charset=utf-8": true,
		"": false, "application": false, "application/jsonp": false, "text/json": false, "application/json;;": false, "application/json, text/html": false,
	} {
		if IsMediaType(text, "application/json") != is {
			t.Errorf("%q: want %v", text, is)
		}
	}
}
