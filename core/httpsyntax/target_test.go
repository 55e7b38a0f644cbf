package httpsyntax

import "testing"

// A target in absolute form is its path where it names the host of the Host header,
// and otherwise stays what it is, which no path is.
func TestTargetInAbsoluteFormIsThatOfTheHost(t *testing.T) {
	for _, c := range []struct{ target, host, want string }{
		{"http://app.test/users?q=a://b", "app.test", "/users?q=a://b"},
		{"HTTP://APP.test/users", "app.TEST", "/users"},
		{"https://app.test/users", "app.test", "/users"},
		{"http://app.test:80/users", "app.test", "/users"},
		{"http://app.test/users", "app.test:80", "/users"},
		{"https://app.test:443/users", "app.test", "/users"},
		{"http://app.test:8000/users", "app.test:8000", "/users"},
		{"http://[::1]:8000/users", "[::1]:8000", "/users"},
		{"http://app.test", "app.test", "/"},
		{"http://app.test//users/..", "app.test", "//users/.."},
		{"/users?to=http://app.test/", "app.test", "/users?to=http://app.test/"},
		{"/http://app.test/users", "app.test", "/http://app.test/users"},
	} {
		if got := OriginForm(c.target, c.host); got != c.want {
			t.Errorf("%s with Host %s: %s, want %s", c.target, c.host, got, c.want)
		}
	}
}

func TestTargetThatNamesAnotherAuthorityHasNoOriginForm(t *testing.T) {
	for _, c := range []struct{ target, host string }{
		{"http://evil.test/users", "app.test"},
		{"http://app.test:8000/users", "app.test"},
		{"http://app.test/users", "app.test:8000"},
		{"https://app.test:80/users", "app.test"},
		{"http://app.test:443/users", "app.test"},
		{"http://app.test./users", "app.test"},
		{"http://app.test:/users", "app.test"},
		{"http://ada@app.test/users", "app.test"},
		{"http://ada@app.test/users", "ada@app.test"},
		{"http://app.test\\@evil.test/users", "app.test"},
		{"http://app.test?x", "app.test"},
		{"http://app.test#x", "app.test"},
		{"http:///users", ""},
		{"http://:80/users", ""},
		{"http:/users", "app.test"},
		{"http:app.test/users", "app.test"},
		{"ftp://app.test/users", "app.test"},
		{"ws://app.test/users", "app.test"},
		{"://app.test/users", "app.test"},
		{"http://app.test/users", ""},
		{"app.test:80", "app.test"},
		{"app.test", "app.test"},
		{"*", "app.test"},
		{"", ""},
	} {
		got := OriginForm(c.target, c.host)
		if got != c.target {
			t.Errorf("%s with Host %s: %s", c.target, c.host, got)
		}
		if path, err := Canonical(got, PathOptions{}); err == nil {
			t.Errorf("%s with Host %s has the path %s", c.target, c.host, path)
		}
	}
}
