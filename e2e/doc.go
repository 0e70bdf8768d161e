// Package e2e tests the whole: the built programs on the real kernel, in
// network namespaces of their own, and the page in a real browser.
package e2e
