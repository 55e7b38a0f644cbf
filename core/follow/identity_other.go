//go:build !unix

package follow

import "io/fs"

func identity(fs.FileInfo) string { return "" }
