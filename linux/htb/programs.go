package htb

import (
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/rlimit"

	"sluice"
)

// The fields of struct __sk_buff that the programs read
// (include/uapi/linux/bpf.h).
const (
	skbLen            = 0
	skbIngressIfindex = 36
	skbIfindex        = 40
	skbData           = 76
	skbDataEnd        = 80
)

// line is a vif's in the map of a direction, by its ifindex.
type line struct {
	Class uint32 // of HTB
	Flags uint32
	// What went past the tree, as [Node].Local says.
	Bytes, Frames uint64
}

const (
	flagLocal  = 1
	sizeofLine = 24

	matched, unmatched = -1, 0 // answers of a classifier
)

// local is a key of the map of what is on this host: the MAC of a VM, or the
// ifindex of a vif's device.
type local [8]byte

// programs are what runs in the kernel for each packet, with their maps. The
// kernel keeps them while a filter uses them.
type programs struct {
	classes map[sluice.Direction]*ebpf.Map // lines by ifindex
	locals  *ebpf.Map
	choose  map[sluice.Direction]*ebpf.Program // chooses the class, on the IFB's HTB
	pass    map[sluice.Direction]*ebpf.Program // says whether a frame goes to the IFB, on a vif's hook

	mu  sync.Mutex
	ids map[ebpf.ProgramID]bool // whether a program found in the kernel does what ours does, with our maps
}

func mapName(d sluice.Direction) string { return "sluice_" + string(d) }

const localsName = "sluice_local"

// load makes the programs, with the maps that a daemon before left, if found
// has them by their names.
func load(found map[string]*ebpf.Map) (_ *programs, err error) {
	_ = rlimit.RemoveMemlock() // kernels before 5.11 count maps as locked memory
	p := &programs{classes: map[sluice.Direction]*ebpf.Map{}, choose: map[sluice.Direction]*ebpf.Program{},
		pass: map[sluice.Direction]*ebpf.Program{}, ids: map[ebpf.ProgramID]bool{}}
	defer func() {
		if err != nil {
			p.close()
			err = fmt.Errorf("loading the programs: %w", err)
		}
	}()
	const most = 1 << 16 // vifs
	hash := func(name string, key, value uint32) (*ebpf.Map, error) {
		if m := found[name]; m != nil && m.KeySize() == key && m.ValueSize() == value {
			return m, nil
		}
		return ebpf.NewMap(&ebpf.MapSpec{Name: name, Type: ebpf.Hash, KeySize: key, ValueSize: value, MaxEntries: most, Flags: noPrealloc})
	}
	if p.locals, err = hash(localsName, uint32(len(local{})), 4); err != nil {
		return nil, err
	}
	for _, d := range sluice.Directions {
		if p.classes[d], err = hash(mapName(d), 4, sizeofLine); err != nil {
			return nil, err
		}
		for into, code := range map[*map[sluice.Direction]*ebpf.Program]asm.Instructions{
			&p.choose: chooseClass(p.classes[d]),
			&p.pass:   passBy(d, p.classes[d], p.locals),
		} {
			program, err := ebpf.NewProgram(&ebpf.ProgramSpec{Name: "sluice_" + string(d), Type: ebpf.SchedCLS, License: "GPL", Instructions: code})
			if err != nil {
				return nil, err
			}
			(*into)[d] = program
		}
	}
	return p, nil
}

const noPrealloc = 1 // BPF_F_NO_PREALLOC

func (p *programs) close() {
	for _, d := range sluice.Directions {
		p.classes[d].Close()
		p.choose[d].Close()
		p.pass[d].Close()
	}
	p.locals.Close()
}

// chooseClass is the program on the IFB: the class of the device that the
// frame was on, which mirred left in skb->skb_iif.
func chooseClass(classes *ebpf.Map) asm.Instructions {
	code := lookUp(classes, asm.R1, skbIngressIfindex)
	return append(code,
		asm.JEq.Imm(asm.R0, 0, "out"),
		asm.LoadMem(asm.R0, asm.R0, 0, asm.Word),
		asm.Return().WithSymbol("out"),
	)
}

// lookUp leaves in R0 the line of the device that a field of the context
// names, or 0.
func lookUp(classes *ebpf.Map, context asm.Register, field int16) asm.Instructions {
	return asm.Instructions{
		asm.LoadMem(asm.R2, context, field, asm.Word),
		asm.StoreMem(asm.R10, -4, asm.R2, asm.Word),
		asm.Mov.Reg(asm.R2, asm.R10),
		asm.Add.Imm(asm.R2, -4),
		asm.LoadMapPtr(asm.R1, classes.FD()),
		asm.FnMapLookupElem.Call(),
	}
}

// passBy is the program on a vif's hook. A frame goes to the IFB unless the
// vif has no line, or only the link's capacity holds it back and the frame
// does not cross the link: one between two VMs of this host, or one that was
// flooded, which the link carried once and not once for each VM.
func passBy(d sluice.Direction, classes, locals *ebpf.Map) asm.Instructions {
	code := asm.Instructions{asm.Mov.Reg(asm.R6, asm.R1)}
	code = append(code, lookUp(classes, asm.R6, skbIfindex)...)
	code = append(code,
		asm.JEq.Imm(asm.R0, unmatched, "out"),
		asm.Mov.Reg(asm.R7, asm.R0),
		asm.LoadMem(asm.R1, asm.R7, 4, asm.Word),
		asm.And.Imm(asm.R1, flagLocal),
		asm.JEq.Imm(asm.R1, 0, "redirect"),
		// The receiver's MAC begins the frame.
		asm.LoadMem(asm.R2, asm.R6, skbData, asm.Word),
		asm.LoadMem(asm.R3, asm.R6, skbDataEnd, asm.Word),
		asm.Mov.Reg(asm.R4, asm.R2),
		asm.Add.Imm(asm.R4, 6),
		asm.JGT.Reg(asm.R4, asm.R3, "redirect"),
	)
	if d == sluice.Tx {
		code = append(code,
			asm.LoadMem(asm.R1, asm.R2, 0, asm.Word),
			asm.StoreMem(asm.R10, -8, asm.R1, asm.Word),
			asm.LoadMem(asm.R1, asm.R2, 4, asm.Half),
			asm.StoreMem(asm.R10, -4, asm.R1, asm.Word), // a half word loads as a whole one, zero above
		)
	} else {
		code = append(code,
			asm.LoadMem(asm.R1, asm.R2, 0, asm.Byte),
			asm.And.Imm(asm.R1, 1), // of a group address
			asm.JNE.Imm(asm.R1, 0, "past"),
			asm.LoadMem(asm.R1, asm.R6, skbIngressIfindex, asm.Word),
			asm.StoreMem(asm.R10, -8, asm.R1, asm.Word),
			asm.Mov.Imm(asm.R1, -1),
			asm.StoreMem(asm.R10, -4, asm.R1, asm.Word), // no MAC ends so
		)
	}
	return append(code,
		asm.Mov.Reg(asm.R2, asm.R10),
		asm.Add.Imm(asm.R2, -8),
		asm.LoadMapPtr(asm.R1, locals.FD()),
		asm.FnMapLookupElem.Call(),
		asm.JEq.Imm(asm.R0, 0, "redirect"),
		asm.LoadMem(asm.R1, asm.R6, skbLen, asm.Word).WithSymbol("past"),
		asm.AddAtomic.Mem(asm.R7, asm.R1, asm.DWord, 8),
		asm.Mov.Imm(asm.R1, 1),
		asm.AddAtomic.Mem(asm.R7, asm.R1, asm.DWord, 16),
		asm.Mov.Imm(asm.R0, unmatched),
		asm.Ja.Label("out"),
		asm.Mov.Imm(asm.R0, matched).WithSymbol("redirect"),
		asm.Return().WithSymbol("out"),
	)
}

// ours says whether a program in the kernel does what ours does, with our maps.
func (p *programs) ours(id uint32, mine *ebpf.Program) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if known, ok := p.ids[ebpf.ProgramID(id)]; ok {
		return known
	}
	same := func() bool {
		want, err := mine.Info()
		if err != nil {
			return false
		}
		if own, ok := want.ID(); ok && uint32(own) == id {
			return true
		}
		other, err := ebpf.NewProgramFromID(ebpf.ProgramID(id))
		if err != nil {
			return false
		}
		defer other.Close()
		is, err := other.Info()
		if err != nil || is.Tag != want.Tag {
			return false
		}
		a, okA := is.MapIDs()
		b, okB := want.MapIDs()
		slices.Sort(a)
		slices.Sort(b)
		return okA && okB && slices.Equal(a, b)
	}()
	p.ids[ebpf.ProgramID(id)] = same
	return same
}

// mapsOf are the maps of a program in the kernel, by name.
func mapsOf(id uint32) map[string]*ebpf.Map {
	found := map[string]*ebpf.Map{}
	program, err := ebpf.NewProgramFromID(ebpf.ProgramID(id))
	if err != nil {
		return found
	}
	defer program.Close()
	info, err := program.Info()
	if err != nil {
		return found
	}
	ids, _ := info.MapIDs()
	for _, id := range ids {
		m, err := ebpf.NewMapFromID(id)
		if err != nil {
			continue
		}
		about, err := m.Info()
		if err != nil || found[about.Name] != nil {
			m.Close()
			continue
		}
		found[about.Name] = m
	}
	return found
}

// lines are all lines of a direction's map, by ifindex.
func (p *programs) lines(d sluice.Direction) (map[int]line, error) {
	m := p.classes[d]
	all := make(map[int]line)
	const batch = 512
	keys, values := make([]uint32, batch), make([]line, batch)
	var cursor ebpf.MapBatchCursor
	for {
		n, err := m.BatchLookup(&cursor, keys, values, nil)
		for i := range n {
			all[int(keys[i])] = values[i]
		}
		switch {
		case errors.Is(err, ebpf.ErrKeyNotExist):
			return all, nil
		case errors.Is(err, ebpf.ErrNotSupported):
			var k uint32
			var v line
			for each := m.Iterate(); each.Next(&k, &v); {
				all[int(k)] = v
			}
			return all, nil
		case err != nil:
			return nil, fmt.Errorf("reading the map of classes: %w", err)
		}
	}
}

// lead writes a device's line. What it counted stays.
func (p *programs) lead(d sluice.Direction, ifindex int, e Entry) error {
	var v line
	_ = p.classes[d].Lookup(uint32(ifindex), &v)
	v.Class, v.Flags = uint32(handleOf(e.Minor)), 0
	if e.Local {
		v.Flags = flagLocal
	}
	if err := p.classes[d].Put(uint32(ifindex), v); err != nil {
		return fmt.Errorf("leading device %d to class %s: %w", ifindex, handleOf(e.Minor), err)
	}
	return nil
}

func (p *programs) forget(d sluice.Direction, ifindex int) error {
	if err := p.classes[d].Delete(uint32(ifindex)); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return fmt.Errorf("forgetting the class of device %d: %w", ifindex, err)
	}
	return nil
}
