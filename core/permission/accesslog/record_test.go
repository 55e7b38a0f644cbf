package accesslog

import "testing"

func TestAuditRecordIsReadByThePathOnWhichWasDecided(t *testing.T) {
	for line, want := range map[string]string{
		`{"decision":"allow","took_ms":1,"method":"GET","host":"h","path":"/a b%2Fc?","status":0,"caller":{"kind":"jwt","roles":["r"]}}`: `GET "/a%20b%2Fc%3F" on "h" by ["r"]`,
		`{"decision":"deny","took_ms":0.5,"method":"GET","path":"/a/[redacted]"}`:                                                        "a part of the path was secret, and is not on record",
		`{"decision":"deny","took_ms":0.5,"method":"GET"}`:                                                                               "the record has no path on which was decided",
		`{"decision":"maybe","took_ms":0.5,"method":"GET","path":"/a b"}`:                                                                `GET "/a b" on ""`,
	} {
		if got := read([]byte(line), "caller.roles"); got != want {
			t.Errorf("%s: %s, want %s", line, got, want)
		}
	}
}
