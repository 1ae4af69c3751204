"""A small network on one machine: two hospitals, a centre, people, real studies; see `gateway.demo.network`."""
