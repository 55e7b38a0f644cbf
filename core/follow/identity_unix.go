//go:build unix && !linux

package follow

import (
	"fmt"
	"io/fs"
	"syscall"
)

// identity tells a file from another that was put in its place with the same size and
// time.
func identity(info fs.FileInfo) string {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return fmt.Sprint(stat.Dev, " ", stat.Ino)
	}
	return ""
}
