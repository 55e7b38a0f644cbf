package e2e

import (
	"os"
	"strings"
	"testing"
)

func TestEveryPlaceholderIsDocumented(t *testing.T) {
	text, err := os.ReadFile("../docs/testing.md")
	if err != nil {
		t.Fatal(err)
	}
	for name := range shared.credentials(t).ValuesAt("gateway.test") {
		if person, isMail := strings.CutSuffix(name, ".email"); isMail {
			name = person
		}
		if !strings.Contains(string(text), "`"+name+"`") {
			t.Errorf("docs/testing.md does not say what ${%s} is", name)
		}
	}
}
