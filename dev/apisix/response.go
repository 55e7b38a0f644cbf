package apisix

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"gatehouse/dev/front"
)

// serverHeader is the version whose behaviour this package has.
const serverHeader = "APISIX/3.18.0"

// response makes a response without an upstream, as nginx and APISIX write it:
// a reply without body and of status 300 or above becomes one of nginx's pages.
func (x *exchange) response(rep *reply) *front.OwnResponse { return x.finish(rep, x.respHeader) }

func (x *exchange) finish(rep *reply, header front.Headers) *front.OwnResponse {
	body, page := rep.body, len(rep.body) == 0 && rep.status >= 300
	if page {
		body = errorPage(rep.status)
		header.Clear("Content-Length")
		header.Set("Content-Type", "text/html")
	} else if !header.Has("Content-Type") {
		header.Set("Content-Type", "text/plain")
	}
	head := &responseHead{status: rep.status, header: &header}
	header.Set("Server", serverHeader)
	x.filterHead(head)

	a := &front.OwnResponse{Status: head.status, Reason: reason(head.status), Body: body}
	a.Header = x.leadingLines(&header)
	switch length, ok := header.Get("Content-Length"); {
	case ok:
		header.Clear("Content-Length")
		setLength(a, length)
	case page:
		a.Header.Add("Content-Length", strconv.Itoa(len(body)))
	default:
		a.Header.Add("Transfer-Encoding", "chunked")
	}
	a.Header = append(a.Header, header...)
	return a
}

// leadingLines takes the lines that nginx writes first out of header, and those
// that a plugin cannot set.
func (x *exchange) leadingLines(header *front.Headers) front.Headers {
	lines := front.Headers{{Name: "Date", Value: front.HTTPDate(x.gateway.now())}}
	if kind, ok := header.Get("Content-Type"); ok {
		lines.Add("Content-Type", withCharset(kind))
	}
	for _, name := range []string{"Date", "Content-Type", "Connection", "Keep-Alive", "Transfer-Encoding"} {
		header.Clear(name)
	}
	return lines
}

// setLength applies a Content-Length that a plugin set: the client reads that
// many bytes, however long the body is.
func setLength(a *front.OwnResponse, length string) {
	n, err := strconv.Atoi(length)
	if err != nil || n < 0 {
		a.Header.Add("Transfer-Encoding", "chunked")
		return
	}
	a.Header.Add("Content-Length", length)
	a.Close = n != len(a.Body)
	a.Body = a.Body[:min(n, len(a.Body))]
}

// finishResponse is APISIX's header filter on a response of the upstream.
func (x *exchange) finishResponse(r *front.Response) {
	r.Header = slices.DeleteFunc(r.Header, hiddenByNginx)
	x.keepHead(r)
	header := slices.Concat(x.respHeader, r.Header)
	if kind, ok := header.Get("Content-Type"); ok {
		header.Set("Content-Type", withCharset(kind))
	}
	header.Set("Server", serverHeader)
	if r.Status >= 500 {
		header.Set("X-APISIX-Upstream-Status", strconv.Itoa(r.Status))
	}
	head := &responseHead{status: r.Status, header: &header}
	x.filterHead(head)
	if head.status != r.Status {
		r.Status, r.Reason = head.status, reason(head.status)
	}
	r.Header = header
}

// hiddenByNginx are response lines that proxy_pass does not pass on.
func hiddenByNginx(f front.Field) bool {
	name := strings.ToLower(f.Name)
	return name == "server" || name == "x-pad" || strings.HasPrefix(name, "x-accel-")
}

// upstreamFailed is the response for an upstream that could not be reached or broke off.
func (x *exchange) upstreamFailed(status int, err error) *front.OwnResponse {
	x.log.Error("upstream failed", "route", x.route.id, "status", status, "error", err)
	header := x.respHeader
	header.Set("X-APISIX-Upstream-Status", strconv.Itoa(status))
	return x.finish(&reply{status: status}, header)
}

// withCharset is nginx's "charset utf-8" for the types it covers.
func withCharset(kind string) string {
	if strings.Contains(kind, ";") || !slices.Contains(charsetTypes, strings.ToLower(kind)) {
		return kind
	}
	return kind + "; charset=utf-8"
}

var charsetTypes = []string{"text/html", "text/xml", "text/plain", "text/vnd.wap.wml", "application/javascript", "application/rss+xml"}

// refuse renders what nginx refuses before APISIX sees it.
func (g *Gateway) refuse(_ *front.Request, why *front.Refusal) *front.OwnResponse {
	return &front.OwnResponse{
		Status: why.Status, Reason: reason(why.Status), Body: refusalPage(why),
		Header: front.Headers{
			{Name: "Server", Value: "openresty"},
			{Name: "Date", Value: front.HTTPDate(g.now())},
			{Name: "Content-Type", Value: "text/html; charset=utf-8"},
		},
	}
}

func refusalPage(why *front.Refusal) []byte {
	if why.HeaderTooLarge {
		return page("400 Request Header Or Cookie Too Large", "<center>Request Header Or Cookie Too Large</center>\r\n")
	}
	return errorPage(why.Status)
}

// reasons are nginx's status lines where they differ from the registered ones.
var reasons = map[int]string{
	302: "Moved Temporarily", 405: "Not Allowed", 408: "Request Time-out", 414: "Request-URI Too Large",
	416: "Requested Range Not Satisfiable", 503: "Service Temporarily Unavailable", 504: "Gateway Time-out",
}

func reason(status int) string {
	if text, ok := reasons[status]; ok {
		return text
	}
	return http.StatusText(status)
}

// errorPage is nginx's page for a status, or nothing where it has none.
func errorPage(status int) []byte {
	title := reason(status)
	if status == 302 {
		title = "Found"
	}
	hasPage := status >= 301 && status <= 303 || status == 307 || status == 308 ||
		status >= 400 && status <= 416 && status != 407 || status == 421 || status == 429 ||
		status >= 500 && status <= 507 && status != 506
	if !hasPage {
		return nil
	}
	return page(fmt.Sprintf("%d %s", status, title), "")
}

func page(title, more string) []byte {
	heading := title
	if more != "" {
		heading = "400 Bad Request"
	}
	return fmt.Appendf(nil, "<html>\r\n<head><title>%s</title></head>\r\n<body>\r\n<center><h1>%s</h1></center>\r\n%s"+
		"<hr><center>openresty</center>\r\n<p><em>Powered by <a href=\"https://apisix.apache.org/\">APISIX</a>.</em></p></body>\r\n</html>\r\n",
		title, heading, more)
}
