package idp

import (
	"errors"
	"net/url"
)

// ParseURL reads the address of a provider: absolute, http or https, without
// user information (which logs and error messages would spread) and without a
// fragment. Its errors do not repeat the text.
func ParseURL(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	switch {
	case text == "":
		return nil, errors.New("is empty")
	case err != nil:
		return nil, errors.New("is not a URL")
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, errors.New("is not an absolute http or https URL")
	case u.Host == "" || u.Hostname() == "":
		return nil, errors.New("names no host")
	case u.User != nil:
		return nil, errors.New("holds a user name or a password; give credentials in their own setting")
	case u.Fragment != "":
		return nil, errors.New("has a fragment")
	}
	return u, nil
}

// Name is a URL as errors and logs may show it: without user information and
// query, both of which can hold secrets.
func Name(u *url.URL) string {
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
}
