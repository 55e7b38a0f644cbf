package accesslog

import (
	"math"
	"strconv"
	"time"
)

// times are the forms in which logs write them: those of nginx and Apache, of HAProxy,
// and RFC 3339 with or without a zone's colon.
var times = []string{"02/Jan/2006:15:04:05 -0700", "02/Jan/2006:15:04:05.999", time.RFC3339Nano, "2006-01-02T15:04:05.999Z0700"}

// answered notes the time and the status of a line.
func (e *Entry) answered(at, status string) {
	for _, form := range times {
		if t, err := time.Parse(form, at); err == nil {
			e.Time = t
			break
		}
	}
	if n, err := strconv.Atoi(status); err == nil && n > 0 {
		e.Status = n
	}
}

// answeredIn notes them of JSON lines, or of the variables of a format.
func (e *Entry) answeredIn(fields map[string]any) {
	response, _ := fields["response"].(map[string]any)
	at := firstOf(fields, "@timestamp", "time", "ts", "timestamp", "time_iso8601", "time_local", "msec", "start_time", "started_at", "StartUTC")
	status := firstOf(fields, "status", "response_code", "DownstreamStatus")
	if status == nil {
		status = response["status"]
	}
	e.answered(asText(at), asText(status))
	if seconds, ok := asNumber(at); ok && e.Time.IsZero() {
		e.Time = unix(seconds)
	}
}

// unix reads the seconds since 1970, or as loggers of Kong and APISIX count,
// milliseconds.
func unix(n float64) time.Time {
	const tooLateForSeconds = 1e11 // the year 5138
	if n >= tooLateForSeconds {
		n /= 1000
	}
	if n <= 0 || n >= tooLateForSeconds {
		return time.Time{}
	}
	whole, part := math.Modf(n)
	return time.Unix(int64(whole), int64(part*1e9)).UTC()
}

// firstOf is the first of the fields that is there.
func firstOf(fields map[string]any, names ...string) any {
	for _, name := range names {
		if v := fields[name]; v != nil && v != "" && v != "-" {
			return v
		}
	}
	return nil
}

func asText(v any) string {
	if n, ok := v.(float64); ok && n == math.Trunc(n) && math.Abs(n) < 1e15 {
		return strconv.FormatInt(int64(n), 10)
	}
	text, _ := v.(string)
	return text
}

func asNumber(v any) (float64, bool) {
	if n, ok := v.(float64); ok {
		return n, true
	}
	n, err := strconv.ParseFloat(asText(v), 64)
	return n, err == nil
}
