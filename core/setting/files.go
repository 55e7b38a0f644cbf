package setting

import (
	"reflect"
	"slices"
	"strings"
)

// Files are the paths that a struct of settings names: values of fields with the tag
// file, and of secrets that are references to files.
func Files(settings any) []string {
	var paths []string
	filesIn(reflect.ValueOf(settings), false, &paths)
	slices.Sort(paths)
	return slices.Compact(paths)
}

func filesIn(v reflect.Value, isPath bool, paths *[]string) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			filesIn(v.Elem(), isPath, paths)
		}
	case reflect.Slice:
		for i := range v.Len() {
			filesIn(v.Index(i), isPath, paths)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			filesIn(v.Field(i), v.Type().Field(i).Tag.Get("file") == "true", paths)
		}
	case reflect.String:
		if secret, ok := v.Interface().(Secret); ok {
			if path, isFile := strings.CutPrefix(string(secret), fileReference); isFile {
				*paths = append(*paths, path)
			}
		} else if isPath && v.String() != "" {
			*paths = append(*paths, v.String())
		}
	}
}
