package libvirt

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"io"
	"net"
	"strings"

	"sluice"
)

// Limits of what one domain may have.
const (
	mostXML        = 16 << 20 // bytes
	mostInterfaces = 64
	channelName    = "sluice.0" // of the collector's virtio-serial port
)

// domain is what is known of one that runs.
type domain struct {
	vifs      []sluice.VIF
	collector string // the host's end of its channel, a path; "" if it has none
}

// description is the part of a domain's XML that matters here
// (https://libvirt.org/formatdomain.html).
type description struct {
	Name string `xml:"name"`
	UUID string `xml:"uuid"`
	// Metadata is an administrator's, by namespace; the guest cannot write it.
	Metadata struct {
		Profile string `xml:"urn:sluice profile"`
	} `xml:"metadata"`
	Devices struct {
		Interfaces []struct {
			Type string `xml:"type,attr"`
			MAC  struct {
				Address string `xml:"address,attr"`
			} `xml:"mac"`
			Target struct {
				Device string `xml:"dev,attr"`
			} `xml:"target"`
		} `xml:"interface"`
		Channels []struct {
			Source struct {
				Path string `xml:"path,attr"`
			} `xml:"source"`
			Target struct {
				Name string `xml:"name,attr"`
			} `xml:"target"`
		} `xml:"channel"`
	} `xml:"devices"`
}

// parse reads the XML of a domain that runs. Interfaces without a device on
// the host (user, hostdev, vhostuser) have no vif.
func parse(text []byte) (d domain, err error) {
	if len(text) > mostXML {
		return d, fmt.Errorf("its XML has %d bytes, more than %d", len(text), mostXML)
	}
	var x description
	dec := xml.NewDecoder(bytes.NewReader(text))
	dec.CharsetReader = func(string, io.Reader) (io.Reader, error) { return nil, fmt.Errorf("it is not UTF-8") }
	if err := dec.Decode(&x); err != nil {
		return d, fmt.Errorf("its XML cannot be read: %w", err)
	}
	if x.Name == "" || sluice.UUID(x.UUID) == "" {
		return d, fmt.Errorf("its XML has the name %.80q and the UUID %.80q", x.Name, x.UUID)
	}
	if n := len(x.Devices.Interfaces); n > mostInterfaces {
		return d, fmt.Errorf("it has %d interfaces, more than %d", n, mostInterfaces)
	}
	for i, nic := range x.Devices.Interfaces {
		if nic.Target.Device == "" || len(nic.Target.Device) > 15 || strings.ContainsAny(nic.Target.Device, "/ \x00") {
			continue // no device, or no name that the kernel gives one (net/core/dev.c, dev_valid_name)
		}
		v := sluice.VIF{VM: sluice.Printable(x.Name), UUID: sluice.UUID(x.UUID), Index: i, Device: nic.Target.Device, Profile: strings.TrimSpace(x.Metadata.Profile)}
		if mac, err := net.ParseMAC(nic.MAC.Address); err == nil && len(mac) == 6 {
			v.MAC = mac.String()
			v.DeviceMAC = deviceMAC(nic.Type, mac)
		}
		d.vifs = append(d.vifs, v)
	}
	for _, c := range x.Devices.Channels {
		if c.Target.Name == channelName && strings.HasPrefix(c.Source.Path, "/") {
			d.collector = c.Source.Path
		}
	}
	return d, nil
}

// deviceMAC is the MAC that libvirt gives the host's device of an interface:
// a tap has the guest's with its first byte fe, so that a bridge never takes
// it for its own (src/util/virnetdevtap.c), and a macvtap has the guest's. ""
// where somebody else made the device.
func deviceMAC(kind string, guest net.HardwareAddr) string {
	switch kind {
	case "bridge", "network":
		own := append(net.HardwareAddr{0xfe}, guest[1:]...)
		return own.String()
	case "direct":
		return guest.String()
	}
	return ""
}
