"""The course's own tiny Qwen: `base/` and `chat/` are the two model folders, the rest of this folder made them."""
