"""The one proxy on a real socket between the scripts and a server, local or the vendor's own: faults, kills, delays."""
