// Package web is the page: every vif's usage and limit, live, with the limit
// as a line that a person drags. It is TypeScript under src/, built by Vite
// into dist/ (make build) and embedded here. What is not built is not missed
// by go build: the page then says what to do.
package web

import (
	"embed"
	"io/fs"
)

//go:embed all:dist
var built embed.FS

//go:embed unbuilt
var unbuilt embed.FS

// Files returns the page's files, index.html first among them. Names under
// assets/ carry their content's hash. On a build without npm the only file is
// an index.html that says so.
func Files() fs.FS {
	if _, err := fs.Stat(built, "dist/index.html"); err != nil {
		return under(unbuilt, "unbuilt")
	}
	return under(built, "dist")
}

// under is a folder of what was embedded; its name is ours, and so valid.
func under(files embed.FS, folder string) fs.FS {
	sub, err := fs.Sub(files, folder)
	if err != nil {
		panic(err)
	}
	return sub
}
