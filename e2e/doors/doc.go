// Package doors measures what a decision costs at each door of Gatehouse that needs no
// real gateway, in one interleaved run: `make bench-doors`.
package doors
