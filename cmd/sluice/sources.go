package main

import (
	"context"
	"log/slog"

	"sluice/libvirt"
	"sluice/linux"
	"sluice/lxd"
)

// sockets are where to look for a daemon that the settings say something of.
func sockets(said string, usual []string) []string {
	switch said {
	case "":
		return usual
	case "none":
		return nil
	}
	return []string{said}
}

// source is a daemon that names VMs.
type source interface {
	linux.Namer
	Name() string
	Run(ctx context.Context)
	// Problem is why it does not answer; present says whether this host has it.
	Problem() (err error, present bool)
}

// sources are the daemons that may name VMs here.
func (s settings) sources(log *slog.Logger) (names *libvirt.Namer, all []source) {
	names = libvirt.New(sockets(s.Libvirt, libvirt.Sockets), log)
	all = append(all, names)
	for i, said := range []string{s.LXD, s.Incus} {
		d := lxd.Daemons[i]
		d.Sockets = sockets(said, d.Sockets)
		all = append(all, lxd.New(d, log))
	}
	return names, all
}
