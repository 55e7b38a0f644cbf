// Package monitoringtest runs the alerts and the dashboard of deploy/monitoring by
// Prometheus' own packages, over what real processes say of themselves while real traffic
// makes each alert fire.
package monitoringtest
