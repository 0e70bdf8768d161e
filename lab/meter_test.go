package lab

import (
	"testing"
	"testing/synctest"
	"time"
)

// A report is of the whole seconds asked for, and of nothing before or after.
func TestReport(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &meter{}
		ended := m.connected(&m.web)
		m.connected(&m.ftp)(false)
		m.connected(&m.ftp)(true)
		for i := range 400 { // longer than is remembered
			m.count(func(s *second) {
				s.ftp += 1000
				s.frames += 25
				s.lost++
				s.latencies = append(s.latencies, time.Duration(i%10+1)*time.Millisecond)
			})
			time.Sleep(time.Second)
		}
		r := m.report(10)
		if r.FTP.Rate != 8000 || r.Stream.Frames != 250 || r.Stream.Lost != 10 || r.Web.Requests != 1 || r.Web.P50 != 5 || r.Web.P99 != 9 {
			t.Errorf("%+v", r)
		}
		if r.Web.Open != 1 || r.Web.Broken != 0 || r.FTP.Open != 0 || r.FTP.Broken != 1 {
			t.Errorf("connections: %+v, %+v", r.Web.Connections, r.FTP.Connections)
		}
		ended(true)
		if n := len(m.seconds); n > int(remembered.Seconds())+1 {
			t.Errorf("%d seconds are remembered", n)
		}
		time.Sleep(time.Minute)
		if r := m.report(10); r.FTP.Rate != 0 || r.Web.Open != 0 {
			t.Errorf("a minute later: %+v", r)
		}
	})
}
