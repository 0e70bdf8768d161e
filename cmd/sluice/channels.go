package main

import (
	"maps"
	"sync"

	"sluice/guest"
	"sluice/monitor"
)

// channels are the collectors that sources of names found by themselves.
type channels struct {
	sources []func() map[string]string // paths of sockets, by the VM's UUID; the last one counts

	mu      sync.Mutex
	clients map[string]*guest.Client // by path
}

func newChannels(sources ...func() map[string]string) *channels {
	return &channels{sources: sources, clients: make(map[string]*guest.Client)}
}

// with are those that the settings file says how to reach, and of other VMs
// those that were found.
func (c *channels) with(configured map[string]monitor.Guest) map[string]monitor.Guest {
	all := maps.Clone(configured)
	c.mu.Lock()
	defer c.mu.Unlock()
	there, found := make(map[string]bool), make(map[string]string)
	for _, source := range c.sources {
		maps.Copy(found, source())
	}
	for uuid, path := range found {
		there[path] = true
		if all[uuid] != nil {
			continue
		}
		client := c.clients[path]
		if client == nil {
			var err error
			if client, err = guest.NewClient("unix:" + path); err != nil {
				continue // a path that is none
			}
			c.clients[path] = client
		}
		all[uuid] = client
	}
	for path, client := range c.clients {
		if !there[path] {
			client.Close()
			delete(c.clients, path)
		}
	}
	return all
}
