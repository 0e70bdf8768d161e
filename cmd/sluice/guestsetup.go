package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

// guestSetup says how the collector comes into a VM, by each of three ways.
const guestSetup = `A VM is watched and shaped without it, by the host's own counters. With it, the VM's own figures are shown beside them.

1. Give the VM a channel of the name sluice.0; the daemon finds it by itself.
   libvirt:   virsh attach-device VM /dev/stdin --persistent <<<"<channel type='unix'><target type='virtio' name='sluice.0'/></channel>"
   Proxmox:   qm set ID --args "-device virtio-serial-pci -chardev socket,id=sluice,path=/run/qemu-server/ID.sluice,server=on,wait=off -device virtserialport,chardev=sluice,name=sluice.0"
   QEMU:      -device virtio-serial-pci -chardev socket,id=sluice,path=/run/vm/VM.sluice,server=on,wait=off -device virtserialport,chardev=sluice,name=sluice.0
   Xen:       nothing: it answers through Xen's store

2. Bring the package into the VM, by one of these.
   by hand:         apt install ./sluice-guest_*.deb           # in the VM; or rpm -i sluice-guest-*.rpm
   virt-customize:  virt-customize -a DISK --copy-in sluice-guest_VERSION_amd64.deb:/root --run-command 'dpkg -i /root/sluice-guest_*.deb'
   cloud-init:      runcmd: [[sh, -c, "curl -fsSo /root/g.deb URL/sluice-guest_VERSION_amd64.deb && dpkg -i /root/g.deb"]]

3. See that it is heard: sluice list says guest in the column SOURCE.
`

func guestSetupCommand() *cobra.Command {
	return &cobra.Command{Use: "guest-setup", Short: "how the collector comes into a VM", Args: cobra.NoArgs, Example: "  sluice guest-setup",
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprint(cmd.OutOrStdout(), guestSetup)
			return err
		}}
}
