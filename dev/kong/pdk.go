package kong

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"

	"gatehouse/dev/child"
	"gatehouse/dev/front"
	"gatehouse/dev/kong/wire"
)

// callPDK runs one call of the plugin development kit. An error ends the event
// and becomes a 500, as a Lua error does in Kong.
func (x *exchange) callPDK(method string, args []byte) ([]byte, error) {
	call, ok := pdk[method]
	if !ok {
		return nil, fmt.Errorf("method %q not found, or not supported by the local gateway", method)
	}
	reply, err := call(x, args)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", method, err)
	}
	return reply, nil
}

type pdkCall func(x *exchange, args []byte) ([]byte, error)

// pdk are the calls that the local gateway knows, by the names on the wire.
var pdk = pdkTable()

func text(value func(*exchange) string) pdkCall {
	return func(x *exchange, _ []byte) ([]byte, error) { return wire.EncodeString(value(x)), nil }
}

func number(value func(*exchange) int) pdkCall {
	return func(x *exchange, _ []byte) ([]byte, error) { return wire.EncodeInt(int32(value(x))), nil }
}

// lookupText responds to a String with a String.
func lookupText(value func(x *exchange, name string) (string, error)) pdkCall {
	return func(x *exchange, args []byte) ([]byte, error) {
		name, err := wire.DecodeString(args)
		if err != nil {
			return nil, err
		}
		found, err := value(x, name)
		return wire.EncodeString(found), err
	}
}

// setKV takes a name and a value and returns nothing.
func setKV(set func(x *exchange, name string, value any) error) pdkCall {
	return func(x *exchange, args []byte) ([]byte, error) {
		name, value, err := wire.DecodeKV(args)
		if err != nil {
			return nil, err
		}
		return nil, set(x, name, value)
	}
}

func setTable(set func(x *exchange, table map[string]any) error) pdkCall {
	return func(x *exchange, args []byte) ([]byte, error) {
		table, err := wire.DecodeStruct(args)
		if err != nil {
			return nil, err
		}
		return nil, set(x, table)
	}
}

// getKV responds to a name with a value of a table.
func getKV(table func(*exchange) map[string]any) pdkCall {
	return func(x *exchange, args []byte) ([]byte, error) {
		name, err := wire.DecodeString(args)
		return wire.EncodeValue(table(x)[name]), err
	}
}

func logAt(level slog.Level) pdkCall {
	return func(x *exchange, args []byte) ([]byte, error) {
		parts, err := wire.DecodeList(args)
		if err != nil {
			return nil, err
		}
		var line strings.Builder
		for _, part := range parts {
			fmt.Fprint(&line, part)
		}
		message, attributes := child.Message(line.String())
		x.gateway.log.Log(context.Background(), level, "["+x.gateway.plugin.Name+"] "+message, append(attributes, "request_id", x.req.ID)...)
		return nil, nil
	}
}

// headersMap are the first lines as Lua sees them: names in lower case, one
// value or a list.
func headersMap(h front.Headers, limit int) map[string]any {
	out := map[string]any{}
	for _, f := range h[:min(limit, len(h))] {
		name := strings.ToLower(f.Name)
		switch before := out[name].(type) {
		case nil:
			out[name] = f.Value
		case []any:
			out[name] = append(before, f.Value)
		default:
			out[name] = []any{before, f.Value}
		}
	}
	return out
}

const maxHeadersLimit = 1000

func getHeaders(x *exchange, args []byte) ([]byte, error) {
	limit, err := wire.DecodeInt(args)
	switch {
	case err != nil:
		return nil, err
	case limit < 1:
		return nil, fmt.Errorf("max_headers must be >= 1")
	case limit > maxHeadersLimit:
		return nil, fmt.Errorf("max_headers must be <= %d", maxHeadersLimit)
	}
	return wire.EncodeStruct(headersMap(x.headers, int(limit))), nil
}

// getHeader finds a header the way an nginx variable does: "-" and "_" are the
// same. Where several values are joined, it takes the first of the exact name.
func getHeader(x *exchange, name string) (string, error) {
	variable := strings.ToLower(strings.ReplaceAll(name, "-", "_"))
	joined := strings.Join(valuesByVariable(x.headers, variable), variableSeparator(variable))
	if !strings.Contains(joined, ", ") {
		return joined, nil
	}
	table := headersMap(x.headers, defaultMaxHeaders)
	value, ok := table[strings.ToLower(name)]
	if !ok {
		value = table[strings.ReplaceAll(strings.ToLower(name), "_", "-")]
	}
	switch value := value.(type) {
	case string:
		return value, nil
	case []any:
		return value[0].(string), nil
	}
	return "", nil
}

// headerValues checks a value as Kong's validate_header does. An empty text
// becomes a space, which is how Kong sends it empty.
func headerValues(name string, value any) ([]string, error) {
	switch value := value.(type) {
	case string:
		if value == "" {
			value = " "
		}
		return []string{value}, nil
	case float64:
		return []string{strconv.FormatFloat(value, 'g', 14, 64)}, nil
	case bool:
		return []string{strconv.FormatBool(value)}, nil
	case map[string]any:
		if len(value) == 0 {
			return nil, nil
		}
	case []any:
		return headerList(name, value)
	}
	return nil, fmt.Errorf("invalid header value for %q: expected array of string, string, number or boolean", name)
}

func headerList(name string, list []any) ([]string, error) {
	var values []string
	for _, item := range list {
		text, ok := item.(string)
		if !ok {
			return nil, fmt.Errorf("invalid header value in array %q: expected string", name)
		}
		if text == "" {
			text = " "
		}
		values = append(values, text)
	}
	return values, nil
}

func setRequestHeader(x *exchange, name string, value any) error {
	values, err := headerValues(name, value)
	if err != nil {
		return err
	}
	if strings.EqualFold(name, "host") && len(values) > 0 {
		x.upstreamHost = values[0]
	}
	x.headers.Set(name, values...)
	return nil
}

func addRequestHeader(x *exchange, name string, value any) error {
	values, err := headerValues(name, value)
	if err != nil {
		return err
	}
	for _, v := range values {
		x.headers.Add(name, v)
	}
	return nil
}

func setRequestHeaders(x *exchange, table map[string]any) error {
	return eachHeader(table, func(name string, value any) error { return setRequestHeader(x, name, value) })
}

// eachHeader checks all values before it applies any, as Kong does.
func eachHeader(table map[string]any, apply func(string, any) error) error {
	names := make([]string, 0, len(table))
	for name, value := range table {
		if _, err := headerValues(name, value); err != nil {
			return err
		}
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		if err := apply(name, table[name]); err != nil {
			return err
		}
	}
	return nil
}

// setResponseHeader keeps a line for whatever response there will be. nginx
// writes "_" in response names as "-".
func setResponseHeader(x *exchange, name string, value any) error {
	values, err := headerValues(name, value)
	if err != nil {
		return err
	}
	name = strings.ReplaceAll(name, "_", "-")
	if strings.EqualFold(name, "Transfer-Encoding") {
		x.gateway.log.Warn("manually setting Transfer-Encoding. Ignored.", "request_id", x.req.ID)
		return nil
	}
	x.response.Set(name, values...)
	return nil
}

func setResponseHeaders(x *exchange, table map[string]any) error {
	return eachHeader(table, func(name string, value any) error { return setResponseHeader(x, name, value) })
}

// exit makes the plugin's response.
func exit(x *exchange, args []byte) ([]byte, error) {
	e, err := wire.DecodeExit(args)
	if err != nil {
		return nil, err
	}
	if e.Status < 100 || e.Status > 599 {
		return nil, fmt.Errorf("code must be a number between 100 and 599")
	}
	if err := setResponseHeaders(x, e.Headers); err != nil {
		return nil, err
	}
	header := front.Headers{{Name: "Date", Value: front.HTTPDate(x.gateway.now())}}
	if typ, ok := x.response.Get("Content-Type"); ok {
		header.Add("Content-Type", typ)
		x.response.Clear("Content-Type")
	}
	x.response.Clear("Connection")
	header.Add("Connection", "") // the place; the front writes the value
	header = append(header, x.response...)
	x.exit = x.gateway.finish(x.req, &front.OwnResponse{Status: int(e.Status), Header: header, Body: e.Body})
	return nil, errExited
}

// authenticate keeps both messages for get_consumer and get_credential.
func authenticate(x *exchange, args []byte) ([]byte, error) {
	consumer, credential, err := wire.DecodeAuthenticate(args)
	if err == nil && consumer == nil && credential == nil {
		err = fmt.Errorf("either credential or consumer must be provided")
	}
	x.consumer, x.credential = consumer, credential
	return nil, err
}

// protocolCall responds to client.get_protocol.
func protocolCall(x *exchange, _ []byte) ([]byte, error) {
	if protocols := x.match.route.protocols; len(protocols) == 1 {
		return wire.EncodeString(protocols[0]), nil
	}
	return wire.EncodeString(x.req.Scheme()), nil
}
