"""What each command does, given its configuration: one short function a command, loading what it
needs when called. The modules are those of `semhead_lib.conf`."""
