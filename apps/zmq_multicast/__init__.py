"""Publish and subscribe by reliable multicast: one datagram for all, over epgm and norm."""
