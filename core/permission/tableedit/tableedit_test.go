package tableedit

import (
	"strings"
	"testing"

	"gatehouse/core/permission"
	"gatehouse/core/permission/report"
	"gatehouse/core/permission/tablefile"
)

const table = `# The shop.
permissions:
  # Who may look.
  orders:read:
    description: Look at orders.
    activities:
      - GET /orders
      # One of them.
      - GET,HEAD /orders/[0-9]+  # by number
      - {methods: [GET, POST], path: "/orders/[^/?#]+/x"}
  # Nobody does.
  orders:write:
    activities:
      - methods:
          - ANY
        path: /orders/.*
        require:
          aal: aal2
roles:
  clerk: [orders:read, "orders:write"]  # both
  boss:
    - orders:write
    - role:clerk
scopes:
  o:
    - orders:write
  p: [orders:write]
public:
  - GET /healthz
`

// at is where a text begins in the table.
func at(t *testing.T, text string) report.Place {
	t.Helper()
	before, _, found := strings.Cut(table, text)
	if !found || strings.Count(table, text) != 1 {
		t.Fatalf("%q stands there %d times", text, strings.Count(table, text))
	}
	line := strings.Count(before, "\n")
	return report.Place{File: "t.yaml", Line: line + 1, Column: len(before) - strings.LastIndex(before, "\n")}
}

// What only stands beside calls of tools goes with the last of them.
func TestCallsOfToolsGoWithTheirEndpoint(t *testing.T) {
	const text = "# Weather.\npermissions:\n  p:\n    # All.\n    mcp:\n      - {endpoint: /mcp, tools: [a, b], require: {aal: aal2}}\n      - endpoint: /mcp\n        # Gone.\n        tools: [c]\n        hosts: [h.test]\nauthenticated:\n  - mcp: {endpoint: /mcp, methods: [x]}\n  - GET /me\n"
	const left = "# Weather.\npermissions:\n  p:\n    # All.\n    mcp:\n      - {endpoint: /mcp, tools: [b], require: {aal: aal2}}\nauthenticated:\n  - GET /me\n"
	want, err := tablefile.Parse("t.yaml", []byte(left))
	if err != nil {
		t.Fatal(err)
	}
	var removals []Removal
	for _, tool := range []string{"a, b", "c]", "x]"} {
		before, _, _ := strings.Cut(text, tool)
		removals = append(removals, Removal{At: report.Place{File: "t.yaml", Line: strings.Count(before, "\n") + 1, Column: len(before) - strings.LastIndex(before, "\n")}})
	}
	got, rewritten, err := Apply([]byte(text), removals, want)
	if err != nil || rewritten || string(got) != left {
		t.Errorf("%v, rewritten: %t\n%s", err, rewritten, got)
	}
}

func TestPartsGoAndCommentsOfOthersStay(t *testing.T) {
	for name, tt := range map[string]struct {
		removals []Removal
		old, new string // in the text
	}{
		"an activity":                    {[]Removal{{At: at(t, "GET /orders\n")}}, "      - GET /orders\n", ""},
		"an activity with its comment":   {[]Removal{{At: at(t, "GET,HEAD /orders")}}, "      # One of them.\n      - GET,HEAD /orders/[0-9]+  # by number\n", ""},
		"a flow mapping":                 {[]Removal{{At: at(t, "{methods: [GET, POST]")}}, "      - {methods: [GET, POST], path: \"/orders/[^/?#]+/x\"}\n", ""},
		"methods of the short form":      {[]Removal{{at(t, "GET,HEAD /orders"), []string{"GET"}}}, "GET,HEAD /orders", "GET /orders"},
		"methods of a flow mapping":      {[]Removal{{at(t, "{methods: [GET, POST]"), []string{"POST"}}}, "methods: [GET, POST]", "methods: [POST]"},
		"ANY of a block":                 {[]Removal{{at(t, "methods:\n"), []string{"GET", "PUT"}}}, "          - ANY\n", "          - GET\n          - PUT\n"},
		"a grant of a flow list":         {[]Removal{{At: at(t, `"orders:write"]`)}}, `[orders:read, "orders:write"]`, "[orders:read]"},
		"a role of a block":              {[]Removal{{At: at(t, "boss:")}}, "  boss:\n    - orders:write\n    - role:clerk\n", ""},
		"the only grant of a scope":      {[]Removal{{At: at(t, "orders:write\n  p")}}, "  o:\n    - orders:write\n", "  o: []\n"},
		"the only grant of another one":  {[]Removal{{At: at(t, "orders:write]\npublic")}}, "  p: [orders:write]\n", "  p: []\n"},
		"all of a list with its heading": {[]Removal{{At: at(t, "GET /healthz")}}, "public:\n  - GET /healthz\n", ""},
		"a permission and its grants": {[]Removal{{At: at(t, "orders:write:\n")}, {At: at(t, `"orders:write"]`)}, {At: at(t, "orders:write\n    - role")}, {At: at(t, "o:\n")}, {At: at(t, "p: [")}},
			table[strings.Index(table, "  # Nobody does."):strings.Index(table, "public:")], "roles:\n  clerk: [orders:read]  # both\n  boss:\n    - role:clerk\n"},
	} {
		want := strings.Replace(table, tt.old, tt.new, 1)
		if want == table {
			t.Fatalf("%s: %q is not there", name, tt.old)
		}
		got, err := edit([]byte(table), tt.removals)
		if err != nil || string(got) != want {
			t.Errorf("%s: %v\ngot\n%s\nwant\n%s", name, err, got, want)
		}
	}
}

// A file of an odd layout is written anew rather than wrongly.
func TestFileThatCannotBeEditedIsWrittenAnew(t *testing.T) {
	for name, text := range map[string]string{
		"a comment in a list":    "public: [GET /a,  # all\n  GET /b]\n",
		"line ends of Windows":   "public:\r\n  - GET /a\r\n  - GET /b\r\n",
		"a bracket in a comment": "public: [GET /a, GET /b # ]\n  ]\n",
		"an item below its dash": "public:\n  -\n    GET /a\n  - GET /b\n",
		"one line":               "{public: [GET /a, GET /b]}",
	} {
		f, err := tablefile.Parse("t.yaml", []byte(text))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		want := *f
		want.Public = []permission.Activity{f.Public[1]}
		got, _, err := Apply([]byte(text), []Removal{{At: f.Public[0].Place}}, &want)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if left, err := tablefile.Parse("t.yaml", got); err != nil || len(left.Public) != 1 || left.Public[0].Path != "/b" {
			t.Errorf("%s: %v\n%s", name, err, got)
		}
	}
}
