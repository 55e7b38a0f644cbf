package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"gatehouse/dev/demo/browsertest"
)

// matrixPage writes the HTML page of gatehouse matrix for a table with that many
// roles and long paths.
func matrixPage(t *testing.T, roles int) string {
	t.Helper()
	var table strings.Builder
	table.WriteString("permissions:\n  orders:read:\n    description: Read the orders of every customer of the region, and their history\n" +
		"    activities:\n      - GET,HEAD,OPTIONS /api/v1/orders/[^/?#]+/(history|comments|attachments)/[0-9a-f-]+\nroles:\n")
	for i := range roles {
		fmt.Fprintf(&table, "  regional-team-%02d: [orders:read]\n", i)
	}
	dir := t.TempDir()
	file, page := filepath.Join(dir, "permissions.yaml"), filepath.Join(dir, "matrix.html")
	if err := os.WriteFile(file, []byte(table.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	command := exec.Command("go", "run", "-C", "..", "./cmd/gatehouse", "matrix", "--table", file, "--output", "html")
	command.Stderr = os.Stderr
	html, err := command.Output()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(page, html, 0o600); err != nil {
		t.Fatal(err)
	}
	return "file://" + page
}

const (
	firstColumn = "thead th:nth-child(2)"
	lastColumn  = "thead th:last-child"
	lastCell    = "tbody tr:last-child td:last-child"
	activities  = "tbody tr:last-child th"
)

func TestMatrixInPrintShowsEveryColumn(t *testing.T) {
	const paper = 1047 // A4, landscape, less its margins
	b := browsertest.New(t)
	for _, roles := range []int{3, 20, 60} {
		b.Open(matrixPage(t, roles))
		b.Show("print", paper, 718)
		for _, part := range []string{lastColumn, lastCell} {
			if left, right := b.Span(part); right > paper || right-left < 5 {
				t.Errorf("%d roles: %s reaches from %.0f to %.0f of %d pixels", roles, part, left, right, paper)
			}
		}
		b.Screenshot(fmt.Sprintf("e2e-matrix-print-%d", roles))
	}
}

// TestMatrixOnANarrowScreenShowsColumns: the activities stay at the left and leave
// room for the columns, which scroll.
func TestMatrixOnANarrowScreenShowsColumns(t *testing.T) {
	const screen = 400
	b := browsertest.New(t)
	b.Open(matrixPage(t, 20))
	b.Show("screen", screen, 800)
	if _, right := b.Span(activities); right > 0.6*screen {
		t.Errorf("the activities reach to %.0f of %d pixels", right, screen)
	}
	if _, right := b.Span(firstColumn); right > 0.8*screen {
		t.Errorf("the first column reaches to %.0f of %d pixels", right, screen)
	}
	b.Screenshot("e2e-matrix-narrow")
}
