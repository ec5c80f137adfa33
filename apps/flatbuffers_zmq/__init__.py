"""FlatBuffers over ZeroMQ: messages read where they lie, after somebody has looked at them."""
