// Package lab is the experiment: one host, three virtual machines with an FTP
// server, a streaming server and a web server, and clients that load all three
// through one link of 100 Mbit/s. The guests are real (QEMU, Debian), and so is
// the daemon that watches and shapes them.
//
// Everything lives in two network namespaces of its own, sluice-lab for the
// host and sluice-lab-clients for those who use the services, and in one
// directory below /run. [Lab.Up] makes it all and [Lab.Down] takes it away,
// also after whoever made it was killed. [Lab.Load] runs the clients,
// [Lab.Run] repeats the experiment and measures it.
package lab
