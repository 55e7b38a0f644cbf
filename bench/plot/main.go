// Command plot draws benchmark results: go test -bench output comes in on
// standard input, an SVG goes to the file named on the command line.
package main

import (
	"bufio"
	"fmt"
	"image/color"
	"io"
	"os"
	"regexp"
	"slices"
	"strconv"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: go test -bench Match . | go run ./plot FILE.svg")
		os.Exit(2)
	}
	if err := draw(os.Stdin, os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "plot:", err)
		os.Exit(1)
	}
}

// line is one engine's answers to one kind of request.
type line struct{ engine, kind string }

var result = regexp.MustCompile(`^BenchmarkMatch/engine=([^/]+)/activities=(\d+)/case=(hit|miss)\S*\s+\d+\s+([0-9.]+) ns/op`)

// read takes the best of repeated results: what disturbs a measurement only
// ever makes it slower.
func read(r io.Reader) (map[line]map[float64]float64, error) {
	lines := map[line]map[float64]float64{}
	scanner := bufio.NewScanner(r)
	for scanner.Scan() {
		m := result.FindStringSubmatch(scanner.Text())
		if m == nil {
			continue
		}
		n, err := strconv.ParseFloat(m[2], 64)
		if err != nil {
			return nil, err
		}
		ns, err := strconv.ParseFloat(m[4], 64)
		if err != nil {
			return nil, err
		}
		l := line{m[1], m[3]}
		if lines[l] == nil {
			lines[l] = map[float64]float64{}
		}
		if before, ok := lines[l][n]; !ok || ns < before {
			lines[l][n] = ns
		}
	}
	if len(lines) == 0 {
		return nil, fmt.Errorf("no line of BenchmarkMatch on standard input")
	}
	return lines, scanner.Err()
}

// colors are from the palette of Okabe and Ito, which people with any kind of
// colour vision can tell apart.
var colors = map[string]color.Color{
	"gatehouse": color.RGBA{0, 114, 178, 255},
	"linear":    color.RGBA{230, 159, 0, 255},
	"casbin":    color.RGBA{204, 121, 167, 255},
	"postgres":  color.RGBA{0, 158, 115, 255},
}

func draw(r io.Reader, file string) error {
	lines, err := read(r)
	if err != nil {
		return err
	}
	p := plot.New()
	p.Title.Text = "One decision, by size of the table"
	p.X.Label.Text, p.Y.Label.Text = "activities", "nanoseconds"
	p.X.Scale, p.Y.Scale = plot.LogScale{}, plot.LogScale{}
	p.X.Tick.Marker, p.Y.Tick.Marker = plot.LogTicks{Prec: -1}, plot.LogTicks{Prec: -1}
	p.Legend.Top, p.Legend.Left = true, true
	p.BackgroundColor = color.White
	p.Add(plotter.NewGrid())
	var order []line
	for l := range lines {
		order = append(order, l)
	}
	slices.SortFunc(order, func(a, b line) int { return compare(lines[b], lines[a]) })
	for _, l := range order {
		if err := add(p, l, lines[l]); err != nil {
			return err
		}
	}
	return p.Save(18*vg.Centimeter, 12*vg.Centimeter, file)
}

// compare orders lines by how long their largest table takes.
func compare(a, b map[float64]float64) int {
	largest := func(m map[float64]float64) float64 {
		n := 0.0
		for k := range m {
			n = max(n, k)
		}
		return m[n]
	}
	switch x, y := largest(a), largest(b); {
	case x < y:
		return -1
	case x > y:
		return 1
	}
	return 0
}

func add(p *plot.Plot, l line, results map[float64]float64) error {
	var points plotter.XYs
	for n, ns := range results {
		points = append(points, plotter.XY{X: n, Y: ns})
	}
	slices.SortFunc(points, func(a, b plotter.XY) int { return int(a.X - b.X) })
	drawn, marks, err := plotter.NewLinePoints(points)
	if err != nil {
		return err
	}
	c, known := colors[l.engine]
	if !known {
		c = color.Black
	}
	drawn.Color, marks.Color, drawn.Width = c, c, vg.Points(1.5)
	if l.kind == "miss" {
		drawn.Dashes = []vg.Length{vg.Points(4), vg.Points(3)}
	}
	p.Add(drawn, marks)
	p.Legend.Add(l.engine+", "+l.kind, drawn, marks)
	return nil
}
