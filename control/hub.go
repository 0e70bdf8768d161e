package control

import (
	"sync"

	"sluice"
	"sluice/broadcast"
)

// backlog is how many steps a subscriber may be behind.
const backlog = 256

// hub hands the steps of changes to whoever listens. It never blocks.
type hub struct {
	subscribers broadcast.Hub[sluice.Change]

	mu      sync.Mutex
	waiters map[uint64]chan sluice.Change // by the ID of the change whose end they wait for
}

func (h *hub) wait(id uint64) <-chan sluice.Change {
	ch := make(chan sluice.Change, 1)
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.waiters == nil {
		h.waiters = make(map[uint64]chan sluice.Change)
	}
	h.waiters[id] = ch
	return ch
}

func (h *hub) forget(id uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.waiters, id)
}

// answer gives a finished change to who waits for it.
func (h *hub) answer(c sluice.Change) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if ch := h.waiters[c.ID]; ch != nil && c.Result != sluice.Pending {
		ch <- c
		delete(h.waiters, c.ID)
	}
}

func (h *hub) publish(c sluice.Change) {
	h.answer(c) // finished by another writer of the store
	h.subscribers.Send(c)
}
