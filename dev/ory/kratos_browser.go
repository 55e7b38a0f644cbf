package ory

import (
	"context"
	"net/http"
	"net/url"
)

// What a site needs that shows Kratos' flows to a browser. Kratos ties a flow to
// the browser's cookies, so the site hands these on.

// FlowURL is where a browser starts a flow: "login", "registration" or
// "settings". The query may have return_to, refresh and aal.
func (k KratosAPI) FlowURL(kind string, query url.Values) string {
	u := k.PublicURL + "/self-service/" + kind + "/browser"
	if len(query) > 0 {
		u += "?" + query.Encode()
	}
	return u
}

// Flow returns a started flow. Cookies is the Cookie header of the browser.
func (k KratosAPI) Flow(ctx context.Context, kind, id, cookies string) (f Flow, err error) {
	return f, k.getAsBrowser(ctx, "/self-service/"+kind+"/flows?"+url.Values{"id": {id}}.Encode(), cookies, &f)
}

// LogoutURL is where the browser with these cookies signs out.
func (k KratosAPI) LogoutURL(ctx context.Context, cookies string) (string, error) {
	var out struct {
		URL string `json:"logout_url"`
	}
	err := k.getAsBrowser(ctx, "/self-service/logout/browser", cookies, &out)
	return out.URL, err
}

// FlowError is what went wrong in a flow, for the person to read.
type FlowError struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
	Reason  string `json:"reason"`
}

// FlowError returns the error with which Kratos sends a browser to the site's
// error page.
func (k KratosAPI) FlowError(ctx context.Context, id string) (FlowError, error) {
	var out struct {
		Error FlowError `json:"error"`
	}
	err := k.getAsBrowser(ctx, "/self-service/errors?"+url.Values{"id": {id}}.Encode(), "", &out)
	return out.Error, err
}

func (k KratosAPI) getAsBrowser(ctx context.Context, path, cookies string, out any) error {
	req, err := jsonRequest(ctx, http.MethodGet, k.PublicURL+path, nil)
	if err != nil {
		return err
	}
	if cookies != "" {
		req.Header.Set("Cookie", cookies)
	}
	return call(plainClient, req, out)
}
