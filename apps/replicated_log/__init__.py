"""A log that outlives its hosts: one master, and as many disks as a client asks for."""
